"""Jobs that are really at work at the same time: what they take is not told, and why is."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from bench.progress import Progress
from bench.request.sharing import Sharing
from bench.work import beside, executor
from bench.work.executor import run_jobs
from reports.view import Record
from tests.bench.work.test_executor import make_run

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a folder in which Jobs meet, two at a time."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "wanted").write_text("2")
    monkeypatch.setenv("BENCH_TEST_MEET", str(place))
    monkeypatch.setattr(executor, "room_for", lambda n_tasks, *, bytes_each: n_tasks)
    return place


def carry_out(run, only=None, **sharing):
    progress = Progress(Console(quiet=True))
    run_jobs(run, only or run.jobs(), timeout=None, progress=progress, sharing=Sharing(**sharing))
    return [run.job_folder(job).read_record() for job in run.jobs()]


def test_jobs_side_by_side_are_not_timed_and_one_alone_is(tmp_path, prepared, place):
    run, _ = make_run(tmp_path, prepared, ["Meets"], seeds=(0, 1))
    # Neither trains before the other has begun.
    records = carry_out(run, jobs=2)
    assert [(record.status, record.beside) for record in records] == [("ok", 1), ("ok", 1)]
    assert [(record.training, record.timing) for record in records] == [(None, None), (None, None)]
    assert all(record.steps == {"looping": 3} and record.samples for record in records)
    first = run.job_folder(run.jobs()[0])
    # What was trained beside another stays so, if its cells alone are drawn again.
    first.cells(0).unlink()
    assert carry_out(run)[0].beside == 1
    first.fitted.unlink()
    first.cells(0).unlink()
    again = carry_out(run)[0]
    assert again.beside == 0
    assert again.training.steps == 3
    assert again.timing.n_cells == 2000


def test_jobs_that_several_processes_carry_out_at_once_know_of_each_other(tmp_path, prepared, place):
    run, _ = make_run(tmp_path, prepared, ["Meets"], seeds=(0, 1))
    with ThreadPoolExecutor(2) as pool:
        # As two of `bench job`: each with locks of its own, and one Job.
        for done in [pool.submit(carry_out, run, [job]) for job in run.jobs()]:
            done.result()
    records = [run.job_folder(job).read_record() for job in run.jobs()]
    assert [(record.status, record.beside, record.training) for record in records] == [("ok", 1, None)] * 2


def test_a_job_that_was_killed_is_not_beside_those_after_it(tmp_path, prepared, place):
    run, _ = make_run(tmp_path, prepared, ["Mean"], seeds=(0, 1))
    killed, job = run.jobs()
    run.job_folder(killed).path.mkdir(parents=True)
    here = {"machine": beside.machine_id(), "gpus": [], "scores": False}
    run.job_folder(killed).at_work.write_text(json.dumps(here))
    carry_out(run, [job])
    assert run.job_folder(job).read_record().beside == 0
    # Of another machine it is not known, nor need it be.
    run.job_folder(job).record.unlink()
    run.job_folder(job).fitted.unlink()
    with run.work_lock(killed.key):
        run.job_folder(killed).at_work.write_text(json.dumps(here | {"machine": "another"}))
        carry_out(run, [job])
        assert run.job_folder(job).read_record().beside == 0
        run.job_folder(killed).at_work.write_text(json.dumps(here))
        run.job_folder(job).record.unlink()
        run.job_folder(job).fitted.unlink()
        carry_out(run, [job])
        assert run.job_folder(job).read_record().beside == 1


def test_scoring_disturbs_others_and_is_not_disturbed(tmp_path, prepared, place):
    run, _ = make_run(tmp_path, prepared, ["Mean"], seeds=(0, 1))
    scored, job = run.jobs()
    carry_out(run, [scored])
    with beside.at_work(run, scored, {}, scores=True):
        carry_out(run, [job])
    assert run.job_folder(job).read_record().beside == 1
    assert beside.most_beside(run.job_folder(scored)) == 0
    assert not list(run.begun())


def test_each_gpu_has_one_job_at_a_time_and_times_count(tmp_path, prepared, place, monkeypatch):
    monkeypatch.setattr(
        beside, "gpu_uuids", lambda environment: environment["CUDA_VISIBLE_DEVICES"].split(",")
    )
    run, _ = make_run(tmp_path, prepared, ["Meets"], seeds=(0, 1, 2, 3))
    plan = [job.model_copy(update={"device": "cuda"}).model_dump(mode="json") for job in run.jobs()]
    run.plan.write_text(json.dumps(plan))
    # The first cannot train before a second has begun, which sees the other GPU: one that is held raises.
    records = carry_out(run, gpus=("GPU-a", "GPU-b"))
    assert [(record.status, record.reason, record.beside) for record in records] == [("ok", "", 0)] * 4
    assert all(record.training.steps == 3 and record.timing.n_cells == 2000 for record in records)
    seen = [file.read_text() for file in place.glob("begun-*")]
    assert len(seen) == 4
    assert set(seen) == {"GPU-a", "GPU-b"}


def test_a_budget_in_seconds_that_others_cut_short_is_told(tmp_path, prepared):
    run, _ = make_run(tmp_path, prepared, ["Mean"], budget="2s")
    (job,) = run.jobs()
    record = Record(key=job.key, status="ok", job=job.model_dump(mode="json"))
    assert executor._without_times(record, job, 0) == record
    (warning,) = executor._without_times(record, job, 3).warnings
    assert warning == "trained beside 3 other Jobs: less than its budget of 2s allows"


@pytest.mark.parametrize(
    ("mine", "theirs", "shared"),
    [([], [], True), ([], ["a"], True), (["a"], ["a", "b"], True), (["a"], ["b"], False)],
)
def test_only_jobs_with_gpus_of_their_own_do_not_disturb_each_other(mine, theirs, shared):
    assert beside._share(mine, theirs) is shared
    assert beside._share(theirs, mine) is shared
