"""Runs that were made apart, on one machine or several, as one run: where they are pieces of one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from bench.errors import RequestError
from bench.request.plan import Job
from bench.results.cells import is_sound
from bench.results.files import link_or_copy, readable_as, whole_folder, write_json, write_sealed
from bench.results.packs import require_unchanged, unpack
from bench.results.records import key_of_score
from bench.results.run_folder import JobFolder, RunFolder
from reports.facts import Piece
from reports.view import OK, Record, Score

Facts: TypeAlias = dict[str, Any]
Question: TypeAlias = tuple[str, ...]
TRAINED: Final = ("model", "baseline")
SAME: Final = {
    "dataset_key": "prepared cells",
    "train_shape": "training cells and genes",
    "n_cells": "cells a side",
    "n_test": "test cells",
    "protocol_facts": "protocols",
    "only_under": "protocols of single metrics",
}
"""What of their requests must be equal, in words."""
SAME_OF_MODEL: Final = ("version", "source_hash", "content", "space", "draws_from", "budget")
OF_ONE_DRAWING: Final = ("fitted.json", "curves.jsonl", "cells-*.h5ad")
"""Files that go with a Record's digests; maps and scores go with any that were made of equal cells."""
SAME_SCORE: Final = 1e-3
"""Relative, or absolute below 1: what scores of the same cells may differ by on other machines."""


class Answer(NamedTuple):
    """A Job of a piece.

    Attributes
    ----------
    run, job, record
        The piece of the run, the Job, and its Record, or None.
    files
        Digests of the Job's files of cells, by sample seed; the Job's key where none is known.
    cells
        Digests of the cells in these files; a file's own digest where its cells are not available.
    """

    run: RunFolder
    job: Job
    record: Record | None
    files: tuple[str, ...]
    cells: tuple[str, ...] = ()

    @property
    def folder(self) -> JobFolder:
        """Where it lies."""
        return self.run.job_folder(self.job)

    @property
    def worth(self) -> int:
        """By which they are ordered: ended well, or at least with a reason, or not at all."""
        if self.record is None or not self.record.has_ended:
            return 2
        return int(self.record.status != OK)


def opened(paths: Sequence[Path], home: Path) -> list[RunFolder]:
    """Open run folders, and packs of runs, which are laid out as such.

    Parameters
    ----------
    paths
        Run folders, and packs of runs.
    home
        Folder into which packs are unpacked.

    Raises
    ------
    RequestError
        If a path is neither, is named twice, or holds a file that was changed since it was written.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise RequestError(f"{' '.join(map(str, paths))}: names a run twice")
    runs = [
        unpack(path, home / str(number)) if path.is_file() else RunFolder.open(path)
        for number, path in enumerate(paths)
    ]
    for run in runs:
        require_unchanged(run)
    return runs


def pieces_of_one(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Return runs in groups, each of pieces of one run; what differs stands alone, in its own group."""
    groups: list[list[RunFolder]] = []
    for run in runs:
        for group in groups:
            if next(differences([*group, run]), None) is None:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def merge(runs: Sequence[RunFolder], folder: Path) -> RunFolder:
    """Make one run of several that differ in seeds, in generators, in hardware, or in what ended.

    A Job that several have, with whatever threads or libraries, counts once: it is taken from the first in
    which it ended well, with all scores that any of them has of the very same cells.

    Parameters
    ----------
    runs
        Pieces of the run.
    folder
        Folder in which the new run is written.

    Raises
    ------
    RequestError
        If data, protocols, metrics or a generator are not the same in all, or if the folder exists.
    """
    if (difference := next(differences(runs), None)) is not None:
        raise RequestError(f"merge: {difference}")
    if folder.exists():
        raise RequestError(f"--out {str(folder)!r} exists: name another folder")
    try:
        with whole_folder(folder) as home:
            _write(RunFolder(home), runs)
    except OSError as error:
        raise RequestError(f"--out {str(folder)!r}: {error.strerror}") from error
    return RunFolder.open(folder)


def differences(runs: Sequence[RunFolder]) -> Iterator[str]:
    """Yield a line for each thing that keeps runs from being pieces of one."""
    first, *others = runs
    mine = first.read_request()
    for other in others:
        theirs = other.read_request()
        both = f"{first.path.name} and {other.path.name}"
        for name, words in SAME.items():
            if mine.get(name) != theirs.get(name):
                yield f"{both} differ in their {words}"
        for name, words in {"profile": "profiles", "sample_seeds": "sample seeds"}.items():
            # A training seed with two sets of samples would count as two.
            if mine["spec"][name] != theirs["spec"][name]:
                yield f"{both} differ in their {words}"
        # What clusters a machine finds is not certain to be what another does.
        if mine["dataset"].get("clusters") and mine.get("dataset_sha256") != theirs.get("dataset_sha256"):
            yield f"{both} differ in their prepared cells, whose types are clusters"
    yield from _unlike(runs, _metrics_of, "metric")
    yield from _unlike(runs, _facts_of_models, "model")
    for answers in _answers(runs).values():
        yield from _unlike_cells(answers)
        yield from _unlike_scores(answers)


