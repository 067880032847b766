"""Whether a run is what it says: every score computed again from the stored cells, in a folder of its own.

Nothing in the run is changed. Of what cannot be computed again (a metric that is not installed, or whose code
has changed since) it is said so: it never passes in silence.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.errors import RequestError
from bench.hardware.environment import describe_for
from bench.progress import Progress
from bench.request.registry import resolve_metric
from bench.results.cells import is_sound
from bench.results.files import readable, readable_as, seal_of
from bench.results.records import StoredBaselines, versions
from bench.results.reopen import damages
from bench.results.run_folder import JobFolder, RunFolder
from bench.scoring.processes import run_scoring
from bench.scoring.scorer import metrics_code
from bench.scoring.tasks import ScoreTask, score_tasks
from datasets.cache import sha256_of
from reports.view import Score

SAME_MACHINE: Final = 1e-9
OTHER_MACHINE: Final = 1e-3
"""Relative, or absolute below 1, on other hardware or with other libraries: other processors add in another
order, and a vote of a forest may fall the other way."""
COMPUTED: Final = {
    "metric",
    "protocol",
    "n_cells",
    "sample_seed",
    "values",
    "details",
    "notes",
    "interval",
} | {
    "p_value",
    "error",
}
"""What of a score comes out again; of seconds only the digest tells that they are as they were."""
CHANGED: Final = "changed since it was written"
UNSEALED: Final = "an earlier version wrote it without a digest: nothing tells whether it was changed"
NO_IMPORT: Final = ("ModuleNotFoundError", "ImportError")


@dataclass
class Findings:
    """What a verification came to.

    Attributes
    ----------
    tolerance
        Tolerance when scores are compared: relative, or absolute below 1.
    n_scores
        Number of scores that were computed again and are as stored.
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
        The run, which is not changed.
    progress
        Display of the progress.
    """
    found = Findings(SAME_MACHINE if _is_same_machine(run) else OTHER_MACHINE)
    found.differs += [*damages(run), *_changed_files(run)]
    found.unverified += _unsealed_files(run)
    checksum = run.read_request().get("dataset_sha256")
    if not is_sound(run.dataset, checksum):
        found.differs.append(f"{run.dataset}: missing, or not the cells that the run was made with")
        found.unverified.append("scores: none is computed again without these cells")
        return found
    tasks = _expected(run, found)
    with tempfile.TemporaryDirectory() as home:
        again = _beside(run, Path(home, "again"))
        for protocol in run.read_request()["protocols"]:
            metrics = _wanted(run, tasks, protocol)
            if metrics and not run_scoring(again, metrics, [protocol], progress=progress, maps=False):
                found.unverified.append(f"protocol {protocol}: scoring did not end")
        _compare_scores(run, again, tasks, found)
        _compare_augmenters(run, again, found)
    return found


def _is_same_machine(run: RunFolder) -> bool:
    """Tell whether hardware and libraries are those of the run, wherever its Jobs were carried out."""
    first = run.jobs()[0]
    here = describe_for(first.device, first.threads)["fingerprint"]
    made_on = {machine.fingerprint for machine in run.view().machines}
    return made_on == {here} and run.read_request()["versions"] == versions()


def _changed_files(run: RunFolder) -> Iterator[str]:
    """Yield a line for each file that is not as it was written, is missing, or is no part of the plan."""
    for file in run.sealed_files():
        if readable(file) is not None and seal_of(file) == "broken":
            yield f"{file}: {CHANGED}"
    planned = {job.key for job in run.jobs()}
    for path in sorted(run.path.glob("jobs/*")):
        if path.is_dir() and path.name not in planned:
            yield f"{path}: {run.plan.name} has no such Job: one of them was changed"
    for folder in map(run.job_folder, run.jobs()):
        yield from _changed_in(folder)


def _changed_in(folder: JobFolder) -> Iterator[str]:
    record = folder.read_record()
    if record is None:
        if not folder.record.exists() and any(folder.path.glob("cells-*.h5ad")):
            yield f"{folder.record}: missing, though its Job left cells"
        elif not folder.record.exists():
            yield f"{folder.record}: missing: its Job was never run, or was taken away"
        return
    if record.key != folder.path.name:
        yield f"{folder.record}: the Record of another Job ({record.key})"
    for sample in record.samples.values():
        path = folder.path / sample.file
        if sample.sha256 is not None and (not path.exists() or sha256_of(path) != sample.sha256):
            yield f"{path}: its checksum is not that of the cells as they were drawn"


def _unsealed_files(run: RunFolder) -> Iterator[str]:
    """Yield a line for request and Records without a digest; scores are computed again."""
    for file in (run.request, *(run.job_folder(job).record for job in run.jobs())):
        if file.exists() and seal_of(file) == "none":
            yield f"{file}: {UNSEALED}"


def _expected(run: RunFolder, found: Findings) -> list[ScoreTask]:
    """Return the scores that the run should have: each metric under each protocol that it was asked for."""
    names = [metric.name for metric in run.metrics()] + [score.metric for score in _stored(run).values()]
    metrics = []
    for name in dict.fromkeys(names):
        try:
            metrics.append(resolve_metric(name))
        except RequestError as reason:
            found.unverified.append(f"{name}: {reason}")
    return score_tasks(run, metrics, run.read_request()["protocols"])


def _wanted(run: RunFolder, tasks: Sequence[ScoreTask], protocol: str) -> list[str]:
    """Return the metrics that are expected of some Job under a protocol, or under what stands for it."""
    under = {(job.key, job.scored_under(protocol)) for job in run.jobs()}
    found = (task.metric.name for task in tasks if (task.job.key, task.comparison.protocol.name) in under)
    return list(dict.fromkeys(found))


def _beside(run: RunFolder, home: Path) -> RunFolder:
    """Return a run of the same Jobs and cells that has no scores."""
    home.mkdir()
    again = RunFolder(home)
    for file in (run.request, run.plan, run.dataset):
        (home / file.name).symlink_to(file)
    for folder in map(run.job_folder, run.jobs()):
        target = home / "jobs" / folder.path.name
        target.mkdir(parents=True)
        for pattern in ("record.json", "cells-*.h5ad"):
            for file in folder.path.glob(pattern):
                (target / file.name).symlink_to(file)
    return again


def _stored(run: RunFolder) -> dict[Path, Score]:
    """Return the scores of a run by their place in its folder."""
    files = (file for job in run.jobs() for file in sorted(run.job_folder(job).scores.glob("*.json")))
    scores = {file.relative_to(run.path): readable_as(Score, file) for file in files}
    return {place: score for place, score in scores.items() if score is not None}


def _compare_scores(run: RunFolder, again: RunFolder, tasks: Sequence[ScoreTask], found: Findings) -> None:
    before, now = _stored(run), _stored(again)
    for task in tasks:
        if not task.file(run).exists():
            found.differs.append(f"{task.file(run)}: missing, though its cells are there")
    for place, score in before.items():
        computed = now.get(place)
        if computed is None:
            found.unverified.append(f"{run.path / place}: not computed again")
        elif score.key != computed.key:
            found.unverified.append(f"{run.path / place}: the code of {score.metric} has changed since")
        elif computed.failed and str(computed.error).startswith(NO_IMPORT):
            found.unverified.append(f"{run.path / place}: a package is missing here: {computed.error}")
        elif difference := _difference(score, computed, found.tolerance):
            found.differs.append(f"{run.path / place}: {difference}")
        elif seal_of(run.path / place) != "broken":
            found.n_scores += 1


def _difference(before: Score, now: Score, tolerance: float) -> str:
    """Say in what two scores differ first; empty where they do not."""
    if (before.error, before.failed) != (now.error, now.failed):
        return f"stored: {before.error or 'a value'}; computed again: {now.error or 'a value'}"
    stored, computed = (score.model_dump(mode="json", include=COMPUTED) for score in (before, now))
    return _first_unlike(stored, computed, tolerance)


def _first_unlike(stored: Any, computed: Any, tolerance: float, at: str = "") -> str:
    """Say where two parts of JSON differ first, numbers by more than a tolerance; empty where they do not."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        names = dict.fromkeys([*stored, *computed])
        pairs = [(f"{at}.{name}", stored.get(name), computed.get(name)) for name in names]
    elif isinstance(stored, list) and isinstance(computed, list) and len(stored) == len(computed):
        both = enumerate(zip(stored, computed, strict=True))
        pairs = [(f"{at}[{place}]", *pair) for place, pair in both]
    else:
        same = stored == computed or (_are_numbers(stored, computed) and _alike(stored, computed, tolerance))
        return "" if same else f"{at.lstrip('.')} is stored as {stored!r}, computed again {computed!r}"
    found = (_first_unlike(before, now, tolerance, where) for where, before, now in pairs)
    return next(filter(None, found), "")


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _alike(stored: float, computed: float, tolerance: float) -> bool:
    both_nan = math.isnan(stored) and math.isnan(computed)
    return both_nan or math.isclose(stored, computed, rel_tol=tolerance, abs_tol=tolerance)


def _compare_augmenters(run: RunFolder, again: RunFolder, found: Findings) -> None:
    experiments = dict.fromkeys(job.experiment for job in run.jobs() if job.experiment.kind == "augmentation")
    here = {run.baselines / f"{experiment.slug}.json" for experiment in experiments}
    if any(again.baselines.glob("*.json")):
        found.differs += [f"{file}: missing" for file in sorted(here) if not file.exists()]
    for file in sorted(run.baselines.glob("*.json")):
        before = readable_as(StoredBaselines, file)
        now = readable_as(StoredBaselines, again.baselines / file.name)
        if before is None:
            continue
        if now is None or before.key != metrics_code("augmentation"):
            found.unverified.append(f"{file}: the code of the augmenters has changed since, or did not run")
            continue
        stored, computed = (
            {one.augmenter: one.model_dump(mode="json") for one in scores.scores} for scores in (before, now)
        )
        if difference := _first_unlike(stored, computed, found.tolerance):
            found.differs.append(f"{file}: {difference}")
        elif seal_of(file) != "broken":
            found.n_scores += len(computed)
