"""``bench run --jobs`` and ``--gpus``: the same scores as one at a time, and what is refused in one line."""

import csv

import pytest

from bench.hardware import has_cuda, usable_cores
from bench.results.run_folder import RunFolder
from tests.bench.faults.test_elsewhere import METRICS, done, planned, values
from tests.bench.faults.test_elsewhere import tiny as tiny
from tests.places import THROWAWAY as FILE

pytestmark = pytest.mark.slow
needs_two = pytest.mark.skipif(usable_cores() < 2, reason="there is one core")


def only(folder):
    (plan,) = folder.glob("*/plan.json")
    return RunFolder.open(plan.parent)


@needs_two
def test_two_at_a_time_come_to_the_scores_of_one(tiny, monkeypatch):
    monkeypatch.setenv("BENCH_TEST_MEET", str(tiny.parent))
    (tiny.parent / "wanted").write_text("2")
    asked = ["run", "--profile", "smoke", "--dataset", tiny, *METRICS, "--models", f"{FILE}:Meets", "--seeds"]
    printed = done(*asked, "0,1", "--jobs", 2, "--out", tiny.parent / "two")
    two = only(tiny.parent / "two")
    threads = usable_cores() // 2
    words = " ".join(printed.split())
    assert f"2 Jobs at once, {threads} thread" in words
    assert "beside 1 other Job on one machine: not timed" in words
    timed = [record for record in two.view().records if record.job.model == "meets"]
    assert [(record.job.threads, record.beside, record.training, record.timing) for record in timed] == [
        (threads, 1, None, None)
    ] * 2
    assert all(job.timing_cells == 0 for job in two.jobs())
    done(*asked, "0,1", "--out", tiny.parent / "one")
    one = only(tiny.parent / "one")
    assert len(values(one)) == len(two.jobs())
    assert values(two) == values(one)
    with (two.path / "table.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert rows["meets"]["training_seconds"] == ""
    assert "not timed" in rows["meets"]["not_timed"]
    # It goes on as it was begun, and does nothing twice.
    undone, *others = (two.job_folder(job).record for job in two.jobs())
    undone.unlink()
    before = [record.read_bytes() for record in others]
    assert "2 Jobs at once" in done("run", "--resume", two.path)
    assert undone.exists()
    assert "at once" not in done("run", "--resume", two.path)
    assert [record.read_bytes() for record in others] == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--jobs", 10_000], "--jobs 10000: there are"),
        (["--jobs", 0], "--jobs 0"),
        (["--jobs", 2, "--scheduler", "tcp://127.0.0.1:9"], "--jobs is for Jobs on this machine"),
        (["--gpus", "nonsense", "--device", "cpu"], "--gpus nonsense"),
        pytest.param(
            ["--jobs", 2, "--budget", "5s"], "has a budget of 5s, in which it would be", marks=needs_two
        ),
    ],
)
def test_what_cannot_go_side_by_side_is_refused_before_anything_is_written(tiny, options, said):
    asked = ["run", "--dataset", tiny, "--models", f"{FILE}:Mean", "--device", "cpu"]
    assert said in " ".join(done(*asked, *options, code=2).split())
    assert not (tiny.parent / "runs").exists()


@pytest.mark.skipif(has_cuda(), reason="there is a GPU")
def test_gpus_that_are_not_there_are_refused(tiny):
    printed = done("run", "--dataset", tiny, "--models", f"{FILE}:Mean", "--gpus", 2, code=2)
    assert "--gpus 2: no NVIDIA GPU is to be seen here; leave it out" in " ".join(printed.split())


@needs_two
def test_a_run_that_was_planned_with_all_cores_is_not_shared_out_later(tiny):
    run, _ = planned(tiny, f"{FILE}:Mean")
    printed = " ".join(done("run", "--resume", run.path, "--jobs", 2, code=2).split())
    assert f"a Job of this run has {usable_cores()} threads: at most 1 at once, or start a new run" in printed
