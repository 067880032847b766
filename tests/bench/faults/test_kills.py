"""Processes that are really killed, and scores that hang, end themselves or take their process with them."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import anndata
import psutil
import pytest
from rich.console import Console

from bench.errors import RequestError
from bench.progress import Progress
from bench.results.run_folder import RunFolder
from bench.scoring import processes
from bench.scoring.processes import run_scoring
from bench.work.processes import run_worker
from tests.bench.work.test_executor import FILE, YEAR, carry_out, make_run
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.slow


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def run(tmp_path_factory, prepared):
    run, spec = make_run(tmp_path_factory.mktemp("runs"), prepared, ["Mean"])
    carry_out(run, spec)
    return run


SCORING = """
import os, signal, sys, time
from bench.scoring import tasks as scoring
from bench.scoring.tasks import main

def faulty(scorer, task, *, right=scoring._computed):
    if task.metric.name == "cd":
        {fault}
    return right(scorer, task)

scoring._computed = faulty
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def score(run, tmp_path, monkeypatch):
    """Return a function that scores `run` by cd, which ends in some way, and by mmd; their stored scores."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    leaps, hanging = [], tmp_path / "hangs"

    def monotonic():
        # As long as a score hangs a year passes at each look; all others take what they take.
        if hanging.exists() and not is_gone(int(hanging.read_text())):
            leaps.append(YEAR)
        return time.monotonic() + sum(leaps)

    def scored(fault):
        monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=monotonic))
        fault = fault.format(hangs=str(hanging))
        (tmp_path / "faulty_scoring.py").write_text(SCORING.format(fault=fault))
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        monkeypatch.setenv("PYTHONPATH", path)
        monkeypatch.setattr(
            processes, "run_worker", lambda words, **rest: run_worker(["faulty_scoring", *words[1:]], **rest)
        )
        processes.forget_scores(run, ["cd", "mmd"], ["strict"])
        whole = run_scoring(run, ["cd", "mmd"], ["strict"], progress=Progress(Console(quiet=True)))
        (job,) = run.jobs()
        return whole, {score.metric: score for score in run.job_folder(job).read_scores()}

    return scored


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "scoring was ended by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "scoring was ended by SIGSEGV"),
        ("os._exit(7)", "scoring was ended by exit code 7"),
        (
            "raise LookupError('no such table\\nin that file')",
            "scoring was ended by exit code 1 (LookupError: no such table)",
        ),
        ("os._exit(0)", "scoring ended itself in the middle of this score"),
        (
            "open('part', 'w').write(str(os.getpid())); os.rename('part', {hangs!r}); time.sleep(600)",
            "ended after 3600 s, the limit of a score (--metric-timeout)",
        ),
    ],
)
def test_a_score_that_takes_its_process_with_it_costs_itself_alone(score, fault, reason):
    whole, scores = score(fault)
    assert whole
    assert scores["cd"].failed
    assert scores["cd"].error == reason
    assert scores["cd"].values == {}
    assert scores["mmd"].error is None
    assert scores["mmd"].values["mmd"] > 0


def bench(*arguments, **options):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_whose_process_was_killed_goes_on(tmp_path, prepared, monkeypatch, how):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tmp_path / "wait"))
    (tmp_path / "wait").touch()
    counts = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    counts.write_h5ad(tmp_path / "tiny.h5ad")
    options = ["--profile", "smoke", "--dataset", tmp_path / "tiny.h5ad", "--metrics", "zero_fraction_error"]
    models = f"{FILE}:Mean,{FILE}:WaitsForLeave"
    parent = bench("run", *options, "--models", models, "--out", tmp_path / "runs")
    wait_until((tmp_path / "waiting").exists)
    worker = int((tmp_path / "waiting").read_text())
    (plan,) = tmp_path.glob("runs/*/plan.json")
    run = RunFolder.open(plan.parent)
    with pytest.raises(RequestError, match="another bench process is at work"), run.locked():
        pass
    parent.send_signal(how)
    parent.communicate(timeout=LIMIT_SECONDS)
    assert parent.returncode == -how
    wait_until(lambda: is_gone(worker))
    before = {record.job.model: record.finished for record in run.view().records}
    assert before["mean"]
    assert before["waits_for_leave"] is None
    (tmp_path / "wait").unlink()
    again = bench("run", "--resume", run.path)
    printed = again.communicate(timeout=LIMIT_SECONDS)[0]
    assert again.returncode == 0, printed
    assert "Traceback" not in printed
    records = {record.job.model: record for record in run.view().records}
    assert {record.status for record in records.values()} == {"ok"}
    assert records["mean"].finished == before["mean"]
