"""A run whose Jobs other processes carry out, as an engine on many machines has them do."""

import errno
import fcntl
import json
import random
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anndata
import psutil
import pytest

from bench.errors import RequestError
from bench.hardware import has_cuda
from bench.request.seeds import derive
from bench.results.run_folder import RunFolder
from reports.main_table import unlike_machines
from tests.bench.faults.test_kills import bench, is_gone
from tests.places import THROWAWAY as FILE
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.slow
METRICS = ("--metrics", "zero_fraction_error")
COUNTED = Path(__file__).with_name("counted.py")


@pytest.fixture
def tiny(tmp_path, prepared, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    counts = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    counts.write_h5ad(tmp_path / "tiny.h5ad")
    return tmp_path / "tiny.h5ad"


def done(*arguments, code=0):
    process = bench(*arguments)
    printed = process.communicate(timeout=LIMIT_SECONDS)[0]
    assert process.returncode == code, printed
    assert "Traceback" not in printed
    return printed


def planned(tiny, models, *options):
    """Plan a run; return its folder, and the commands that carry it out as an engine would be given them."""
    command = ["run", "--plan-only", "--profile", "smoke", "--dataset", str(tiny), *METRICS, *options]
    asked = [sys.executable, "-m", "bench", *command, "--models", models]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    (plan,) = tiny.parent.glob("runs/*/plan.json")
    commands = [shlex.split(line) for line in told.stdout.splitlines()]
    assert {tuple(words[:4]) for words in commands} == {("python", "-m", "bench", "job")}
    assert f"--resume {plan.parent}" in told.stderr
    return RunFolder.open(plan.parent), [words[3:] for words in commands]


def values(run):
    view = run.view()
    return {
        (record.job.model, record.job.seed, score.metric): score.values
        for record in view.records
        for score in view.scores[record.key]
    }


def test_jobs_of_other_processes_come_to_the_scores_of_one(tiny):
    models = f"{FILE}:Mean,nb_copula"
    run, commands = planned(tiny, models)
    assert [words[2] for words in commands] == [job.key for job in run.jobs()]
    assert not any(record.has_ended for record in run.view().records)
    # Two at a time, the last ones first; of each two one is scored there, too.
    for first, second in zip(commands[::-2], commands[-2::-2], strict=False):
        for process in (bench(*first), bench(*second, "--score")):
            assert process.wait(timeout=LIMIT_SECONDS) == 0
        assert len(list((run.path / "jobs" / second[2] / "scores").glob("*.json"))) == 1
    assert not list((run.path / "jobs" / commands[-1][2] / "scores").glob("*"))
    left = [words for words in commands if run.path / "jobs" / words[2] not in ended(run)]
    assert len(left) == len(commands) % 2
    before = {path: (path / "record.json").read_bytes() for path in ended(run)}
    done("run", "--resume", run.path)
    assert {path: (path / "record.json").read_bytes() for path in before} == before
    done("run", "--profile", "smoke", "--dataset", tiny, *METRICS, "--models", models, "--out", "alone")
    (alone,) = (tiny.parent / "alone").glob("*/plan.json")
    assert values(run) == values(RunFolder.open(alone.parent))
    assert len(values(run)) == len(commands)


def ended(run):
    return {run.job_folder(job).path for job in run.jobs() if run.job_folder(job).record.exists()}


def test_a_job_is_carried_out_once_however_often_it_is_asked_for(tiny, monkeypatch):
    monkeypatch.setenv("BENCH_TEST_WAIT", str(tiny.parent / "wait"))
    (tiny.parent / "wait").touch()
    run, _ = planned(tiny, f"{FILE}:WaitsForLeave")
    (key,) = (job.key for job in run.jobs() if job.model == "waits_for_leave")
    first = bench("job", run.path, key)
    wait_until((tiny.parent / "waiting").exists)
    (tiny.parent / "waiting").unlink()
    second = bench("job", run.path, key)
    (tiny.parent / "wait").unlink()
    for process in (first, second):
        printed = process.communicate(timeout=LIMIT_SECONDS)[0]
        assert process.returncode == 0, printed
    # It would have waited for leave anew.
    assert not (tiny.parent / "waiting").exists()
    record = (run.path / "jobs" / key / "record.json").read_bytes()
    done("job", run.path, key)
    assert (run.path / "jobs" / key / "record.json").read_bytes() == record


def fit_seed(job):
    return derive(job.seed, "fit")


def starts(place):
    """Return how often the generator of `COUNTED` has begun to train, by its seed."""
    file = place / "starts"
    return Counter(map(int, file.read_text().split())) if file.exists() else Counter()


def carry_out_side_by_side(run, jobs, doomed, place):
    """Carry Jobs out at once, and kill some of them together when all these are in the midst of training."""
    processes = {job.key: bench("job", run.path, job.key) for job in jobs}
    wait_until(lambda: all(starts(place)[fit_seed(job)] for job in doomed))
    victims = [processes.pop(job.key) for job in doomed]
    below = [pid.pid for victim in victims for pid in psutil.Process(victim.pid).children(recursive=True)]
    for victim in victims:
        victim.kill()
    for victim in victims:
        victim.communicate(timeout=LIMIT_SECONDS)
    wait_until(lambda: all(map(is_gone, below)))
    for process in processes.values():
        printed = process.communicate(timeout=LIMIT_SECONDS)[0]
        assert process.returncode == 0, printed


# Three Jobs a seed: the generator, and two controls.
@pytest.mark.parametrize(
    "n_seeds", [5, pytest.param(34, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_a_fifth_of_the_jobs_killed_several_at_once_costs_nothing_but_time(
    tiny, tmp_path, monkeypatch, n_seeds
):
    monkeypatch.setenv("BENCH_TEST_STARTS", str(tmp_path))
    run, commands = planned(tiny, f"{COUNTED}:Counted", "--seeds", f"0-{n_seeds - 1}")
    jobs = random.Random(0).sample(run.jobs(), 3 * n_seeds)
    doomed = [job for job in jobs if job.model == "counted"][: len(commands) // 5]
    unharmed = [job for job in jobs if job not in doomed]
    for job in doomed:
        (tmp_path / f"hold-{fit_seed(job)}").touch()
    to_kill, others = doomed.copy(), unharmed.copy()
    while to_kill or others:
        killed = to_kill[:3]
        beside = others[: 5 - len(killed)]
        carry_out_side_by_side(run, [*killed, *beside], killed, tmp_path)
        del to_kill[: len(killed)], others[: len(beside)]
    before = {path: (path / "record.json").read_bytes() for path in ended(run)}
    assert before.keys() == {run.job_folder(job).path for job in unharmed}
    for job in doomed:
        (tmp_path / f"hold-{fit_seed(job)}").unlink()
    done("run", "--resume", run.path)
    assert {path: (path / "record.json").read_bytes() for path in before} == before
    # None that was not killed has begun twice, and none that was more often.
    counted = [job for job in jobs if job.model == "counted"]
    assert starts(tmp_path) == {fit_seed(job): 1 + (job in doomed) for job in counted}
    records = run.view().records
    assert {record.status for record in records} == {"ok"}
    assert len({record.key for record in records}) == len(commands) == 3 * n_seeds


def test_another_machine_is_told_wherever_times_are(tiny, monkeypatch):
    run, commands = planned(tiny, f"{FILE}:Mean", "--seeds", "0,1")
    (first, second) = (job for job in run.jobs() if job.model == "mean")
    done("job", run.path, first.key)
    # Other instructions make another machine of this one.
    with monkeypatch.context() as patch:
        patch.setenv("ATEN_CPU_CAPABILITY", "default")
        done("job", run.path, second.key)
    printed = done("run", "--resume", run.path)
    view = run.view()
    assert len(view.machines) == 2
    here, there = (machine.fingerprint for machine in view.machines)
    assert {record.job.seed for record in view.records if record.machine.fingerprint == there} == {1}
    (words,) = unlike_machines(view)
    # Controls were carried out where the run was planned.
    assert f"{there} (mean · seed 1)" in words
    assert f"{here} (seeds 0, " in words
    rows = json.loads(done("report", run.path, "--format", "json"))["runs"][0]
    assert [machine["fingerprint"] for machine in rows["machines"]] == [here, there]
    # What was trained there is not told as trained here.
    (run.path / "jobs" / second.key / "cells-0.h5ad").unlink()
    done("run", "--resume", run.path)
    assert run.job_folder(second).read_record().machine.fingerprint == here
    assert [machine.fingerprint for machine in run.view().machines] == [here]
    assert "unlike machines" in " ".join(printed.split())
    assert len(commands) == len(view.records)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: ["job", run.path, "0" * 16], "is no Job of"),
        (lambda run: ["job", run.path.parent, "0" * 16], "is not a run folder"),
        (lambda run: ["run", "--resume", run.path, "--plan-only"], "give no other option"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(tiny, change, said):
    run, _ = planned(tiny, f"{FILE}:Mean")
    assert said in done(*change(run), code=2)


def test_other_libraries_than_it_was_planned_with_are_refused(tiny):
    run, commands = planned(tiny, f"{FILE}:Mean")
    run.update_request(versions=run.read_request()["versions"] | {"numpy": "0.1"})
    assert "begun with numpy 0.1" in done(*commands[0], code=2)
    assert ended(run) == set()


def test_a_device_that_is_not_there_is_refused(tiny):
    run, _ = planned(tiny, f"{FILE}:Mean")
    plan = json.loads(run.plan.read_text())
    run.plan.write_text(json.dumps([job | {"device": "cuda"} for job in plan]))
    (first, *_) = run.jobs()
    if has_cuda():
        pytest.skip("there is a GPU")
    assert "--device cuda" in done("job", run.path, first.key, code=2)


def test_the_limit_of_a_job_holds_wherever_it_is_carried_out(tiny):
    run, _ = planned(tiny, f"{FILE}:Hangs", "--timeout", "8")
    (job,) = (job for job in run.jobs() if job.model == "hangs")
    done("job", run.path, job.key, code=1)
    assert run.job_folder(job).read_record().status == "timeout"


def test_a_file_system_that_keeps_no_locks_is_refused(tmp_path, monkeypatch):
    def unknown(_file, _operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.raises(RequestError, match=r"cannot be locked here \(Function not implemented\)"):
        RunFolder(tmp_path).require_locks()
