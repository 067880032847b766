import json
import logging
import os
import shlex
import shutil
import socket
from itertools import pairwise
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from bench.tracking import TrackingUnavailable, run_name, sync, ui_command
from bench.tracking.points import curve_points
from bench.tracking.store import client_of, masked
from reports.table import results_frame
from reports.view import Record
from tests.reports.run_view import (
    built,
    checked,
    make_run_view,
    record_of,
    score_of,
    unstart,
    write_curves,
    write_resources,
)

pytestmark = pytest.mark.slow

RUN = "20260102-030405-zheng"


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory):
    """Return a client, the view and the result of a first upload."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("runs") / RUN
        view = make_run_view(folder)
        write_curves(view, "activa-main-0", points=1701)
        write_resources(view, "activa-main-0", seconds=40)
        (folder / "figures").mkdir()
        (folder / "figures" / "overview.png").write_bytes(b"\x89PNG not really")
        (folder / "report.html").write_text("<!doctype html>")
        result = sync(built(view), folder=folder)
        yield MlflowClient(result.uri), view, result, folder


def every_run(client, result):
    return client.search_runs([result.experiment_id], max_results=1000)


def runs(client, result):
    """Return the parent and the run of each Job by name."""
    found = [run for run in every_run(client, result) if "bench.summary_of" not in run.data.tags]
    return {run.info.run_name: run for run in found}


def summaries(client, result):
    found = every_run(client, result)
    return {run.data.tags["bench.summary_of"]: run for run in found if "bench.summary_of" in run.data.tags}


def test_the_store_lies_beside_the_run(uploaded):
    client, _, result, folder = uploaded
    assert result.uri == f"sqlite:///{folder.parent / 'mlflow.db'}"
    assert (folder.parent / "mlflow.db").exists()
    experiment = client.get_experiment(result.experiment_id)
    assert experiment.name == "zheng"
    assert experiment.artifact_location == (folder.parent / "mlartifacts").as_uri()


def test_one_parent_and_a_child_for_each_job(uploaded):
    client, view, result, _ = uploaded
    found = runs(client, result)
    assert len(found) == len(view["records"]) + 1 == 24
    assert result.created == 23
    parent = found.pop(RUN)
    assert parent.info.run_id == result.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {result.run_id}
    assert {run.data.tags["bench.job_key"] for run in found.values()} == {r["key"] for r in view["records"]}
    assert "activa · zheng · seed 0" in found
    assert "activa · zheng · seed 0 · 10 % Dendritic · subsample 0" in found
    assert parent.data.tags["status"] == "18 ok, 3 diverged, 1 killed, 1 timeout"


def test_each_generator_has_a_run_with_means_and_intervals(uploaded):
    client, view, result, folder = uploaded
    found = summaries(client, result)
    # cscgan ended well with no seed.
    assert found.keys() == {"activa", "scgan", "real", "shuffle", "poisson", "memorise"}
    activa = found["activa"]
    assert activa.info.run_name == "activa · zheng · all seeds"
    assert activa.data.params["seed"] == "all 3"
    row = results_frame(built(view)).set_index("model").loc["activa"]
    for end in ("", "_low", "_high"):
        assert activa.data.metrics[f"headline/mmd{end}"] == pytest.approx(row[f"mmd{end}"])
        name = f"headline/training_seconds{end}"
        assert activa.data.metrics[name] == pytest.approx(row[f"training_seconds{end}"])
    # Two seeds have a mean alone.
    assert "headline/mmd_low" not in found["scgan"].data.metrics
    assert found["scgan"].data.metrics["headline/mmd"] == pytest.approx(0.85)
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in found.values()}
    assert client.get_run(parent).info.run_name == RUN
    sync(built(view), folder=folder)
    assert summaries(client, result).keys() == found.keys()


def test_metrics_have_the_names_and_values_of_the_table(uploaded):
    client, view, result, _ = uploaded
    one_seed = view | {"records": [record_of(view, "activa", 1)]}
    (row,) = results_frame(built(one_seed)).to_dict("records")
    logged = runs(client, result)["activa · zheng · seed 1"].data.metrics
    measured = {name: value for name, value in row.items() if isinstance(value, float) and value == value}
    by_name = {name.partition("/")[2]: value for name, value in logged.items()}
    assert {name: by_name[name] for name in measured} == measured
    expected = {
        "headline/rf_auc": 0.92,
        "headline/training_seconds": 33.0,
        "headline/sample_seconds": 1.25,
        "headline/peak_rss_gib": 1.5,
        "scores/rf_auc_sd": 0.004,
        "seconds/fit/classifier": 2.0,
        "speed/sample_cells": 100_000,
        "steps/adversarial": 180,
        "system/rss_gib_peak:fit": 1.0,
    }
    assert {name: logged[name] for name in expected} == expected
    augmented = runs(client, result)["activa · zheng · seed 0 · 10 % Dendritic · subsample 0"]
    assert augmented.data.metrics["headline/augmentation_f1"] == 0.75
    assert augmented.data.params["kept_cells"] == "19"


def test_headline_metrics_come_first_by_name_and_are_a_handful(uploaded):
    client, _, result, _ = uploaded
    names = sorted(runs(client, result)["activa · zheng · seed 0"].data.metrics, key=str.casefold)
    headline = [name for name in names if name.startswith("headline/")]
    assert names[: len(headline)] == headline
    assert {"headline/cd", "headline/mmd", "headline/rf_auc", "headline/training_seconds"} <= set(headline)
    assert len(headline) == 6


def test_the_first_page_has_what_is_looked_for_and_every_column_is_logged(uploaded):
    client, _, result, _ = uploaded
    tags = client.get_experiment(result.experiment_id).tags
    state = json.loads(tags["mlflow.sharedViewState.bench"])
    measured = ["rf_auc", "mmd", "cd", "training_seconds", "sample_seconds"]
    measured += ["augmentation_f1", "peak_rss_gib"]
    columns = ["params.`model`", "params.`seed`", *(f"metrics.`headline/{name}`" for name in measured)]
    assert state["selectedColumns"] == columns
    # Sorted by anything but time, the children of a run are not folded.
    assert state["orderByKey"] == "params.`model`"
    logged = {name for run in runs(client, result).values() for name in run.data.metrics}
    assert {f"headline/{name}" for name in measured} <= logged


def test_params_and_tags(uploaded):
    client, _, result, _ = uploaded
    run = runs(client, result)["activa · zheng · seed 2"]
    expected = {"latent_dim": "128", "layers": "[512, 256]", "budget": "40 epochs", "seed": "2"}
    expected |= {
        "device": "cpu",
        "threads": "2",
        "profile": "quick",
        "protocol": "strict",
        "experiment": "main",
        "hardware": "AMD EPYC 7B13 · 2 cores (4 threads) · 16 GiB · 2 × NVIDIA V100 with 32 GiB",
    }
    assert expected.items() <= run.data.params.items()
    tags = {"git_commit": "abcdef012345", "role": "model", "status": "ok", "version.torch": "2.13.0"}
    tags |= {"hardware.fingerprint": "0123456789ab", "mlflow.source.git.commit": "abcdef012345"}
    assert tags.items() <= run.data.tags.items()


def test_how_a_job_ended_is_the_status_of_its_run(uploaded):
    client, _, result, _ = uploaded
    found = runs(client, result)
    assert found["activa · zheng · seed 0"].info.status == "FINISHED"
    assert found["scgan · zheng · seed 2"].info.status == "KILLED"
    assert found["scgan · zheng · seed 2"].data.tags["reason"] == "ended by signal SIGKILL"
    assert found["cscgan · zheng · seed 0"].info.status == "FAILED"
    assert found[RUN].info.status == "FAILED"
    # 2026-01-02T03:00:05 to 03:00:45, UTC
    info = found["activa · zheng · seed 0"].info
    assert (info.start_time, info.end_time) == (1767322805000, 1767322845000)


def test_curves_are_stepped_and_thinned_and_their_ends_are_not(uploaded):
    client, _, result, _ = uploaded
    run = runs(client, result)["activa · zheng · seed 0"]
    history = client.get_metric_history(run.info.run_id, "training/adversarial/loss")
    assert len(history) == 200
    steps = sorted(point.step for point in history)
    assert (steps[0], steps[-1]) == (0, 1700)
    assert {after - before for before, after in pairwise(steps)} == {8, 9}
    for point in history:
        assert point.value == pytest.approx(1000 * 0.99**point.step)
    ends = {
        name: [run.data.metrics[f"training_{name}/adversarial/{curve}"] for curve in ("loss", "balance")]
        for name in ("final", "lowest", "highest")
    }
    last = pytest.approx(1000 * 0.99**1700)
    assert ends == {"final": [last, 1700 % 7], "lowest": [last, 0], "highest": [1000, 6]}


def test_system_metrics_are_a_point_a_second_at_their_own_time(uploaded):
    client, _, result, _ = uploaded
    run = runs(client, result)["activa · zheng · seed 0"]
    history = client.get_metric_history(run.info.run_id, "system/rss_gib")
    points = sorted((point.step, point.value, point.timestamp) for point in history)
    assert points == [(second, 1 + second / 4, 1767322805500 + 1000 * second) for second in range(40)]
    assert run.data.metrics["system/cpu_percent"] == 150
    assert "system/gpu_gib" not in run.data.metrics


def test_the_data_set_is_an_input_with_its_key_as_digest(uploaded):
    client, _, result, _ = uploaded
    for name in (RUN, "activa · zheng · seed 0"):
        (given,) = client.get_run(runs(client, result)[name].info.run_id).inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("zheng", ("5ca1ab1e" * 8)[:12])
        origin = {"uri": "https://example.org/zheng.h5ad", "checksum": "sha256:0011"}
        assert json.loads(given.dataset.source) == origin


def test_artifacts(uploaded, tmp_path):
    client, view, result, _ = uploaded
    child = runs(client, result)["activa · zheng · seed 0"].info.run_id
    record = json.loads(open(client.download_artifacts(child, "record.json", str(tmp_path))).read())  # noqa: PTH123, SIM115
    assert Record.model_validate(record) == checked(Record, record_of(view, "activa"))
    assert {file.path for file in client.list_artifacts(result.run_id)} == {
        "table.csv",
        "figures",
        "report.html",
    }
    assert [file.path for file in client.list_artifacts(result.run_id, "figures")] == ["figures/overview.png"]
    table = open(client.download_artifacts(result.run_id, "table.csv", str(tmp_path))).read()  # noqa: PTH123, SIM115
    assert table == results_frame(built(view)).to_csv(index=False)


def points(client, result):
    return {
        (name, key): len(client.get_metric_history(run.info.run_id, key))
        for name, run in runs(client, result).items()
        if name.startswith(("activa", RUN))
        for key in run.data.metrics
    }


def test_a_second_upload_changes_nothing(uploaded):
    client, view, result, folder = uploaded
    before, inputs = points(client, result), client.get_run(result.run_id).inputs.dataset_inputs
    again = sync(built(view), folder=folder)
    assert (again.created, again.updated, again.unchanged) == (0, 0, 23)
    assert again.run_id == result.run_id
    assert points(client, result) == before
    assert len(client.get_run(result.run_id).inputs.dataset_inputs) == len(inputs) == 1
    # The parent, 23 Jobs, and a summary of six generators.
    assert len(client.search_runs([result.experiment_id], run_view_type=ViewType.ALL)) == 30


def test_what_changed_is_updated_and_the_rest_left_alone(tmp_path, uploaded):
    client, _, first, _ = uploaded
    folder = tmp_path / "20260102-040000-zheng"
    view = make_run_view(folder, seeds=1)
    write_curves(view, "activa-main-0", points=100)
    result = sync(built(view), folder=folder, tracking_uri=first.uri)
    score_of(view, "activa", "mmd")["values"]["mmd"] = 0.1
    write_curves(view, "activa-main-0", points=130)
    again = sync(built(view), folder=folder, tracking_uri=first.uri)
    assert (again.created, again.updated, again.unchanged) == (0, 1, 8)
    children = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    (run,) = [run for run in children if run.info.run_name == "activa · zheng · seed 0"]
    assert run.data.metrics["headline/mmd"] == 0.1
    assert len(client.get_metric_history(run.info.run_id, "headline/rf_auc")) == 1
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "training/adversarial/loss")]
    assert sorted(steps) == list(range(130))


def test_suspicion_is_a_tag_of_the_parent_while_it_lasts(tmp_path, uploaded):
    client, _, first, _ = uploaded
    assert "suspect" not in client.get_run(first.run_id).data.tags
    folder = tmp_path / "20260102-043000-zheng"
    view = make_run_view(folder, seeds=1)
    for metric, floor in (("mmd", 0.02), ("cd", 0.1)):
        score_of(view, "shuffle", metric)["values"][metric] = floor
    result = sync(built(view), folder=folder, tracking_uri=first.uri)
    assert client.get_run(result.run_id).data.tags["suspect"] == (
        "mmd (ideal 0): shuffle 0.02 is not worse than real 0.02; "
        "cd (ideal 0): shuffle 0.1 is not worse than real 0.9"
    )
    view["metrics"] = [metric | {"floors": []} for metric in view["metrics"]]
    sync(built(view), folder=folder, tracking_uri=first.uri)
    assert "suspect" not in client.get_run(result.run_id).data.tags


def test_what_has_not_run_is_left_out(tmp_path, uploaded):
    client, _, first, _ = uploaded
    folder = tmp_path / "20260102-044500-zheng"
    view = make_run_view(folder, seeds=1)
    view["records"] = [record_of(view, "activa"), record_of(view, "memorise")]
    unstart(view, "memorise")
    result = sync(built(view), folder=folder, tracking_uri=first.uri)
    assert (result.created, result.updated, result.unchanged) == (1, 0, 0)
    parent = client.get_run(result.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["status"] == "ok"


def test_an_upload_cut_short_is_completed_by_the_next(tmp_path, uploaded, monkeypatch):
    client, _, first, _ = uploaded
    folder = tmp_path / "20260102-050000-zheng"
    view = make_run_view(folder, seeds=1)
    write_curves(view, "activa-main-0", points=10)
    with monkeypatch.context() as patch:
        patch.setattr(
            MlflowClient, "log_inputs", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone"))
        )
        with pytest.raises(TrackingUnavailable, match="gone"):
            sync(built(view), folder=folder, tracking_uri=first.uri)
    result = sync(built(view), folder=folder, tracking_uri=first.uri)
    assert (result.created, result.updated) == (8, 1)
    children = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    # Of the two Jobs of cscgan and of the others, and of what has values a summary.
    assert len([run for run in children if "bench.job_key" in run.data.tags]) == 9
    (run,) = [run for run in children if run.info.run_name == "activa · zheng · seed 0"]
    assert len(client.get_metric_history(run.info.run_id, "training/adversarial/loss")) == 10


def test_a_server_that_does_not_answer_is_named_in_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    environment = dict(os.environ)
    with pytest.raises(TrackingUnavailable) as caught:
        sync(built(make_run_view(tmp_path / RUN, seeds=1)), folder=tmp_path / RUN, tracking_uri=uri)
    assert str(caught.value) == f"MLflow at {uri} does not answer"
    assert dict(os.environ) == environment


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:s3cret@127.0.0.1:5432/mlflow", "postgresql://me:***@127.0.0.1:5432/mlflow"),
        ("mysql+pymysql://me:s3c@re/t@host/db", "mysql+pymysql://me:***@host/db"),
        ("no 'https://:s3cret@host/x' there", "no 'https://:***@host/x' there"),
        ("postgresql://host/db?user=me&password=s3cret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("sqlite:////home/me:here@there/mlflow.db", "sqlite:////home/me:here@there/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
    ],
)
def test_a_password_is_masked_and_nothing_else(address, shown):
    assert masked(address) == shown


def test_a_password_with_a_slash_is_not_told_by_the_error_of_its_address(tmp_path):
    uri = "postgresql://me:s3/cret@127.0.0.1:here/db"
    with pytest.raises(TrackingUnavailable, match="could not be opened") as caught:
        sync(built(make_run_view(tmp_path / RUN, seeds=1)), folder=tmp_path / RUN, tracking_uri=uri)
    assert "s3" not in str(caught.value)


def test_a_deleted_experiment_is_named_with_the_remedy(tmp_path, uploaded):
    client, _, first, _ = uploaded
    identity = client.create_experiment("binned")
    client.delete_experiment(identity)
    view = make_run_view(tmp_path / RUN, seeds=1)
    view["run"]["dataset"]["name"] = "binned"
    with pytest.raises(TrackingUnavailable, match=f"mlflow experiments restore -x {identity}"):
        sync(built(view), folder=tmp_path / RUN, tracking_uri=first.uri)


def test_names_and_values_are_made_to_fit(tmp_path, uploaded):
    client, _, first, _ = uploaded
    folder = tmp_path / "20260102-060000-zheng"
    view = make_run_view(folder, seeds=1)
    view["records"] = [record_of(view, "activa")]
    view["records"][0]["job"]["hyperparameters"]["markers"] = "x" * 9000
    score_of(view, "activa", "mmd")["values"]["mmd/CD14+ Monocyte"] = 0.3
    result = sync(built(view), folder=folder, tracking_uri=first.uri)
    children = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    (run,) = [run for run in children if "bench.job_key" in run.data.tags]
    assert run.data.metrics["scores/mmd/CD14_ Monocyte"] == 0.3
    assert run.data.params["markers"] == "x" * 499 + "…"


def test_names_that_look_like_markup_or_addresses_are_kept(tmp_path, uploaded):
    client, _, first, _ = uploaded
    folder = tmp_path / "20260102-063000-odd"
    view, model, dataset = make_run_view(folder, seeds=1), 'gan.v2 <b>&"c"', '<i>&"Q"</i>'
    view["records"] = [record_of(view, "activa")]
    view["run"]["dataset"]["name"] = dataset
    view["records"][0]["job"] |= {"model": model, "dataset": dataset}
    stored = folder / "jobs" / "activa-main-0"
    (stored / "model").mkdir(parents=True)
    (stored / "job.json").write_text("{}")
    (stored / "model" / "weights").write_text("1")
    result = sync(built(view), folder=folder, tracking_uri=first.uri)
    assert client.get_experiment(result.experiment_id).name == dataset
    names = {run.info.run_name for run in client.search_runs([result.experiment_id])}
    assert names == {folder.name, f"{model} · {dataset} · seed 0", f"{model} · {dataset} · all seeds"}
    (logged,) = client.search_logged_models([result.experiment_id])
    assert (logged.name, str(logged.status)) == ("gan_v2 <b>&_c_", "READY")


def test_uploading_says_nothing(tmp_path, capfd, uploaded):
    _, _, first, _ = uploaded
    level = logging.getLogger("mlflow").level
    capfd.readouterr()
    sync(built(make_run_view(tmp_path / RUN, seeds=1)), folder=tmp_path / RUN, tracking_uri=first.uri)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == level


def test_run_names_are_short():
    assert run_name(checked(Record, record_of(make_run_view(), "scgan", 2)).job) == "scgan · zheng · seed 2"


def test_the_last_line_of_a_run_opens_its_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert ui_command(tmp_path / "runs") == "bench ui"
    assert shlex.split(ui_command(tmp_path / "my runs")) == ["bench", "ui", "--out", f"{tmp_path}/my runs"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert ui_command(tmp_path / "my runs") == "http://127.0.0.1:5000"


def test_a_job_takes_few_calls_however_long_its_curves(tmp_path, uploaded, monkeypatch):
    _, _, first, _ = uploaded
    folder = tmp_path / "20260102-070000-zheng"
    view = make_run_view(folder, seeds=1)
    view["records"] = [record_of(view, "activa")]
    write_curves(view, "activa-main-0", points=20_000)
    calls = []
    log_batch = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), params=(), tags=()):
        calls.append((len(metrics), len(params), len(tags)))
        return log_batch(self, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    sync(built(view), folder=folder, tracking_uri=first.uri)
    # The parent's parameters and its tags, the Job (400 points and everything else in one), the summary.
    assert len(calls) == 4
    assert max(map(sum, calls)) < 500


@pytest.mark.parametrize(("pace", "steps"), [(1000, list(range(300))), (0, [0, 299])])
def test_only_a_series_by_the_clock_keeps_every_point(pace, steps):
    run = SimpleNamespace(data=SimpleNamespace(metrics={}))
    curve = [(second, second / 2) for second in range(300)]
    points = curve_points({"rss_gib": curve}, run, None, group="system", since=5000, pace=pace)
    assert len(points) == (300 if pace else 200)
    assert set(steps) <= {point.step for point in points}
    assert {(p.key, p.value, p.timestamp) for p in points} == {
        ("system/rss_gib", p.step / 2, 5000 + pace * p.step) for p in points
    }


def test_only_a_new_database_is_made_without_waiting_for_the_disk(tmp_path):
    def waits(name):
        store = client_of(f"sqlite:///{tmp_path / name}")._tracking_client.store
        with store.engine.connect() as connection:
            return connection.exec_driver_sql("PRAGMA synchronous").scalar()

    assert waits("new.db") == 0
    shutil.copy(tmp_path / "new.db", tmp_path / "there.db")
    # SQLite's default.
    assert waits("there.db") == 2
