"""Jobs on a Slurm cluster that is made of small scripts: the processes, and what ends them, are real."""

import re
import signal
import sys
from pathlib import Path

import pytest

from bench.hardware import usable_cores
from bench.request.resources import Resources
from bench.results.run_folder import RunFolder
from bench.work import slurm as module
from tests.bench.faults.test_elsewhere import METRICS, done, ended, planned, values
from tests.bench.faults.test_elsewhere import tiny as tiny
from tests.bench.faults.test_kills import bench, is_gone
from tests.places import THROWAWAY as FILE
from tests.waiting import LIMIT_SECONDS, wait_until

pytest.importorskip("submitit", reason="submitit is not installed: the extra cluster")
pytestmark = pytest.mark.slow
FAKE = Path(__file__).with_name("slurm.py")
ON_SLURM = ("--scheduler", "slurm")


@pytest.fixture
def slurm(tiny, monkeypatch):
    """Return the folder in which the commands of a small Slurm keep what they know."""
    home, commands = tiny.parent / "slurm", tiny.parent / "commands"
    home.mkdir()
    commands.mkdir()
    for name in ("sbatch", "sacct", "scancel", "squeue", "srun"):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("SLURM_FAKE", str(home))
    monkeypatch.setenv("PATH", f"{commands}:{sys.exec_prefix}/bin:/usr/bin:/bin")
    return home


def calls(slurm, name):
    lines = (slurm / "calls").read_text().splitlines() if (slurm / "calls").exists() else []
    return [line for line in lines if line.startswith(name)]


def options(slurm, number=1):
    script = (slurm / str(number) / "script").read_text()
    return dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, re.MULTILINE))


def test_slurm_comes_to_the_scores_of_one_process(slurm, tiny):
    models = f"{FILE}:Mean,{FILE}:Declines"
    asked = ["run", "--profile", "smoke", "--dataset", tiny, *METRICS, "--models", models]
    resources = "cores=1,memory=2GB,hours=1.5,gpus=1,partition=short,account=lab,qos=low,constraint=avx2"
    printed = done(*asked, *ON_SLURM, "--resources", resources, "--timeout", "10min")
    (plan,) = tiny.parent.glob("runs/*/plan.json")
    run = RunFolder.open(plan.parent)
    assert "4 Jobs submitted to Slurm: squeue --jobs 1" in " ".join(printed.split())
    assert "declines · seed 0: skipped: needs spliced counts" in printed
    assert len(ended(run)) == len(run.jobs()) == 4
    assert len(calls(slurm, "sbatch")) == 1
    assert calls(slurm, "scancel") == []
    wanted = {
        "array": "0-3%4",
        "cpus-per-task": "1",
        "mem": "2G",
        "time": "90",
        "gpus-per-node": "1",
        "partition": "short",
        "account": "lab",
        "qos": "low",
        "constraint": "avx2",
        "nodes": "1",
    }
    assert {name: options(slurm).get(name) for name in wanted} == wanted
    assert {job.threads for job in run.jobs()} == {1}
    # Scored where they were made.
    assert all("scoring" in (run.path / f"cluster-{job.key}.log").read_text() for job in run.jobs()[2:])
    done(*asked, "--out", "alone")
    (alone,) = (tiny.parent / "alone").glob("*/plan.json")
    assert values(run) == values(RunFolder.open(alone.parent))
    assert len(values(run)) == 3


def test_what_slurm_ends_is_a_row_with_its_reason_and_resume_makes_it_again(slurm, tiny, monkeypatch):
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave,{FILE}:Mean")
    by_model = {job.model: (index, job) for index, job in enumerate(run.jobs())}
    index, job = by_model["waits_for_leave"]
    (slurm / f"end-1_{index}").write_text("TIMEOUT")
    parent = bench("run", "--resume", run.path, *ON_SLURM)
    wait_until((tiny.parent / "waiting").exists)
    pid = int((tiny.parent / "waiting").read_text())
    (slurm / "begun").touch()
    printed = " ".join(parent.communicate(timeout=LIMIT_SECONDS)[0].split())
    assert parent.returncode == 1, printed
    assert "Traceback" not in printed
    wait_until(lambda: is_gone(pid))
    record = run.job_folder(job).read_record()
    assert record.status == "timeout"
    assert record.reason == f"Slurm ended it (TIMEOUT, job 1_{index}): its hours were over; give more: " + (
        "--resources hours=…"
    )
    assert record.failed_phase == "fit"
    assert {r.status for r in run.view().records if r.job.model != "waits_for_leave"} == {"ok"}
    assert f"timeout in fit: {record.reason}" in printed
    (slurm / f"end-1_{index}").unlink()
    (tiny.parent / "wait").unlink()
    others = {path: (path / "record.json").read_bytes() for path in ended(run) if path.name != job.key}
    done("run", "--resume", run.path, *ON_SLURM)
    assert {record.status for record in run.view().records} == {"ok"}
    assert {path: (path / "record.json").read_bytes() for path in others} == others
    # One Job was left, so this is no array.
    assert "array" not in options(slurm, 2)


