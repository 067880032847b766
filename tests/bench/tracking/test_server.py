"""A tracking server on PostgreSQL that dies and comes back: real processes, really killed."""

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import anndata
import psutil
import pytest
from mlflow import MlflowClient
from rich.console import Console

from bench.progress import Progress
from bench.tracking import TrackingUnavailable, sync
from bench.tracking.ui import serving
from tests.places import THROWAWAY
from tests.postgres import PASSWORD, free_port, running_postgres
from tests.reports.run_view import built, make_run_view, write_curves, write_resources
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as uri:
        yield uri


class Server:
    """MLflow's server on a database, always at the same address."""

    def __init__(self, uri, artifacts):
        self.uri, self.artifacts, self.port = uri, artifacts, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._stack = ExitStack()

    def start(self):
        pages = serving(
            self.uri, port=self.port, artifacts=self.artifacts, progress=Progress(Console(quiet=True))
        )
        self.process = self._stack.enter_context(pages).process

    def kill(self):
        """End every process of it with SIGKILL; nothing is told and nothing is tidied up."""
        victims = psutil.Process(self.process.pid).children(recursive=True)
        assert len(victims) >= 2
        for victim in victims:
            victim.kill()
        psutil.wait_procs(victims, timeout=LIMIT_SECONDS)
        self.stop()

    def stop(self):
        self._stack.close()


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    made = Server(postgres, tmp_path_factory.mktemp("mlartifacts"))
    made.start()
    yield made
    made.stop()


def bench(*arguments, uri, home):
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "BENCH_CACHE": str(home / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(found, process):
    def found_or_ended():
        assert process.poll() is None, process.communicate()[0]
        return list(found())

    return wait_until(found_or_ended)


def everything(client, experiment):
    """Return what MLflow holds of each run: every metric with the number of its points, and more."""
    return {
        run.info.run_id: (
            run.info.run_name,
            run.info.status,
            {key: len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics},
            len(run.inputs.dataset_inputs),
            [output.model_id for output in run.outputs.model_outputs] if run.outputs else [],
        )
        for run in client.search_runs([experiment], max_results=1000)
    }


def a_run(prepared, uri, home):
    """Start ``bench run`` on tiny cells."""
    cells = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    cells.write_h5ad(home / "cells.h5ad")
    wanted = ("--models", f"{THROWAWAY}:Mean", "--profile", "smoke", "--metrics", "library_size_error")
    return bench("run", "--dataset", "cells.h5ad", *wanted, uri=uri, home=home)


def test_a_run_goes_on_while_its_server_is_dead_and_is_uploaded_later(server, tmp_path, prepared):
    process = a_run(prepared, server.address, tmp_path)
    wait_for(lambda: tmp_path.glob("runs/*/jobs/*/record.json"), process)
    server.kill()
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/plan.json"))
    assert process.returncode == 0, printed
    assert f"MLflow was not updated: MLflow at {server.address} does not answer" in printed
    assert f"bench sync {folder}" in printed
    server.start()
    for expected in ("jobs: 3 new, 0 updated, 0 unchanged", "jobs: 0 new, 0 updated, 3 unchanged"):
        process = bench("sync", folder, uri=server.address, home=tmp_path)
        printed, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, printed
        assert expected in printed
    client = MlflowClient(server.address)
    experiment = client.get_experiment_by_name("cells").experiment_id
    held = everything(client, experiment)
    # The parent, three Jobs, and the means of each of the three generators.
    assert len(held) == 7
    (model,) = client.search_logged_models([experiment])
    assert [models for *_, models in held.values() if models] == [[model.model_id]]
    sent = client.download_artifacts(model.source_run_id, "record.json")
    assert '"status": "ok"' in Path(sent).read_text()
    files = {path.name for path in Path(server.artifacts).rglob("*") if path.is_file()}
    assert {"MLmodel", "mean.json", "table.csv", "record.json"} <= files
    assert any(name.endswith(".png") for name in files)


def test_an_upload_during_which_the_server_dies_is_completed_and_doubles_nothing(server, tmp_path):
    folder = tmp_path / "20260102-030405-zheng"
    view = make_run_view(folder)
    for record in view["records"]:
        write_curves(view, record["key"], points=400)
        write_resources(view, record["key"], seconds=30)

    def die_at_the_tenth_job(what, done, total):
        assert total == len(view["records"]) == 23
        if done == 10:
            server.kill()

    with pytest.raises(TrackingUnavailable, match=f"{server.address} does not answer"):
        sync(built(view), folder=folder, tracking_uri=server.address, report=die_at_the_tenth_job)
    server.start()
    result = sync(built(view), folder=folder, tracking_uri=server.address)
    # The tenth may have begun when the server died.
    assert result.created + result.updated == 13
    assert result.unchanged == 10
    client = MlflowClient(server.address)
    held = everything(client, result.experiment_id)
    names = Counter(name for name, *_ in held.values())
    # The parent, 23 Jobs, and the means of six generators.
    assert len(names) == len(held) == 30
    points = {count for _, _, metrics, *_ in held.values() for count in metrics.values()}
    assert points == {1, 30, 200}
    again = sync(built(view), folder=folder, tracking_uri=server.address)
    assert (again.created, again.updated, again.unchanged) == (0, 0, 23)
    assert everything(client, result.experiment_id) == held


def test_the_password_of_a_store_is_nowhere_to_be_seen(postgres, tmp_path, prepared):
    process = a_run(prepared, postgres, tmp_path)
    told = [process.communicate(timeout=LIMIT_SECONDS)[0]]
    assert process.returncode == 0, told
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/plan.json"))
    process = bench("sync", folder, uri=postgres, home=tmp_path)
    told.append(process.communicate(timeout=LIMIT_SECONDS)[0])
    assert postgres.replace(PASSWORD, "***") in told[-1]
    for port in (f"{free_port()}", "here"):
        wrong = f"{postgres.rpartition(':')[0]}:{port}/postgres"
        process = bench("sync", folder, uri=wrong, home=tmp_path)
        told.append(process.communicate(timeout=LIMIT_SECONDS)[0])
        assert f"MLflow was not updated: MLflow at {wrong.replace(PASSWORD, '***')} could not be" in told[-1]
    process = bench("ui", uri=postgres, home=tmp_path)
    told += wait_for(lambda: [line for line in [process.stdout.readline()] if "http://" in line], process)
    running = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    told += [word for each in running for word in each.cmdline()]
    assert len(running) >= 3
    process.send_signal(signal.SIGINT)
    told.append(process.communicate(timeout=LIMIT_SECONDS)[0])
    told += [file.read_bytes().decode(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    assert [text for text in told if PASSWORD in text] == []
