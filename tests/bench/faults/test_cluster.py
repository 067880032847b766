"""Jobs on a real Dask cluster of this machine, of which workers, scheduler and parent are really killed."""

import io
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from rich.console import Console

from bench import flow, progress
from bench.draft import draft
from bench.errors import RequestError
from bench.progress import Progress
from bench.request.resources import DEFAULTS, Resources
from bench.request.spec import RunSpec
from bench.results.run_folder import RunFolder
from bench.work import cluster as module
from bench.work.hands import HERE, Hands
from bench.work.processes import Stopped
from reports.table import COST_COLUMNS
from tests.bench.faults.test_elsewhere import METRICS, done, ended, planned, values
from tests.bench.faults.test_elsewhere import tiny as tiny
from tests.bench.faults.test_kills import bench, is_gone
from tests.places import THROWAWAY as FILE
from tests.waiting import LIMIT_SECONDS, wait_until

LocalCluster = pytest.importorskip(
    "distributed", reason="Dask is not installed: the extra cluster"
).LocalCluster
config = pytest.importorskip("dask.config").config
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
    workers = dask_workers(address, "--nworkers", 2, log=tmp_path / "workers.log")
    wait_until(lambda: (tmp_path / "workers.log").read_text().count("Registered to:") >= 2)
    yield SimpleNamespace(address=address, scheduler=scheduler, workers=workers)
    for one in (workers, scheduler):
        kill_family(one.pid)


def dask_workers(address, *options, log):
    fixed = ("--host", "127.0.0.1", "--nthreads", 1, "--no-dashboard", "--death-timeout", 60)
    return dask("worker", address, *fixed, *options, log=log)


def kill_family(pid):
    """Kill a process and all that it began, none of which begins another meanwhile."""
    if not psutil.pid_exists(pid):
        return
    first = psutil.Process(pid)
    everything = [first]
    first.suspend()
    while others := [one for one in first.children(recursive=True) if one not in everything]:
        for process in others:
            process.suspend()
        everything += others
    for process in everything:
        process.kill()
    psutil.wait_procs(everything, timeout=LIMIT_SECONDS)


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
    kill_family(cluster.scheduler.pid)
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
    with module._connected(cluster.address) as client, module.token_of(run) as token:
        assert list(module._offers(client, cluster.address, token).values()) == [{}, {}]
        with pytest.raises(RequestError, match="does not see"):
            module._offers(client, cluster.address, token.with_name("elsewhere"))
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


EMBEDDED = ("activa", "activa_counts", "latent_flow", "scgan", "cscgan")


