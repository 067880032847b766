"""Carries out a plan: a worker process for each Job, then scoring processes over the stored cells."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.disk import DISK_FULL, NO_SPACE, is_disk_full
from bench.plan import Job
from bench.predict import Left, Outlook, Watch, scores_left
from bench.processes import (
    GIB,
    Outcome,
    room_for,
    run_worker,
    scoring_processes,
    side_by_side,
    usable_cores,
    worker_environment,
)
from bench.progress import Progress, Stage
from bench.records import OK, SKIPPED, record_of_death, unstarted_record
from bench.registry import resolve_metric
from bench.run_folder import DamagedFile, JobFolder, RunFolder, read_json, write_json
from bench.scoring import failed_score, score_tasks

TRACEBACK = "Traceback (most recent call last):"


def run_jobs(run: RunFolder, jobs: list[Job], *, timeout: float | None, progress: Progress) -> None:
    """Run every Job that has not ended well yet: one at a time where anything is timed, else side by side.

    A failure becomes that Job's Record and never stops the others.
    """
    outlook = Outlook.of(run)
    ended = {job.key: _good_record(run, job) for job in jobs}
    waiting = [job for job in jobs if ended[job.key] is None]
    with progress.stage("training", total=len(jobs)) as stage:

        def carry_out(job: Job, stop: threading.Event) -> None:
            record = ended[job.key]
            if record is None:
                waiting.remove(job)
                show = _shown(run, job, waiting, outlook, stage, progress.clock)
                record = _run_job_or_tell(run, job, timeout, show, stop)
                outlook.learn(record)
            stage.done(job.title, _words(record))

        for timed, at_once in ((True, 1), (False, _jobs_at_once(run))):
            tasks = [partial(carry_out, job) for job in jobs if job.is_timed == timed]
            side_by_side(tasks, at_once=at_once)


def _jobs_at_once(run: RunFolder) -> int:
    """Return how many Jobs of which nothing is timed may run side by side.

    A worker holds the libraries and, while it reads them, the cells a few times over.
    """
    return room_for(len(run.jobs()), bytes_each=GIB + 4 * run.dataset_bytes)


def run_scoring(run: RunFolder, metrics: list[str], protocols: list[str], *, progress: Progress) -> bool:
    """Score the stored cells in processes of their own; one that dies costs only the score it was computing.

    Forests keep no more than a core busy in one process, so there are several, each with its share of the
    Jobs and of the cores.

    Returns
    -------
    bool
        Whether everything was scored, if only with an error that the table shows.
    """
    jobs = run.jobs()
    n_shares = scoring_processes(len(jobs), dataset_bytes=run.dataset_bytes)
    environment = worker_environment(jobs[0].device, max(1, usable_cores() // n_shares))
    limit, outlook = run.read_spec().metric_timeout, Outlook.of(run)
    told: dict[int, dict[str, Any]] = {share: {} for share in range(n_shares)}
    with progress.stage("scoring", total=None) as stage:
        show_all = _scoring_shown(outlook, stage, progress.clock)

        def score(share: int, stop: threading.Event) -> bool:
            request = run.scoring_request(share)

            def show() -> Any:
                told[share] = _peek(request)
                show_all(told)
                return told[share].get("current")

            wanted = {"metrics": metrics, "protocols": protocols, "share": share, "n_shares": n_shares}
            while True:
                write_json(request, wanted | {"current": None})
                cause = _score_share(request, run.scoring_log(share), environment, limit, show, stop)
                current = _peek(request).get("current")
                if cause is None and current is not None:
                    cause = "scoring ended itself in the middle of this score"
                if cause in (None, NO_SPACE) or current is None:
                    break
                failed_score(run, current, cause)
            request.unlink(missing_ok=True)
            told[share] = {}
            if cause is not None:
                stage.done("scoring", f"{cause}; see {run.scoring_log(share)}")
            return cause is None

        return all(side_by_side([partial(score, share) for share in range(n_shares)], at_once=n_shares))


class _Overdue(Exception):
    """A score takes longer than it may."""


def _score_share(
    request: Path,
    log: Path,
    environment: dict[str, str],
    limit: float,
    show: Callable[[], Any],
    stop: threading.Event,
) -> str | None:
    """Run a scoring process until it ends or hangs; return why it did not end well, or None.

    `show` returns the score that is being computed.
    """
    latest: tuple[Any, float] = (None, time.monotonic())
    former = log.stat().st_size if log.exists() else 0

    def follow() -> None:
        nonlocal latest
        current = show()
        if current != latest[0]:
            latest = current, time.monotonic()
        elif current is not None and time.monotonic() - latest[1] > limit:
            raise _Overdue

    try:
        outcome = run_worker(
            ["bench.scoring", str(request)],
            log=log,
            timeout=None,
            on_poll=follow,
            environment=environment,
            stop=stop,
        )
    except _Overdue:
        return f"ended after {limit:g} s, the limit of a score (--metric-timeout)"
    return None if outcome.returncode == 0 else _cause(outcome, log, former)


def forget_scores(run: RunFolder, metrics: list[str], protocols: list[str]) -> None:
    """Remove stored scores of some metrics, so that the next scoring computes them anew."""
    for task in score_tasks(run, [resolve_metric(name) for name in metrics], protocols):
        task.file(run).unlink(missing_ok=True)


def _good_record(run: RunFolder, job: Job) -> dict[str, Any] | None:
    """Return the Record of a Job that ended well and need not run again."""
    record = run.job_folder(job).read_record()
    if record is None or record["status"] not in (OK, SKIPPED):
        return None
    # Cells that are gone or damaged are drawn again, from the stored model.
    is_whole = record["status"] == SKIPPED or not run.job_folder(job).damaged_cells(job.sample_seeds)
    return record if is_whole else None


def _shown(
    run: RunFolder,
    job: Job,
    waiting: Sequence[Job],
    outlook: Outlook,
    stage: Stage,
    clock: Callable[[], float],
) -> Callable[[], None]:
    """Return what shows, called again and again, where a Job is and how long it and the run will take."""
    watch, behind = Watch(outlook.prediction(job).phases), outlook.left_with(waiting)
    file = run.job_folder(job).progress

    def show() -> None:
        told = _peek(file)
        left = watch.left(told, clock())
        stage.follow({"title": job.title, **told}, left=str(left), run_left=f"run: {left + behind}")

    return show


def _scoring_shown(
    outlook: Outlook, stage: Stage, clock: Callable[[], float]
) -> Callable[[Mapping[int, dict[str, Any]]], None]:
    """Return what shows, given what each scoring process told last, by its number, where they are.

    The run takes as long as the slowest of them.
    """
    expected, end = outlook.score_seconds, outlook.end_left()
    begun: dict[tuple[Any, ...], float] = {}

    def left_of(told: Mapping[str, Any]) -> Left:
        part, current = told.get("current") or {}, None
        if "metric" in part:
            score = tuple(part[name] for name in ("job", "sample_seed", "metric", "protocol"))
            since = begun.setdefault(score, clock())
            current = (part["metric"], clock() - since)
        return scores_left(told.get("waiting", {}), expected, told.get("took", {}), current=current)

    def show(told: Mapping[int, dict[str, Any]]) -> None:
        left = [left_of(of_share) for of_share in told.values()]
        slowest = Left(max(part.seconds for part in left), all(part.whole for part in left))
        parts = [of_share.get("current") or of_share.get("beside") for of_share in told.values()]
        stage.only(*parts, run_left=f"run: {slowest + end}")

    return show


def _run_job_or_tell(
    run: RunFolder,
    job: Job,
    timeout: float | None,
    on_poll: Callable[[], None],
    stop: threading.Event,
) -> dict[str, Any]:
    """Run a Job; where the disk is too full to keep its Record, it is returned all the same."""
    try:
        return _run_job(run, job, timeout, on_poll, stop)
    except OSError as error:
        if not is_disk_full(error):
            raise
        return unstarted_record(job) | {"status": "failed", "reason": NO_SPACE}


def _run_job(
    run: RunFolder,
    job: Job,
    timeout: float | None,
    on_poll: Callable[[], None],
    stop: threading.Event,
) -> dict[str, Any]:
    folder = run.job_folder(job)
    _sweep(folder)
    write_json(folder.job, job.model_dump(mode="json"))
    scratch = folder.path / "tmp"
    scratch.mkdir()
    try:
        outcome = run_worker(
            ["bench.worker", str(folder.path)],
            log=folder.log,
            timeout=timeout,
            on_poll=on_poll,
            environment=worker_environment(job.device, job.threads) | {"TMPDIR": str(scratch)},
            stop=stop,
        )
        record = folder.read_record()
        if record is None:
            record = record_of_death(job, outcome, _peek(folder.progress), folder.read_fitted())
        # Only from outside can be seen what starting the process took.
        record["wall_seconds"] = outcome.seconds
        write_json(folder.record, record)
    finally:
        # A killed worker cannot tidy up after itself.
        _sweep(folder, keep_record=True)
    return record


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
    for leftover in (folder.path / "tmp", *folder.path.glob(".*")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _peek(path: Any) -> dict[str, Any]:
    """Read a JSON file that may not be there yet."""
    try:
        found: dict[str, Any] = read_json(path)
    except (FileNotFoundError, DamagedFile):
        return {}
    return found


def _cause(outcome: Outcome, log: Path, former: int) -> str:
    if outcome.out_of_memory:
        return "scoring ran out of memory"
    if outcome.returncode == DISK_FULL:
        return NO_SPACE
    raised = _raised(log, former) if outcome.returncode == 1 else None
    how = outcome.signal_name or f"exit code {outcome.returncode}"
    return f"scoring was ended by {how}" + (f" ({raised})" if raised else "")


def _raised(log: Path, former: int) -> str | None:
    """Return in one line the exception that ends a log, if one does; before `former` bytes it is of old."""
    told = log.read_bytes()[former:].decode(errors="replace")
    lines = told.rpartition(TRACEBACK)[2].splitlines() if TRACEBACK in told else []
    return next((line for line in lines if line and not line[0].isspace()), None)


def _words(record: dict[str, Any]) -> str:
    if record["status"] == OK:
        seconds = (record["training"] or {}).get("seconds")
        return "ok" if seconds is None else f"ok, trained {seconds:.1f} s"
    where = f" in {record['failed_phase']}" if record["failed_phase"] else ""
    return f"{record['status']}{where}: {record['reason']}"
