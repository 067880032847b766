"""Whether a run is what it says: every score computed again from the stored cells, in a folder of its own.

Nothing in the run is changed. Of what cannot be computed again (a metric that is not installed, or whose code
has changed since) it is said so: it never passes in silence.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.errors import RequestError
from bench.hardware import usable_cores
from bench.hardware.environment import describe_for
from bench.progress import Progress
from bench.request.registry import resolve_metric
from bench.results.files import readable_as
from bench.results.records import StoredBaselines
from bench.results.reopen import damages
from bench.results.run_folder import RunFolder
from bench.scoring.processes import run_scoring
from bench.scoring.scorer import metrics_code
from datasets.cache import sha256_of
from reports.view import AugmenterScore, Score

SAME_MACHINE: Final = 1e-9
OTHER_MACHINE: Final = 1e-3
"""Relative: other processors add in another order, and a vote of a forest may fall the other way."""


@dataclass
class Findings:
    """What a verification came to.

    Attributes
    ----------
    tolerance
        Relative, of scores.
    n_scores
        Scores that were computed again and are as stored.
    differs, unverified
        A line for each file that is not as it was, and for each that cannot be computed again.
    """

    tolerance: float
    n_scores: int = 0
    differs: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)


def verify(run: RunFolder, *, progress: Progress) -> Findings:
    """Compare a run with what its stored cells say.

    Parameters
    ----------
    run
        The run; left as it is.
    progress
        Told what is being computed.
    """
    request, jobs = run.read_request(), run.jobs()
    here = describe_for(jobs[0].device, usable_cores())["fingerprint"]
    same = request["hardware"]["fingerprint"] == here
    found = Findings(SAME_MACHINE if same else OTHER_MACHINE)
    found.differs += [*damages(run), *_changed_files(run)]
    with tempfile.TemporaryDirectory() as home:
        again = _beside(run, Path(home, "again"))
        for protocol in request["protocols"]:
            metrics = _installed(run, protocol, found)
            if metrics and not run_scoring(again, metrics, [protocol], progress=progress):
                found.unverified.append(f"protocol {protocol}: scoring did not end")
        _compare_scores(run, again, found)
        _compare_augmenters(run, again, found)
    return found


def _changed_files(run: RunFolder) -> Iterator[str]:
    """Yield a line for cells and Records that are not as they were written."""
    checksum = run.read_request().get("dataset_sha256")
    if checksum is not None and checksum != sha256_of(run.dataset):
        yield f"{run.dataset}: its checksum is not that of the cells that the run was made with"
    for job in run.jobs():
        folder, record = run.job_folder(job), run.job_folder(job).read_record()
        if record is None:
            continue
        if folder.record_is_changed:
            yield f"{folder.record}: changed since it was written"
        for sample in record.samples.values():
            path = folder.path / sample.file
            if sample.sha256 is not None and (not path.exists() or sha256_of(path) != sample.sha256):
                yield f"{path}: its checksum is not that of the cells as they were drawn"


def _beside(run: RunFolder, home: Path) -> RunFolder:
    """Return a run of the same Jobs and cells that has no scores."""
    home.mkdir()
    again = RunFolder(home)
    for file in (run.request, run.plan, run.dataset):
        (home / file.name).symlink_to(file)
    for folder in map(run.job_folder, run.jobs()):
        target = home / "jobs" / folder.path.name
        target.mkdir(parents=True)
        # Maps, too: they are for eyes, and would be drawn again.
        for pattern in ("record.json", "cells-*.h5ad", "embedding-*.npz"):
            for file in folder.path.glob(pattern):
                (target / file.name).symlink_to(file)
    return again


def _stored(run: RunFolder) -> dict[Path, Score]:
    """Return the scores of a run by their place in its folder."""
    files = (file for job in run.jobs() for file in sorted(run.job_folder(job).scores.glob("*.json")))
    scores = {file.relative_to(run.path): readable_as(Score, file) for file in files}
    return {place: score for place, score in scores.items() if score is not None}


def _installed(run: RunFolder, protocol: str, found: Findings) -> list[str]:
    """Return the metrics that were scored under a protocol and can be computed here."""
    names = dict.fromkeys(score.metric for score in _stored(run).values() if score.protocol == protocol)
    metrics = []
    for name in names:
        try:
            resolve_metric(name)
        except RequestError as reason:
            found.unverified.append(f"{name}: {reason}")
            continue
        metrics.append(name)
    return metrics


def _compare_scores(run: RunFolder, again: RunFolder, found: Findings) -> None:
    before, now = _stored(run), _stored(again)
    for place, score in before.items():
        if (computed := now.get(place)) is None:
            found.unverified.append(f"{run.path / place}: not computed again")
        elif score.key != computed.key:
            found.unverified.append(f"{run.path / place}: the code of {score.metric} has changed since")
        elif difference := _difference(score, computed, found.tolerance):
            found.differs.append(f"{run.path / place}: {difference}")
        else:
            found.n_scores += 1


def _difference(before: Score, now: Score, tolerance: float) -> str:
    """Say in what two scores differ; empty where they do not."""
    if (before.error, before.failed) != (now.error, now.failed):
        return f"stored: {before.error or 'a value'}; computed again: {now.error or 'a value'}"
    for name in before.values.keys() | now.values.keys():
        stored, computed = before.values.get(name, math.nan), now.values.get(name, math.nan)
        if not _alike(stored, computed, tolerance):
            return f"{name} is stored as {stored:.12g}, computed again {computed:.12g}"
    ranges = (
        ("interval", before.interval or (), now.interval or ()),
        ("p-value", _some(before.p_value), _some(now.p_value)),
    )
    for what, first, second in ranges:
        pairs = zip(first, second, strict=False)
        if len(first) != len(second) or not all(_alike(a, b, tolerance) for a, b in pairs):
            return f"its {what} is stored as {first}, computed again {second}"
    return ""


def _some(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def _alike(stored: float, computed: float, tolerance: float) -> bool:
    return math.isclose(stored, computed, rel_tol=tolerance, abs_tol=tolerance)


def _compare_augmenters(run: RunFolder, again: RunFolder, found: Findings) -> None:
    for file in sorted(run.baselines.glob("*.json")):
        before = readable_as(StoredBaselines, file)
        now = readable_as(StoredBaselines, again.baselines / file.name)
        if before is None:
            continue
        if now is None or before.key != metrics_code("augmentation"):
            found.unverified.append(f"{file}: the code of the augmenters has changed since, or did not run")
            continue
        for stored, computed in zip(before.scores, now.scores, strict=False):
            found.differs += [f"{file}: {line}" for line in _unlike(stored, computed, found.tolerance)]
        if len(before.scores) != len(now.scores):
            found.differs.append(f"{file}: {len(before.scores)} augmenters, computed again {len(now.scores)}")
        found.n_scores += len(now.scores)


def _unlike(stored: AugmenterScore, computed: AugmenterScore, tolerance: float) -> Iterator[str]:
    if stored.augmenter != computed.augmenter:
        yield f"{stored.augmenter} stands where {computed.augmenter} does"
    for name, value in stored.values.items():
        if not _alike(value, computed.values.get(name, math.nan), tolerance):
            yield f"{name} of {stored.augmenter} is stored as {value:.12g}"