def test_all_embedded_generators_score_alike_on_a_cluster_and_on_this_machine(tiny, monkeypatch):
    # What else a run ends with has nothing to do with who carried its Jobs out.
    monkeypatch.setattr("reports.figures.save_figures", lambda *_things, **_named: [])
    monkeypatch.setattr(flow, "track", lambda *_things: None)
    spec = RunSpec.checked(
        models=(*EMBEDDED, "nb_copula"),
        dataset=str(tiny),
        profile="smoke",
        budget="2steps",
        metrics=("zero_fraction_error", "mmd"),
        out=tiny.parent / "runs",
    )
    silent = Progress(Console(quiet=True))
    # Of one draft: what is left to the machine is settled once.
    plan = draft(spec, progress=silent)
    here, there = flow.start(plan), flow.start(plan)
    assert flow.carry_out(here, silent, hands=HERE) == 0
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert flow.carry_out(there, silent, hands=Hands(cluster.scheduler_address)) == 0
    assert values(there) == values(here)
    assert len(values(here)) == 2 * (len(EMBEDDED) + 3)
    tables = [
        table.loc[:, [not name.startswith((*COST_COLUMNS, "not_timed")) for name in table.columns]]
        for table in (pd.read_csv(run.path / "table.csv") for run in (here, there))
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert {"model", "budget", "status", "mmd", "zero_fraction_error"} <= set(tables[0].columns)


ALL = "GPU=1 MEMORY=16e9 CORES=2"


def offered(gpus=0, gigabytes=0, cores=0):
    return {"GPU": gpus, "MEMORY": gigabytes * 10**9, "CORES": cores}


@pytest.mark.parametrize(
    ("wanted", "offers", "missing", "remedy"),
    [
        (Resources(gpus=1), [{}, {}], "GPU=1", "GPU=1"),
        (Resources(memory="16G", cores=4), [{}, offered(0, 16, 2)], "CORES=4", "MEMORY=16e9 CORES=4"),
        # Each offers something of it.
        (Resources(2, "16G", gpus=1), [offered(1, 0, 9), offered(0, 99, 1)], "MEMORY=16e9", ALL),
        (Resources(memory="1Gi"), [{"MEMORY": 1e9}], "MEMORY=1073741824", "MEMORY=1073741824"),
        (Resources(memory="500M"), [{"MEMORY": 4e8}], "MEMORY=500000000", "MEMORY=500000000"),
    ],
)
def test_what_no_worker_offers_is_refused_with_the_remedy(wanted, offers, missing, remedy):
    job = SimpleNamespace(title="activa · seed 0", device="cpu")
    asked, offers = module._wanted(wanted, job), dict(enumerate(offers))
    with pytest.raises(RequestError) as refused:
        module._require_offers("tcp://a:1", [(job, {}), (job, asked)], offers)
    assert str(refused.value) == (
        f"--scheduler tcp://a:1: no worker offers all that activa · seed 0 asks for, {missing} is missing: "
        f'start one with dask worker tcp://a:1 --resources "{remedy}"'
    )
    module._require_offers("tcp://a:1", [(job, asked)], offers | {"new": offered(1, 99, 4)})


def test_a_job_for_a_gpu_asks_for_one_and_others_for_nothing():
    on_a_gpu, on_none = SimpleNamespace(device="cuda"), SimpleNamespace(device="cpu")
    assert module._wanted(Resources(), on_a_gpu) == {"GPU": 1}
    assert module._wanted(Resources(gpus=0), on_a_gpu) == module._wanted(Resources(), on_none) == {}


def test_jobs_that_ask_for_more_go_to_the_worker_that_offers_it(waits, cluster, tiny, tmp_path):
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave")
    command = ["run", "--resume", run.path, "--scheduler", cluster.address]
    more = ("--resources", "waits_for_leave:memory=2GB,waits_for_leave:cores=64")
    printed = " ".join(done(*command, *more, code=2).split())
    assert "no worker offers all that waits_for_leave · seed 0 asks for, MEMORY=2e9 CORES=64 is" in printed
    assert ended(run) == set()
    log = tmp_path / "large.log"
    large = dask_workers(cluster.address, "--resources", "MEMORY=3e9 CORES=64", log=log)
    try:
        wait_until(lambda: "Registered to:" in log.read_text())
        parent = bench(*command, *more)
        wait_until((tiny.parent / "waiting").exists)
        worker = psutil.Process(int((tiny.parent / "waiting").read_text()))
        assert large.pid in [process.pid for process in worker.parents()]
        (tiny.parent / "wait").unlink()
        printed = parent.communicate(timeout=LIMIT_SECONDS)[0]
        assert parent.returncode == 0, printed
    finally:
        kill_family(large.pid)


def test_the_limit_of_a_job_holds_through_dask(cluster, tiny):
    run, _ = planned(tiny, f"{FILE}:Hangs", "--timeout", "8")
    done("run", "--resume", run.path, "--scheduler", cluster.address, code=1)
    assert {record.job.model: record.status for record in run.view().records} == {
        "hangs": "timeout",
        "real": "ok",
        "shuffle": "ok",
    }


def test_where_jobs_are_is_told_and_that_no_worker_is_left(waits, cluster, tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "SILENCE_SECONDS", 0.5)
    # What the client asks for by itself must not be taken for an answer.
    monkeypatch.setitem(config["distributed"]["client"], "scheduler-info-interval", "5ms")
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave")
    said = io.StringIO()

    def told(words):
        return " ".join(said.getvalue().split()).count(words)

    parent = threading.Thread(
        target=module.run_jobs_on,
        args=(cluster.address, DEFAULTS, run, run.jobs()),
        kwargs={"progress": Progress(Console(file=said, width=200))},
        daemon=True,
    )
    parent.start()
    wait_until(lambda: told("of 3 · waits_for_leave · seed 0 · fit"))
    link = r"^2 Dask workers · http://127\.0\.0\.1:\d+/status$"
    assert re.search(link, said.getvalue(), re.MULTILINE)
    workers = cluster.workers
    for n_told in (1, 2):
        wait_until((tiny.parent / "waiting").exists)
        kill_family(workers.pid)
        (tiny.parent / "waiting").unlink()
        wait_until(lambda n_told=n_told: told("no Dask workers left: waiting for one to join") == n_told)
        time.sleep(3 * module.LOOK_SECONDS)
        assert told("no Dask workers left") == n_told
        workers = dask_workers(cluster.address, log=tmp_path / f"more{n_told}.log")
    (tiny.parent / "wait").unlink()
    parent.join(LIMIT_SECONDS)
    kill_family(workers.pid)
    assert {record.status for record in run.view().records} == {"ok"}
    assert told("no Dask workers left") == 2
