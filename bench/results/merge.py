"""Runs that were made apart, on one machine or several, as one run: where they are pieces of one."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench.errors import RequestError
from bench.request.plan import Job
from bench.results.files import whole_folder, write_json, write_sealed
from bench.results.packs import as_told, require_unchanged, unpack
from bench.results.run_folder import JobFolder, RunFolder
from reports.facts import Piece
from reports.view import OK

Facts: TypeAlias = dict[str, Any]
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
KEPT: Final = (
    *("record.json", "fitted.json", "cells-*.h5ad", "embedding-*.npz", "curves.jsonl"),
    "scores/*.json",
)
SAME_SCORE: Final = 1e-3
"""Relative, or absolute below 1: what scores of the same cells may differ by on other machines."""


def opened(paths: Sequence[Path], home: Path) -> list[RunFolder]:
    """Open run folders, and packs of runs, which are laid out as such.

    Parameters
    ----------
    paths
        Folders and files.
    home
        A folder for what packs hold.

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

    A Job that several have is taken from the first in which it ended well, with all scores and cells that
    any of them has of the same cells.

    Parameters
    ----------
    runs
        The pieces.
    folder
        Of the new run.

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
        if mine["spec"]["profile"] != theirs["spec"]["profile"]:
            yield f"{both} differ in their profiles"
        # What clusters a machine finds is not certain to be what another does.
        if mine["dataset"].get("clusters") and mine.get("dataset_sha256") != theirs.get("dataset_sha256"):
            yield f"{both} differ in their prepared cells, whose types are clusters"
    yield from _unlike(runs, _metrics_of, "metric")
    yield from _unlike(runs, _facts_of_models, "model")
    yield from _unlike(runs, _cells_of_jobs, "Job")
    yield from _unlike_scores(runs)


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


def _cells_of_jobs(run: RunFolder) -> dict[str, Facts]:
    """Return the digests of what was drawn, by Job."""
    records = [(job, run.job_folder(job).read_record()) for job in run.jobs()]
    return {
        f"{job.title} ({job.key})": {"cells": [sample.sha256 for _, sample in sorted(record.samples.items())]}
        for job, record in records
        if record is not None and record.status == OK
    }


def _unlike_scores(runs: Sequence[RunFolder]) -> Iterator[str]:
    known: dict[tuple[str, ...], tuple[RunFolder, float]] = {}
    scored = [
        (run, job, score) for run in runs for job in run.jobs() for score in run.job_folder(job).read_scores()
    ]
    for run, job, score in scored:
        for name, value in score.values.items():
            place = (job.key, score.protocol, str(score.sample_seed), name)
            before, as_before = known.setdefault(place, (run, value))
            if not math.isclose(value, as_before, rel_tol=SAME_SCORE, abs_tol=SAME_SCORE):
                both = f"{before.path.name} and {run.path.name}"
                yield f"{name} of {job.title} differs between {both}: {as_before:g} and {value:g}"


def _write(merged: RunFolder, runs: Sequence[RunFolder]) -> None:
    every = [(run, job) for run in runs for job in run.jobs()]
    chosen: dict[tuple[str, ...], str] = {}
    for _, job in sorted(every, key=lambda one: _worth(one[0].job_folder(one[1]))):
        chosen.setdefault(_question(job), job.key)
    for run, job in sorted(every, key=lambda one: _worth(one[0].job_folder(one[1]), with_cells=True)):
        if chosen[_question(job)] == job.key:
            _take(run.job_folder(job).path, merged.job_folder(job).path, KEPT)
    planned = {job.key: job for _, job in every if job.key in chosen.values()}
    for run in runs:
        _take(run.path, merged.path, ["dataset.h5ad", f"{run.baselines.name}/*.json"])
    write_sealed(merged.request, _request(runs))
    write_json(merged.plan, [job.model_dump(mode="json") for job in planned.values()])


def _question(job: Job) -> tuple[str, ...]:
    """Return what a Job answers: other experiments than the main one train once, whatever the seed."""
    # As a pack tells it, so that where a generator's file lies makes no other Job of it.
    return (as_told(job).key,) if job.experiment.kind == "main" else (job.model, job.experiment.slug)


def _worth(folder: JobFolder, *, with_cells: bool = False) -> int:
    """Return what Jobs are ordered by: ended well (first those with cells), with a reason, not at all."""
    record = folder.read_record()
    if record is None or not record.has_ended:
        return 3
    if record.status != OK:
        return 2
    return 0 if with_cells and any(folder.path.glob("cells-*.h5ad")) else 1


def _take(source: Path, target: Path, patterns: Sequence[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in (file for pattern in patterns for file in source.glob(pattern)):
        there = target / file.relative_to(source)
        if not there.exists():
            there.parent.mkdir(exist_ok=True)
            try:
                os.link(file.resolve(), there)
            except OSError:
                shutil.copyfile(file, there)


def _request(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return the request of all: that of the first, with the seeds, generators and metrics of the others."""
    requests = [run.read_request() for run in runs]
    specs = [request["spec"] for request in requests]
    lists = {name: [spec[name] for spec in specs] for name in ("models", "metrics", "seeds", "sample_seeds")}
    # Nothing stands for a default set, which a few names more are no part of.
    spec = specs[0] | {name: _union(every) if all(every) else [] for name, every in lists.items()}
    spec |= {name: sorted(spec[name]) for name in ("seeds", "sample_seeds")}
    spec["settings"] = {model: given for one in specs for model, given in one["settings"].items()}
    if any(one["budget"] for one in specs):
        # A budget for every model was one for those of its own run.
        spec["budget"] = {job.model: job.budget for run in runs for job in run.jobs() if job.budget}
    pieces = {piece.name: piece for run in runs for piece in run.facts().pieces or (_piece(run),)}
    return requests[0] | {
        "spec": spec,
        "papers": _union(request.get("papers", []) for request in requests),
        "metrics": list(
            {metric["name"]: metric for request in requests for metric in request["metrics"]}.values()
        ),
        "pieces": [piece.plain() for piece in pieces.values()],
    }


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    return list(dict.fromkeys(chain.from_iterable(lists)))


def _piece(run: RunFolder) -> Piece:
    facts = run.facts()
    known = {name: getattr(facts, name) for name in ("hardware", "versions", "bench_version", "git_commit")}
    return Piece(name=run.path.name, **known)
