"""Carries out a plan: a worker process for each Job, then scoring processes over the stored cells."""

from __future__ import annotations

import shutil
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench.plan import Job
from bench.processes import Outcome, run_worker, side_by_side, usable_cores, worker_environment
from bench.progress import Progress, Stage
from bench.records import OK, SKIPPED, record_of_death
from bench.registry import resolve_metric
from bench.resources import available_bytes
from bench.run_folder import DamagedFile, JobFolder, RunFolder, read_json, write_json
from bench.scoring import failed_score, score_tasks

GIB = 2**30
SCORING_BYTES = 3 * GIB
"""Of memory, for each scoring process: three times what the largest data sets took."""


def run_jobs(run: RunFolder, jobs: list[Job], *, timeout: float | None, progress: Progress) -> None:
    """Run every Job that has not ended well yet: one at a time where anything is timed, else side by side.

    A failure becomes that Job's Record and never stops the others.
    """
    with progress.stage("training", total=len(jobs)) as stage:

        def carry_out(job: Job, stop: threading.Event) -> None:
            folder = run.job_folder(job)
            record = folder.read_record()
            if record is None or record["status"] not in (OK, SKIPPED):
                record = _run_job(run, job, timeout, stage, stop)
            stage.done(job.title, _words(record))

        for timed, at_once in ((True, 1), (False, _jobs_at_once(run))):
            tasks = [partial(carry_out, job) for job in jobs if job.is_timed == timed]
            side_by_side(tasks, at_once=at_once)


def _jobs_at_once(run: RunFolder) -> int:
    """Return how many Jobs of which nothing is timed may run side by side: a core, and memory, for each.

    A worker holds the libraries and, while it reads them, the cells a few times over; on disk they are
    packed.
    """
    each = GIB + 20 * run.dataset.stat().st_size
    return max(1, min(usable_cores(), available_bytes() // each))


def run_scoring(run: RunFolder, metrics: list[str], protocols: list[str], *, progress: Progress) -> bool:
    """Score the stored cells in processes of their own; one that dies costs only the score it was computing.

    Forests keep no more than a core busy in one process, so there are several, each with its share of the
    Jobs and of the cores.

    Returns
    -------
    bool
        Whether everything was scored, if only with an error that the table shows.
    """
    cores, jobs = usable_cores(), run.jobs()
    n_shares = max(1, min(cores, len(jobs), available_bytes() // SCORING_BYTES))
    environment = worker_environment(jobs[0].device, max(1, cores // n_shares))
    limit = run.read_spec().metric_timeout
    with progress.stage("scoring", total=None) as stage:

        def score(share: int, stop: threading.Event) -> bool:
            request = run.scoring_request(share)
            wanted = {"metrics": metrics, "protocols": protocols, "share": share, "n_shares": n_shares}
            while True:
                write_json(request, wanted | {"current": None})
                cause = _score_share(request, run.scoring_log(share), environment, limit, stage, stop)
                current = _peek(request).get("current")
                if cause is None or current is None:
                    break
                failed_score(run, current, cause)
            request.unlink(missing_ok=True)
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
    stage: Stage,
    stop: threading.Event,
) -> str | None:
    """Run a scoring process until it ends or hangs; return why it did not end well, or None."""
    latest: tuple[Any, float] = (None, time.monotonic())

    def follow() -> None:
        nonlocal latest
        current = _peek(request).get("current")
        stage.follow(current)
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
    return None if outcome.returncode == 0 else _cause(outcome)


def forget_scores(run: RunFolder, metrics: list[str], protocols: list[str]) -> None:
    """Remove stored scores of some metrics, so that the next scoring computes them anew."""
    for task in score_tasks(run, [resolve_metric(name) for name in metrics], protocols):
        task.file(run).unlink(missing_ok=True)


def _run_job(
    run: RunFolder, job: Job, timeout: float | None, stage: Stage, stop: threading.Event
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
            on_poll=lambda: stage.follow({"title": job.title, **_peek(folder.progress)}),
            environment=worker_environment(job.device, job.threads) | {"TMPDIR": str(scratch)},
            stop=stop,
        )
        record = folder.read_record()
        if record is None:
            record = record_of_death(job, outcome, _peek(folder.progress), _peek(folder.fitted) or None)
            write_json(folder.record, record)
    finally:
        # A killed worker cannot tidy up after itself.
        _sweep(folder, keep_record=True)
    return record


def _sweep(folder: JobFolder, *, keep_record: bool = False) -> None:
    """Remove what a worker leaves behind when it is killed, and the Record of an earlier attempt."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.progress.unlink(missing_ok=True)
    if not keep_record:
        folder.record.unlink(missing_ok=True)
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


def _cause(outcome: Outcome) -> str:
    if outcome.out_of_memory:
        return "scoring ran out of memory"
    return f"scoring was ended by {outcome.signal_name or f'exit code {outcome.returncode}'}"


def _words(record: dict[str, Any]) -> str:
    if record["status"] == OK:
        seconds = (record["training"] or {}).get("seconds")
        return "ok" if seconds is None else f"ok, trained {seconds:.1f} s"
    where = f" in {record['failed_phase']}" if record["failed_phase"] else ""
    return f"{record['status']}{where}: {record['reason']}"
