"""MLflow's store is a file: it is moved, half made, deleted from, and shared by data sets of one name."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from bench.tracking import TrackingUnavailable, sync
from bench.tracking import store as tracking_store
from bench.tracking.moved import follow_artifacts
from bench.tracking.store import client_of
from tests.reports.run_view import built, make_run_view, record_of

pytestmark = pytest.mark.slow

RUN = "20260102-030405-zheng"


@pytest.fixture(autouse=True)
def no_server_of_the_users(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def make_view(folder, checksum="sha256:0011"):
    """Return the view of one Job, with a figure."""
    view = make_run_view(folder, seeds=1)
    view["records"] = [record_of(view, "activa")]
    view["run"]["dataset"]["checksum"] = checksum
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "figures" / "overview.png").write_bytes(b"a picture")
    return view


def places_in(database):
    with closing(sqlite3.connect(database)) as connection:
        return [
            place
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"))
            for (place,) in connection.execute(f"SELECT {column} FROM {table}")
        ]


def test_a_moved_store_finds_its_artifacts_where_they_are_now(tmp_path):
    out, moved = tmp_path / "100% ours_", tmp_path / "elsewhere" / "runs"
    view = make_view(out / RUN)
    sync(built(view), folder=out / RUN)
    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    own = client.create_experiment("own", (tmp_path / "own").as_uri())
    moved.parent.mkdir()
    out.rename(moved)
    (moved / RUN / "figures" / "overview.png").write_bytes(b"another picture")
    # In a process of its own: MLflow remembers where it has put the artifacts of a run.
    code = "import json, pathlib, sys; from bench.tracking import sync; from tests.reports.run_view import \
        built; print(json.dumps(vars(sync(built(\
        json.load(sys.stdin)), folder=pathlib.Path(sys.argv[1])))))"
    done = subprocess.run(
        [sys.executable, "-c", code, moved / RUN],
        input=json.dumps(view),
        text=True,
        capture_output=True,
        check=True,
    )
    result = SimpleNamespace(**json.loads(done.stdout))
    assert not out.exists()
    (picture,) = moved.glob("mlartifacts/*/artifacts/figures/overview.png")
    assert picture.read_bytes() == b"another picture"
    after = MlflowClient(result.uri)
    assert after.get_experiment(own).artifact_location == (tmp_path / "own").as_uri()
    assert [item.path for item in after.list_artifacts(result.run_id, "figures")] == ["figures/overview.png"]
    assert not any("100%25" in place for place in places_in(moved / "mlflow.db"))


@pytest.mark.parametrize("content", [None, b""])
def test_what_is_no_store_is_left_alone(tmp_path, content):
    if content is not None:
        (tmp_path / "mlflow.db").write_bytes(content)
    follow_artifacts(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if content is None else [content])


def test_two_data_sets_of_one_name_have_experiments_of_their_own(tmp_path):
    views = {name: make_view(tmp_path / name, f"sha256:{name}") for name in ("first", "second", "third")}
    views["third"]["run"]["dataset"]["checksum"] = "sha256:first"
    found = {name: sync(built(view), folder=tmp_path / name) for name, view in views.items()}
    assert found["first"].experiment_id == found["third"].experiment_id != found["second"].experiment_id
    client = MlflowClient(found["first"].uri)
    names = [client.get_experiment(found[name].experiment_id).name for name in ("first", "second")]
    assert names[0] == "zheng"
    assert names[1].startswith("zheng (")
    again = sync(built(views["second"]), folder=tmp_path / "second")
    assert (again.experiment_id, again.unchanged) == (found["second"].experiment_id, 1)


def test_an_experiment_of_an_earlier_version_is_taken_over(tmp_path):
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    identity = client.create_experiment("zheng", (tmp_path / "artifacts").as_uri())
    assert sync(built(make_view(tmp_path / RUN)), folder=tmp_path / RUN).experiment_id == identity


def test_the_command_that_restores_an_experiment_works_when_it_is_pasted(tmp_path):
    out = tmp_path / "my runs"
    view = make_view(out / RUN)
    first = sync(built(view), folder=out / RUN)
    client = MlflowClient(first.uri)
    client.delete_experiment(first.experiment_id)
    with pytest.raises(TrackingUnavailable, match="was deleted: ") as told:
        sync(built(view), folder=out / RUN)
    command = str(told.value).partition("was deleted: ")[2]
    # As whoever has activated the environment: `mlflow` is found.
    (tmp_path / "bin").mkdir()
    mlflow = tmp_path / "bin" / "mlflow"
    mlflow.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlflow "$@"\n')
    mlflow.chmod(0o755)
    path = {"PATH": f"{mlflow.parent}:{os.environ['PATH']}"}
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=os.environ | path, capture_output=True)
    assert sync(built(view), folder=out / RUN).experiment_id == first.experiment_id


def test_where_the_environment_names_the_store_the_command_need_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    view = make_view(tmp_path / RUN)
    first = sync(built(view), folder=tmp_path / RUN)
    MlflowClient(first.uri).delete_experiment(first.experiment_id)
    with pytest.raises(TrackingUnavailable, match="was deleted: mlflow experiments restore -x"):
        sync(built(view), folder=tmp_path / RUN)


def test_a_database_that_could_not_be_made_is_not_there(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def interrupted(path, *, _make=tracking_store._make_database):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlflow.store.db.utils._upgrade_db", stop)
            patch.setattr("mlflow.store.db.utils._initialize_tables", stop)
            _make(path)

    def stop(engine):
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE _alembic_tmp_experiments (half INTEGER)")
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking_store, "_make_database", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client_of(uri)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert client_of(uri).get_experiment("0").name == "Default"
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