@pytest.mark.long
def test_memory_that_slurm_ended_it_for_is_told_as_such(slurm, tiny, monkeypatch):
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave")
    index, job = next((i, job) for i, job in enumerate(run.jobs()) if job.model == "waits_for_leave")
    (slurm / f"end-1_{index}").write_text("OUT_OF_MEMORY")
    parent = bench("run", "--resume", run.path, *ON_SLURM)
    wait_until((tiny.parent / "waiting").exists)
    (slurm / "begun").touch()
    assert parent.wait(timeout=LIMIT_SECONDS) == 1
    assert run.job_folder(job).read_record().status == "out_of_memory"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_parent_that_ends_calls_its_jobs_off_or_leaves_them_to_their_end(slurm, tiny, monkeypatch, how):
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave")
    parent = bench("run", "--resume", run.path, *ON_SLURM)
    wait_until((tiny.parent / "waiting").exists)
    pid = int((tiny.parent / "waiting").read_text())
    (tiny.parent / "waiting").unlink()
    parent.send_signal(how)
    printed = parent.communicate(timeout=LIMIT_SECONDS)[0]
    if how == signal.SIGKILL:
        assert calls(slurm, "scancel") == []
        assert not is_gone(pid)
    else:
        assert parent.returncode == 130, printed
        assert calls(slurm, "scancel") == ["scancel 1"]
        assert "go on with: bench run --resume" in " ".join(printed.split())
        wait_until(lambda: is_gone(pid))
    (tiny.parent / "wait").unlink()
    # What goes on is waited for, and not begun again.
    done("run", "--resume", run.path)
    assert {record.status for record in run.view().records} == {"ok"}
    logs = [path.read_text() for path in run.path.glob("cluster-*.log")]
    assert sum("waits_for_leave · seed 0: ok" in log for log in logs) == (how == signal.SIGKILL)


MORE = "memory=2GB,waits_for_leave:memory=4GB,waits_for_leave:hours=3"


def waiting_jobs(slurm, tiny, monkeypatch):
    """Begin a run of which a model's Jobs ask for more; return it, its parent, and a process that waits."""
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave", "--seeds", "0,1")
    parent = bench("run", "--resume", run.path, *ON_SLURM, "--resources", MORE)
    wait_until((tiny.parent / "waiting").exists)
    # The first array may train before the second one is submitted, and is known by name.
    wait_until(lambda: len(list((run.path / "slurm").glob("*_submitted.pkl"))) == 6)
    return run, parent, int((tiny.parent / "waiting").read_text())


def test_jobs_that_ask_for_more_are_an_array_of_their_own(slurm, tiny, monkeypatch):
    run, parent, _ = waiting_jobs(slurm, tiny, monkeypatch)
    asked = [
        {name: options(slurm, number).get(name) for name in ("array", "mem", "time")} for number in (1, 2)
    ]
    assert asked == [
        {"array": "0-1%2", "mem": "4G", "time": "180"},
        {"array": "0-3%4", "mem": "2G", "time": None},
    ]
    (slurm / "end-1_1").write_text("OUT_OF_MEMORY")
    (slurm / "begun").touch()
    wait_until(lambda: (slurm / "1" / "1").read_text() == "OUT_OF_MEMORY")
    (tiny.parent / "wait").unlink()
    printed = " ".join(parent.communicate(timeout=LIMIT_SECONDS)[0].split())
    assert parent.returncode == 1, printed
    assert "6 Jobs submitted to Slurm: squeue --jobs 1,2" in printed
    (ended_by_slurm,) = (record for record in run.view().records if record.status != "ok")
    assert (ended_by_slurm.job.model, ended_by_slurm.job.seed) == ("waits_for_leave", 1)
    assert "Slurm ended it (OUT_OF_MEMORY, job 1_1): its memory was used up" in ended_by_slurm.reason
    assert calls(slurm, "scancel") == []
    done("run", "--resume", run.path, *ON_SLURM, "--resources", MORE)
    assert {record.status for record in run.view().records} == {"ok"}
    assert "array" not in options(slurm, 3)
    assert options(slurm, 3)["mem"] == "4G"


def test_a_parent_that_is_interrupted_calls_all_its_arrays_off(slurm, tiny, monkeypatch):
    _, parent, pid = waiting_jobs(slurm, tiny, monkeypatch)
    parent.send_signal(signal.SIGINT)
    printed = parent.communicate(timeout=LIMIT_SECONDS)[0]
    assert parent.returncode == 130, printed
    assert calls(slurm, "scancel") == ["scancel 1 2"]
    wait_until(lambda: is_gone(pid))