def _unlike(
    runs: Sequence[RunFolder], told: Callable[[RunFolder], dict[str, Facts]], what: str
) -> Iterator[str]:
    """Yield what runs tell of the same thing in other ways, each with its two values."""
    known: dict[str, tuple[RunFolder, Facts]] = {}
    for run in runs:
        for name, facts in told(run).items():
            before, as_before = known.setdefault(name, (run, facts))
            both = f"{before.path.name} and {run.path.name}"
            for fact in facts:
                if facts[fact] != as_before[fact]:
                    values = f"{as_before[fact]} and {facts[fact]}"
                    yield f"{what} {name} differs in {fact} between {both}: {values}"


def _metrics_of(run: RunFolder) -> dict[str, Facts]:
    code: dict[str, set[str]] = {}
    for score in chain.from_iterable(run.job_folder(job).read_scores() for job in run.jobs()):
        code.setdefault(score.metric, set()).add(score.code)
    return {
        metric.name: {"declaration": metric, "code": sorted(code[metric.name])}
        for metric in run.metrics()
        if metric.name in code
    }


def _facts_of_models(run: RunFolder) -> dict[str, Facts]:
    """Return what makes a generator one; what each machine settles for itself may differ."""
    found = {}
    for job in run.jobs():
        facts: Facts = {name: getattr(job, name) for name in SAME_OF_MODEL}
        if job.role in TRAINED:
            facts["device"] = job.device
        settings = {name: value for name, value in job.hyperparameters.items() if name not in job.settled}
        found[job.model] = facts | {"hyper-parameters": settings}
    return found


def _answers(runs: Sequence[RunFolder]) -> dict[Question, list[Answer]]:
    """Return the Jobs of all runs by what they answer, first those that ended well."""
    found: dict[Question, list[Answer]] = {}
    for run in runs:
        for job in run.jobs():
            record = run.job_folder(job).read_record()
            files = () if record is None else [one.sha256 for _, one in sorted(record.samples.items())]
            answer = Answer(run, job, record, tuple(digest or job.key for digest in files) or (job.key,))
            found.setdefault(_question(job), []).append(answer)
    return {
        question: sorted(_with_cells(answers), key=lambda one: one.worth)
        for question, answers in found.items()
    }


def _question(job: Job) -> Question:
    """Return what a Job answers: other experiments than the main one train once, whatever the seed.

    Threads, device and libraries are of its key, but no part of it: two machines' Jobs would be two seeds.
    """
    seed = (str(job.seed),) if job.experiment.kind == "main" else ()
    return (job.model, job.experiment.slug, *seed)


def _with_cells(answers: Sequence[Answer]) -> list[Answer]:
    """Add what tells cells apart: a file's digest does not, for its Job's key and versions lie in it."""
    known: dict[str, str] = {}
    if len({answer.files for answer in answers}) > 1:
        for answer in answers:
            samples = {} if answer.record is None else answer.record.samples
            for seed, sample in samples.items():
                if sample.sha256 and (content := _content(answer.folder.cells(int(seed)), sample.sha256)):
                    known[sample.sha256] = content
    return [
        answer._replace(cells=tuple(known.get(digest, digest) for digest in answer.files))
        for answer in answers
    ]


@cache
def _content(file: Path, checksum: str) -> str | None:
    """Return a digest of what scores look at in a file of cells; None if it is not there as it was drawn."""
    import anndata

    if not is_sound(file, checksum):
        return None
    cells = anndata.read_h5ad(file)
    types = cells.obs["cell_type"].astype(str).to_list() if "cell_type" in cells.obs else None
    found = hashlib.sha256(json.dumps([cells.shape, cells.uns["bench"]["space"], types]).encode())
    for part in (cells.X.indptr, cells.X.indices, cells.X.data):
        found.update(part.tobytes())
    return found.hexdigest()


