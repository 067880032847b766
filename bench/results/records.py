"""Records: what a Job measured, or why it failed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import hardware
from bench.errors import RequestError
from bench.hardware.environment import describe_for
from bench.request.plan import Job
from bench.request.registry import resolve_metric
from bench.results.disk import NO_SPACE, is_disk_full
from models.base import Diverged
from reports.facts import Facts
from reports.view import NOT_RUN, AugmenterScore, JobFacts, MetricFacts, Record, Score

FAILED: Final = "failed"
VERSIONED = ("numpy", "scipy", "scikit-learn", "anndata", "torch", "tensorflow-cpu", "tensorflow", "mlflow")
# Allocation failures as the frameworks name them; no common base class.
OUT_OF_MEMORY_CLASSES = {"OutOfMemoryError", "ResourceExhaustedError"}


def unstarted_record(job: Job) -> Record:
    """Return the Record of a Job that has not run: an interrupted run has rows for all it planned."""
    return Record(key=job.key, status=NOT_RUN, job=JobFacts.model_validate(job.model_dump(mode="json")))


def new_record(job: Job) -> Record:
    """Return the Record of a Job that is about to start; it has failed until it has not."""
    here = describe_for(job.device, job.threads)
    return unstarted_record(job).but(
        status=FAILED,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={"fingerprint": here["fingerprint"], "hardware": here, **hardware.load()},
        versions=versions(),
        git_commit=git_commit(),
    )


class StoredBaselines(Facts):
    """What lies in the folder of the cheap augmenters: scores, and the hash of the code that made them."""

    key: str = ""
    scores: tuple[AugmenterScore, ...] = ()


def key_of_score(job: Job, *, sample_seed: int, metric: str, code: str, protocol: str) -> str:
    """Return the hash of all that may change a score: the Job, seeds, metric and its code, protocol."""
    facts = [job.key, sample_seed, metric, code, protocol]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def scores_under(protocols: Sequence[str], job: Job, scores: list[Score]) -> list[Score]:
    """Return a Job's scores under each protocol, also where those of another one stand for it."""
    return [
        score.model_copy(update={"protocol": name})
        for name in protocols
        for score in scores
        if score.protocol == job.scored_under(name)
    ]


def as_declared_today(metric: MetricFacts) -> MetricFacts:
    """Tell whether a metric stands in the main table: as it is declared today, if it still is."""
    try:
        return metric.but(default=resolve_metric(metric.name).default)
    except RequestError:
        return metric


def status_of(error: BaseException) -> dict[str, str]:
    """Return the status and the one-line reason of a failure inside the worker."""
    reason = (str(error).strip().splitlines() or [""])[0]
    named = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    if isinstance(error, Diverged):
        return {"status": "diverged", "reason": reason}
    if is_disk_full(error):
        return {"status": FAILED, "reason": NO_SPACE}
    classes = {base.__name__ for base in type(error).__mro__}
    if isinstance(error, MemoryError) or classes & OUT_OF_MEMORY_CLASSES or "can't allocate memory" in reason:
        return {"status": "out_of_memory", "reason": named}
    return {"status": FAILED, "reason": named}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape results."""
    return {"python": sys.version.split()[0]} | hardware.installed(VERSIONED)


def facts_of_cells(job: Job, *, space: str, sample_seed: int) -> dict[str, Any]:
    """Return what is written beside the cells that a Job's model drew with a sample seed."""
    facts = {"model": job.model, "space": space, "job": job.key, "sample_seed": sample_seed}
    return facts | {"versions": versions()}


def git_commit() -> str | None:
    """Return the commit of the harness's own checkout (with ``+changes``), or None outside one."""
    here = Path(__file__).parent
    options = ["--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"]
    command = ["git", "-C", str(here), "describe", *options]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