def test_an_array_that_is_refused_calls_off_those_before_it(slurm, tiny):
    (slurm / "hold").touch()
    run, _ = planned(tiny, f"{FILE}:Mean")
    last = run.jobs()[-1].model
    more = ("--resources", f"partition=short,{last}:partition=closed")
    printed = done("run", "--resume", run.path, *ON_SLURM, *more, code=2)
    assert "invalid partition specified: closed" in printed
    assert calls(slurm, "scancel") == ["scancel 1"]
    assert ended(run) == set()


def test_a_model_that_is_not_of_the_run_is_refused_before_anything_is_written(slurm, tiny):
    more = ("--resources", "main:memory=8GB")
    printed = done("run", "--dataset", tiny, "--models", f"{FILE}:Mean", *METRICS, *ON_SLURM, *more, code=2)
    assert "--resources main:…: no such model in this run, which has " in " ".join(printed.split())
    assert not (tiny.parent / "runs").exists()


def held_tasks(slurm, tiny):
    """Return a run whose parent was killed before Slurm began any task, and the files of their states."""
    (slurm / "hold").touch()
    run, _ = planned(tiny, f"{FILE}:Mean")
    states = [slurm / "1" / str(index) for index in range(len(run.jobs()))]
    parent = bench("run", "--resume", run.path, *ON_SLURM)
    # Until then what they are to do has no name that they know.
    wait_until(lambda: len(list((run.path / "slurm").glob("*_submitted.pkl"))) == len(states))
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=LIMIT_SECONDS)
    return run, states


def test_a_task_that_begins_when_its_parent_was_killed_is_carried_out(slurm, tiny):
    run, states = held_tasks(slurm, tiny)
    (slurm / "hold").unlink()
    wait_until(lambda: all(state.read_text() in ("COMPLETED", "FAILED") for state in states))
    assert {record.status for record in run.view().records} == {"ok"}
    assert len(ended(run)) == len(run.jobs())


def test_a_task_that_begins_when_nobody_waits_does_nothing(slurm, tiny):
    run, states = held_tasks(slurm, tiny)
    for token in run.path.glob(".*.token"):
        token.unlink()
    done("run", "--resume", run.path)
    before = {path: (path / "record.json").read_bytes() for path in ended(run)}
    (slurm / "hold").unlink()
    wait_until(lambda: all(state.read_text() in ("COMPLETED", "FAILED") for state in states))
    assert {path: (path / "record.json").read_bytes() for path in before} == before
    assert len(before) == len(run.jobs())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--resources", "memry=8GB"), "'memry=8GB': give NAME=VALUE or MODEL:NAME=VALUE, names are cores, "),
        (("--resources", "partition=closed"), "invalid partition specified: closed"),
        (("--jobs", 2), "--jobs is for Jobs on this machine: leave it out with --scheduler slurm"),
    ],
)
def test_what_slurm_cannot_do_is_refused_in_one_line(slurm, tiny, more, said):
    printed = done("run", "--dataset", tiny, "--models", f"{FILE}:Mean", *METRICS, *ON_SLURM, *more, code=2)
    assert said in " ".join(printed.split())


def test_without_slurms_commands_nothing_is_written(tiny, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    printed = done("run", "--dataset", tiny, "--models", f"{FILE}:Mean", *ON_SLURM, code=2)
    assert "--scheduler slurm: sbatch is not found here" in printed
    assert not (tiny.parent / "runs").exists()
    printed = done("run", "--dataset", tiny, "--resources", "hours=2", code=2)
    assert "--resources hours=2 is what Jobs ask a cluster for: give --scheduler, too" in printed


def test_what_is_not_asked_for_follows_from_the_plan(tiny):
    run, _ = planned(tiny, f"{FILE}:Mean")
    jobs = run.jobs()
    asked = module.parameters(Resources(), jobs, timeout=None)
    given = {name: value for name, value in asked.items() if value is not None}
    assert given == {"cpus_per_task": usable_cores()}
    assert module.parameters(Resources(), jobs, timeout=61.0)["time"] == 2 + module.SCORING_MINUTES
    assert module.parameters(Resources(memory="8Gi"), jobs, timeout=None)["mem"] == "8G"
    on_a_gpu = [job.model_copy(update={"device": "cuda"}) for job in jobs]
    assert module.parameters(Resources(), on_a_gpu, timeout=None)["gpus_per_node"] == 1
    assert module.parameters(Resources(gpus=0), on_a_gpu, timeout=None)["gpus_per_node"] is None
