"""The parent's side of scoring: processes over the stored cells, of which one that dies costs one score."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.hardware import usable_cores
from bench.hardware.environment import worker_environment
from bench.progress import Progress, Stage
from bench.request.plan import Job
from bench.request.registry import resolve_metric
from bench.results.disk import DISK_FULL, NO_SPACE
from bench.results.files import readable, write_json
from bench.results.run_folder import RunFolder
from bench.scoring.tasks import failed_score, score_tasks
from bench.work.left import Left, scores_left
from bench.work.predict import Outlook
from bench.work.processes import Outcome, run_worker, scoring_processes, side_by_side

TRACEBACK = "Traceback (most recent call last):"


def run_scoring(
    run: RunFolder,
    metrics: list[str],
    protocols: list[str],
    *,
    progress: Progress,
    maps: bool = True,
    only: Job | None = None,
) -> bool:
    """Score the stored cells in processes of their own; one that dies costs only the score it was computing.

    Forests keep no more than a core busy in one process, so there are several, each with its share of the
    Jobs and of the cores.

    Parameters
    ----------
    run, metrics, protocols
        The run to score, names of the metrics, and names of the protocols.
    progress
        Display of the progress.
    maps
        Whether maps for figures are stored beside the scores.
    only
        Job whose cells are scored, in one process and without maps; None for all Jobs of the run.

    Returns
    -------
    bool
        Whether everything was scored, if only with an error that the table shows.
    """
    jobs = run.jobs() if only is None else [only]
    n_shares = scoring_processes(len(jobs), dataset_bytes=run.dataset_bytes)
    environment = worker_environment(jobs[0].device, max(1, usable_cores() // n_shares))
    limit, outlook = run.read_spec().metric_timeout, Outlook.of(run)
    told: dict[int, dict[str, Any]] = {share: {} for share in range(n_shares)}
    with progress.stage("scoring", total=None) as stage:
        show_all = _scoring_shown(outlook, stage, progress.clock)

        def score(share: int, stop: threading.Event) -> bool:
            name = share if only is None else only.key
            request, log = run.scoring_request(name), run.scoring_log(name)

            def show() -> Any:
                told[share] = readable(request) or {}
                show_all(told)
                return told[share].get("current")

            wanted = {"metrics": metrics, "protocols": protocols, "maps": maps}
            wanted |= {"share": share, "n_shares": n_shares, "only": only and only.key}
            while True:
                write_json(request, wanted | {"current": None})
                cause = _score_share(request, log, environment, limit, show, stop)
                current = (readable(request) or {}).get("current")
                if cause is None and current is not None:
                    cause = "scoring ended itself in the middle of this score"
                if cause in (None, NO_SPACE) or current is None:
                    break
                failed_score(run, current, cause)
            request.unlink(missing_ok=True)
            told[share] = {}
            if cause is not None:
                stage.done("scoring", f"{cause}; see {log}")
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

    command = ["bench.scoring.tasks", str(request)]
    try:
        outcome = run_worker(
            command, log=log, timeout=None, on_poll=follow, environment=environment, stop=stop
        )
    except _Overdue:
        return f"ended after {limit:g} s, the limit of a score (--metric-timeout)"
    return None if outcome.returncode == 0 else _cause(outcome, log, former)


def forget_scores(run: RunFolder, metrics: list[str], protocols: list[str]) -> None:
    """Remove stored scores of some metrics, so that the next scoring computes them anew."""
    for task in score_tasks(run, [resolve_metric(name) for name in metrics], protocols):
        task.file(run).unlink(missing_ok=True)


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