def _unlike_cells(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield Jobs that came to other cells on the same machine with the same libraries.

    On another one they may well; then those of the Job that is taken count.
    """
    known: dict[tuple[str, str, str], Answer] = {}
    for answer in answers:
        job, record = answer.job, answer.record
        if record is None or record.status != OK:
            continue
        libraries = json.dumps(record.versions, sort_keys=True)
        before = known.setdefault((job.key, str(record.machine.fingerprint), libraries), answer)
        if before.cells != answer.cells:
            both = f"{before.run.path.name} and {answer.run.path.name}"
            digests = f"{', '.join(before.files)} and {', '.join(answer.files)}"
            yield f"Job {job.title} ({job.key}) differs in cells between {both}: {digests}"


def _unlike_scores(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield scores of the very same cells that differ, whichever Job drew them."""
    known: dict[tuple[str, ...], tuple[RunFolder, float]] = {}
    scored = [(answer, score) for answer in answers for score in answer.folder.read_scores()]
    for answer, score in scored:
        for name, value in score.values.items():
            place = (*answer.cells, score.protocol, str(score.sample_seed), name)
            before, as_before = known.setdefault(place, (answer.run, value))
            if not math.isclose(value, as_before, rel_tol=SAME_SCORE, abs_tol=SAME_SCORE):
                both = f"{before.path.name} and {answer.run.path.name}"
                yield f"{name} of {answer.job.title} differs between {both}: {as_before:g} and {value:g}"


def _write(merged: RunFolder, runs: Sequence[RunFolder]) -> None:
    every = _answers(runs)
    for answers in every.values():
        _unite(answers, merged.job_folder(answers[0].job))
    for run in runs:
        _take(run.path, merged.path, ["dataset.h5ad", f"{run.baselines.name}/*.json"])
    write_sealed(merged.request, _request(runs))
    write_json(merged.plan, [answers[0].job.model_dump(mode="json") for answers in every.values()])


def _unite(answers: Sequence[Answer], target: JobFolder) -> None:
    """Write the first of some Jobs, and beside it what others have of the very same cells."""
    chosen = answers[0]
    _take(chosen.folder.path, target.path, ["record.json"])
    # Scores that came without cells came without what figures are drawn from, too.
    for answer in sorted(answers, key=lambda one: not any(one.folder.path.glob("cells-*.h5ad"))):
        if answer.files == chosen.files:
            _take(answer.folder.path, target.path, OF_ONE_DRAWING)
        if answer.cells == chosen.cells:
            # The next scoring makes a map of another Job's anew, if it can; until then figures have this one.
            _take(answer.folder.path, target.path, ["embedding-*.npz"])
            _take_scores(answer, target, chosen.job)


def _take_scores(answer: Answer, target: JobFolder, job: Job) -> None:
    if answer.job.key == job.key:
        _take(answer.folder.path, target.path, ["scores/*.json"])
        return
    for file in answer.folder.scores.glob("*.json"):
        score, there = readable_as(Score, file), target.scores / file.name
        if score is not None and not there.exists():
            facts = {name: getattr(score, name) for name in ("sample_seed", "metric", "code", "protocol")}
            write_sealed(there, score.but(key=key_of_score(job, **facts)).plain())


def _take(source: Path, target: Path, patterns: Sequence[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in (file for pattern in patterns for file in source.glob(pattern)):
        there = target / file.relative_to(source)
        if not there.exists():
            there.parent.mkdir(exist_ok=True)
            link_or_copy(file.resolve(), there)


def _request(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return the request of all: that of the first, with the seeds, generators and metrics of the others."""
    requests = [run.read_request() for run in runs]
    specs = [request["spec"] for request in requests]
    lists = {name: [spec[name] for spec in specs] for name in ("models", "metrics", "seeds")}
    # Nothing stands for a default set, which a few names more are no part of.
    spec = specs[0] | {name: _union(every) if all(every) else [] for name, every in lists.items()}
    spec["seeds"] = sorted(spec["seeds"])
    spec["settings"] = {model: given for one in specs for model, given in one["settings"].items()}
    if any(one["budget"] for one in specs):
        # A budget for every model was one for those of its own run.
        spec["budget"] = {job.model: job.budget for run in runs for job in run.jobs() if job.budget}
    pieces = {piece.name: piece for run in runs for piece in run.facts().pieces or (_piece(run),)}
    metrics = {metric["name"]: metric for request in requests for metric in request["metrics"]}
    return requests[0] | {
        "spec": spec,
        "papers": _union(request.get("papers", []) for request in requests),
        "metrics": list(metrics.values()),
        "pieces": [piece.plain() for piece in pieces.values()],
    }


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    return list(dict.fromkeys(chain.from_iterable(lists)))


def _piece(run: RunFolder) -> Piece:
    facts = run.facts()
    known = {name: getattr(facts, name) for name in ("hardware", "versions", "bench_version", "git_commit")}
    return Piece(name=run.path.name, **known)
