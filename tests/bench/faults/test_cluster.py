"""Jobs on a real Dask cluster of this machine, of which workers, scheduler and parent are really killed."""

import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from bench.errors import RequestError
from bench.progress import Progress
from bench.results.run_folder import RunFolder
from bench.work import cluster as module
from bench.work.processes import Stopped
from tests.bench.faults.test_elsewhere import METRICS, done, ended, planned, values
from tests.bench.faults.test_elsewhere import tiny as tiny
from tests.bench.faults.test_kills import bench, is_gone
from tests.places import THROWAWAY as FILE
from tests.waiting import LIMIT_SECONDS, wait_until

pytest.importorskip("distributed", reason="Dask is not installed: the extra cluster")
pytestmark = pytest.mark.slow


def dask(*words, log):
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *map(str, words[1:])],
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def address_in(log):
    found = re.search(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)", log.read_text())
    return found and found[1]


@pytest.fixture
def cluster(tiny, tmp_path):
    """Return a scheduler's address, its process and that of its nanny, which begins dead workers again."""
    log = tmp_path / "scheduler.log"
    options = ["--host", "127.0.0.1", "--port", 0, "--no-dashboard"]
    scheduler = dask("scheduler", *options, log=log)
    wait_until(lambda: address_in(log))
    address = address_in(log)
    options = [
        "--host",
        "127.0.0.1",
        "--nthreads",
        1,
        "--nworkers",
        2,
        "--no-dashboard",
        "--death-timeout",
        60,
    ]
    workers = dask("worker", address, *options, log=tmp_path / "workers.log")
    wait_until(lambda: (tmp_path / "workers.log").read_text().count("Registered to:") >= 2)
    yield SimpleNamespace(address=address, scheduler=scheduler, workers=workers)
    everything = [process for one in (workers, scheduler) for process in family(one.pid)]
    for process in everything:
        process.kill()
    psutil.wait_procs(everything, timeout=LIMIT_SECONDS)


def family(pid):
    if not psutil.pid_exists(pid):
        return []
    first = psutil.Process(pid)
    return [*first.children(recursive=True), first]


def test_a_cluster_comes_to_the_scores_of_one_process(cluster, tiny):
    models = f"{FILE}:Mean,{FILE}:Declines"
    run, commands = planned(tiny, models)
    printed = done("run", "--resume", run.path, "--scheduler", cluster.address)
    assert "2 Dask workers" in printed
    assert "2 Jobs at once on tcp://127.0.0.1: beside each other they are not timed" in " ".join(
        printed.split()
    )
    assert "declines · seed 0: skipped: needs spliced counts" in printed
    assert len(ended(run)) == len(commands)
    logs = list(run.path.glob("cluster-*.log"))
    assert len(logs) == len(commands)
    done("run", "--profile", "smoke", "--dataset", tiny, *METRICS, "--models", models, "--out", "alone")
    (alone,) = (tiny.parent / "alone").glob("*/plan.json")
    assert values(run) == values(RunFolder.open(alone.parent))


def waiting_job(cluster, tiny, monkeypatch):
    """Begin a run on the cluster; return it, its parent, and the process that carries out a Job of it."""
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave")
    parent = bench("run", "--resume", run.path, "--scheduler", cluster.address)
    wait_until((tiny.parent / "waiting").exists)
    pid = int((tiny.parent / "waiting").read_text())
    (tiny.parent / "waiting").unlink()
    return run, parent, pid


@pytest.fixture
def waits(tiny, monkeypatch):
    # Before the workers are begun, who hand their environment on.
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))


def test_a_dask_worker_that_dies_takes_its_job_along_and_another_does_it(waits, cluster, tiny, monkeypatch):
    run, parent, pid = waiting_job(cluster, tiny, monkeypatch)
    # Above the Job's process: bench job, then the Dask worker.
    psutil.Process(pid).parent().parent().kill()
    wait_until(lambda: is_gone(pid))
    (tiny.parent / "wait").unlink()
    printed = parent.communicate(timeout=LIMIT_SECONDS)[0]
    assert parent.returncode == 0, printed
    assert {record.status for record in run.view().records} == {"ok"}


def test_a_scheduler_that_dies_ends_the_run_by_name_and_it_goes_on_without(waits, cluster, tiny, monkeypatch):
    run, parent, pid = waiting_job(cluster, tiny, monkeypatch)
    for process in family(cluster.scheduler.pid):
        process.kill()
    printed = parent.communicate(timeout=LIMIT_SECONDS)[0]
    assert parent.returncode == 2, printed
    assert f"lost; go on with --resume {run.path}" in " ".join(printed.split())
    # Nobody waits for it any longer.
    wait_until(lambda: is_gone(pid))
    (tiny.parent / "wait").unlink()
    done("run", "--resume", run.path)
    assert {record.status for record in run.view().records} == {"ok"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_parent_that_ends_leaves_nothing_that_is_run_twice(waits, cluster, tiny, monkeypatch, how):
    run, parent, pid = waiting_job(cluster, tiny, monkeypatch)
    parent.send_signal(how)
    parent.communicate(timeout=LIMIT_SECONDS)
    if how != signal.SIGKILL:
        assert parent.returncode == 130
        wait_until(lambda: is_gone(pid))
    (tiny.parent / "wait").unlink()
    # Killed, it could call nothing off: what was begun is ended, and not begun again.
    done("run", "--resume", run.path)
    assert {record.status for record in run.view().records} == {"ok"}
    time.sleep(1)
    began = "waits_for_leave"
    logs = [path.read_text() for path in run.path.glob("cluster-*.log")]
    assert sum(f"{began} · seed 0: ok" in log for log in logs) == (how == signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers"),
        (["--scheduler", "nonsense"], "is no address"),
        (["--plan-only", "--scheduler", "tcp://127.0.0.1:9"], "carries nothing out"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_anything_is_written(tiny, options, said):
    assert said in done("run", "--dataset", tiny, "--models", f"{FILE}:Mean", *options, code=2)
    assert not (tiny.parent / "runs").exists()


def test_workers_that_cannot_carry_a_run_out_are_refused(cluster, tiny, monkeypatch):
    run, _ = planned(tiny, f"{FILE}:Mean")
    on_a_gpu = [job.model_copy(update={"device": "cuda"}) for job in run.jobs()]
    with module._connected(cluster.address) as client, module.token_of(run) as token:
        assert sum(module._check_workers(client, cluster.address, token, run.jobs()).values()) == 2
        with pytest.raises(RequestError, match="no worker has a GPU"):
            module._check_workers(client, cluster.address, token, on_a_gpu)
        with pytest.raises(RequestError, match="does not see"):
            module._check_workers(client, cluster.address, token.with_name("elsewhere"), run.jobs())
        with pytest.raises(RuntimeError, match="ended with code 2"):
            module.carry_out(str(run.path), "0" * 16, str(token))
    assert list(run.path.glob(".*.token")) == []
    with pytest.raises(Stopped, match="the run has ended"):
        module.carry_out(str(run.path), run.jobs()[0].key, str(token))
    assert ended(run) == set()


def test_what_a_lost_connection_called_off_has_not_ended(tiny):
    run, _ = planned(tiny, f"{FILE}:Mean")
    called_off = SimpleNamespace(done=lambda: True, cancelled=lambda: True)
    waiting = [(run.jobs()[0], called_off)]
    with Progress(Console(quiet=True)).stage("training", total=1) as stage:
        assert module.still_waiting(run, waiting, stage, module._ending) == waiting
