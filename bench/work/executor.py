"""Carries out a plan: a worker process for each Job."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import Queue
from threading import Event
from typing import Any

from filelock import Timeout

from bench.errors import RequestError
from bench.hardware import describe
from bench.hardware.environment import worker_environment
from bench.progress import Progress, Stage
from bench.request.plan import Job
from bench.request.sharing import Sharing
from bench.results.disk import DISK_FULL, NO_SPACE, is_disk_full
from bench.results.files import readable, write_json
from bench.results.records import FAILED, new_record, unstarted_record
from bench.results.run_folder import JobFolder, RunFolder
from bench.work.beside import at_work, most_beside
from bench.work.clock import training_rate
from bench.work.left import Watch
from bench.work.predict import Outlook
from bench.work.processes import GIB, POLL_SECONDS, Outcome, Stopped, room_for, run_worker, side_by_side
from datasets.streamed import TIMES_IN_MEMORY
from models.base import Budget
from reports.view import OK, SKIPPED, Record

ALONE = Sharing()


def run_jobs(
    run: RunFolder,
    jobs: list[Job],
    *,
    timeout: float | None,
    progress: Progress,
    sharing: Sharing | None = ALONE,
) -> None:
    """Run every Job that has not ended well yet: one at a time where anything is timed, else side by side.

    A failure becomes that Job's Record and never stops the others. A Job that another process carries out
    (`bench job`) is waited for.

    Parameters
    ----------
    run, jobs
        The run, and those of its Jobs that are wanted.
    timeout
        Wall-clock limit of each Job in seconds; None for no limit.
    progress
        Display of the progress.
    sharing
        Number of Jobs that run at the same time, and their GPUs; by default a timed Job runs alone. None for
        what the run's request says.

    Raises
    ------
    RequestError
        If something is left to do, and they cannot share this machine so.
    """
    outlook = Outlook.of(run)
    ended = {job.key: run.good_record(job) for job in jobs}
    waiting = [job for job in jobs if ended[job.key] is None]
    if sharing is None:
        # Where nothing is left, nothing needs the GPUs that the run was begun with.
        sharing = Sharing.of(run.read_spec(), device=jobs[0].device) if waiting else ALONE
    free: Queue[str | None] = Queue()
    for gpu in sharing.gpus or [None] * len(jobs):
        free.put(gpu)
    with progress.stage("training", total=len(jobs)) as stage:

        def carry_out(job: Job, stop: Event) -> None:
            record = ended[job.key]
            if record is None:
                waiting.remove(job)
                show = _shown(run, job, waiting, outlook, stage, progress.clock)
                gpu = free.get()
                try:
                    record = _recorded(run, job, timeout, show, stop, progress.say, gpu)
                finally:
                    free.put(gpu)
                outlook.learn(record)
            stage.done(job.title, words_of(record))

        if sharing.at_once > 1:
            at_once = min(sharing.at_once, room_for(len(jobs), bytes_each=_most_bytes(run, jobs, outlook)))
            progress.say(_how_many(at_once, sharing, jobs))
            side_by_side([partial(carry_out, job) for job in jobs], at_once=at_once)
            return
        untimed_at_once = room_for(len(run.jobs()), bytes_each=_least_bytes(run))
        for timed, at_once in ((True, 1), (False, untimed_at_once)):
            tasks = [partial(carry_out, job) for job in jobs if job.is_timed == timed]
            side_by_side(tasks, at_once=at_once)


def _how_many(at_once: int, sharing: Sharing, jobs: Sequence[Job]) -> str:
    """Say how many Jobs go on at once, and what that means for their times."""
    told = "one on each GPU" if sharing.gpus else "what they take is not told"
    fewer = "" if at_once == sharing.at_once else f" (there is no room for {sharing.at_once} here)"
    threads = max(job.threads for job in jobs)
    return f"{at_once} Jobs at once{fewer}, {threads} thread{'s' * (threads > 1)} each: {told}"


@contextlib.contextmanager
def _alone(run: RunFolder, job: Job, stop: Event, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from a Job, once none is at work on it; if one is, `say` is told."""
    lock, told = run.job_lock(job), False
    while not lock.is_locked:
        if stop.is_set():
            raise Stopped(job.title)
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except Timeout:
            if not told:
                say(f"  {job.title}: waiting for another process that is at work on it")
            told = True
    try:
        yield
    finally:
        lock.release()


def _least_bytes(run: RunFolder) -> int:
    """Return what a worker holds: the libraries and, while it reads them, the cells a few times over."""
    # What takes more than --memory stays on disk.
    cells, memory = TIMES_IN_MEMORY * run.dataset_bytes, run.read_spec().memory
    return GIB + (cells if memory is None else min(cells, memory))


def _most_bytes(run: RunFolder, jobs: Sequence[Job], outlook: Outlook) -> int:
    """Return how much memory the largest of some Jobs takes, by what this machine measured before."""
    known = [outlook.prediction(job).peak_rss_bytes or 0 for job in jobs]
    return max(_least_bytes(run), *(int(peak) for peak in known))


def _shown(
    run: RunFolder, job: Job, waiting: list[Job], outlook: Outlook, stage: Stage, clock: Callable[[], float]
) -> Callable[[], None]:
    """Return what shows, called again and again, where a Job is and how long it and the run will take."""
    watch, behind = Watch(outlook.prediction(job).phases), outlook.left_with(waiting)
    file = run.job_folder(job).progress

    def show() -> None:
        told = readable(file) or {}
        left = watch.left(told, clock())
        stage.follow({"title": job.title, **told}, left=str(left), run_left=f"run: {left + behind}")

    return show


def _recorded(
    run: RunFolder,
    job: Job,
    timeout: float | None,
    on_poll: Callable[[], None],
    stop: Event,
    say: Callable[[str], None],
    gpu: str | None,
) -> Record:
    """Run a Job; where the disk is too full to keep its Record, that is told all the same."""
    try:
        with _alone(run, job, stop, say):
            # Another process may have ended it meanwhile.
            return run.good_record(job) or _run_job(run, job, timeout, on_poll, stop, gpu)
    except OSError as error:
        if not is_disk_full(error):
            raise
        return unstarted_record(job).but(status=FAILED, reason=NO_SPACE)


def _run_job(
    run: RunFolder, job: Job, timeout: float | None, on_poll: Callable[[], None], stop: Event, gpu: str | None
) -> Record:
    folder, environment = run.job_folder(job), worker_environment(job.device, job.threads, gpu)
    _sweep(folder)
    _forget_what_others_trained(folder, describe(environment)["fingerprint"])
    if not (folder.fitted.exists() or folder.checkpoint.exists()):
        # Of what is trained anew nothing was done beside others yet.
        folder.beside.unlink(missing_ok=True)
    write_json(folder.job, job.model_dump(mode="json"))
    _make_scratch(folder)
    try:
        with at_work(run, job, environment):
            outcome = run_worker(
                ["bench.work.worker", str(folder.path)],
                log=folder.log,
                timeout=timeout,
                on_poll=on_poll,
                environment=environment | {"TMPDIR": str(folder.scratch)},
                stop=stop,
            )
        record = folder.read_record()
        if record is None:
            record = record_of_death(job, outcome, readable(folder.progress) or {}, folder.read_fitted())
        # Only from outside can be seen what starting the process took.
        record = _without_times(record.but(wall_seconds=outcome.seconds), job, most_beside(folder))
        folder.write_record(record)
    finally:
        # A killed worker cannot tidy up after itself.
        _sweep(folder, keep_record=True)
    return record


def _make_scratch(folder: JobFolder) -> None:
    try:
        folder.scratch.mkdir(mode=0o700)
    except FileExistsError as error:
        raise RequestError(
            f"{folder.scratch} is in the way and not to be removed: set TMPDIR to another folder"
        ) from error


def _without_times(record: Record, job: Job, beside: int) -> Record:
    """Return the Record of a Job that others disturbed without what would be taken for its times."""
    if not (beside and job.is_timed) or record.status == SKIPPED:
        return record
    warnings = record.warnings
    if job.budget is not None and Budget.parse(job.budget).unit == "seconds":
        warnings += (f"trained beside {beside} other Jobs: less than its budget of {job.budget} allows",)
    return record.but(beside=beside, training=None, timing=None, warnings=warnings)


def _forget_what_others_trained(folder: JobFolder, here: str) -> None:
    """Remove what a Job has trained on another machine: its seconds would be told as this one's."""
    if (readable(folder.machine) or {}).get("fingerprint", here) != here:
        folder.fitted.unlink(missing_ok=True)
        for trained in (folder.checkpoint, folder.model):
            shutil.rmtree(trained, ignore_errors=True)
    write_json(folder.machine, {"fingerprint": here})


def _sweep(folder: JobFolder, *, keep_record: bool = False) -> None:
    """Remove what a worker leaves behind when it is killed, and Record and scores of an earlier attempt."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.progress.unlink(missing_ok=True)
    if not keep_record:
        folder.record.unlink(missing_ok=True)
        # Of cells that are drawn again; those that were scored may have been damaged.
        shutil.rmtree(folder.scores, ignore_errors=True)
        for embedding in folder.path.glob("embedding-*.npz"):
            embedding.unlink()
    for leftover in (folder.scratch, *folder.path.glob(".*")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def words_of(record: Record) -> str:
    """Return in a few words how a Job ended."""
    if record.status == OK:
        beside = f", beside {record.beside} other{'s' * (record.beside > 1)}" if record.beside else ""
        return f"ok{beside}" if record.training is None else f"ok, trained {record.training.seconds:.1f} s"
    where = f" in {record.failed_phase}" if record.failed_phase else ""
    return f"{record.status}{where}: {record.reason}"


def record_of_death(
    job: Job, outcome: Outcome, progress: dict[str, Any], fitted: dict[str, Any] | None
) -> Record:
    """Return the Record of a worker that left none: killed, timed out, or crashed.

    Parameters
    ----------
    job, outcome
        The Job, and how its process ended.
    progress
        Content of the worker's last ``progress.json``.
    fitted
        Content of ``fitted.json`` if the training had ended before, else None.
    """
    log = f"; see jobs/{job.key}/log.txt in the run folder"
    if outcome.timed_out:
        status, reason = "timeout", f"the wall-clock limit ended it after {outcome.seconds:.0f} s"
    elif outcome.out_of_memory:
        status, reason = "out_of_memory", "the kernel ended it for want of memory"
    elif outcome.returncode < 0:
        status, reason = "killed", f"ended by signal {outcome.signal_name}{log if outcome.crashed else ''}"
    elif outcome.returncode == DISK_FULL:
        status, reason = "failed", NO_SPACE
    else:
        status, reason = "failed", f"the worker exited with code {outcome.returncode}{log}"
    now = datetime.now(UTC)
    record = new_record(job).but(
        status=status,
        reason=reason,
        failed_phase=progress.get("phase") or None,
        seconds_to_failure=outcome.seconds,
        started=(now - timedelta(seconds=outcome.seconds)).isoformat(timespec="seconds"),
        finished=now.isoformat(timespec="seconds"),
    )
    if fitted is None or not job.is_trained:
        return record
    # The training had ended well; what it took is known.
    seconds, steps = (dict(fitted["clock"][kind]) for kind in ("seconds", "steps"))
    return record.but(phases=seconds, training=training_rate(seconds, steps))
