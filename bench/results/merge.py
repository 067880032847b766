"""Runs that were made apart, on one machine or several, as one run: where they are pieces of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from bench.errors import RequestError
from bench.request.plan import Job
from bench.results.files import whole_folder, write_json, write_sealed
from bench.results.packs import unpack
from bench.results.run_folder import JobFolder, RunFolder
from reports.facts import Piece

SAME: Final = {
    "dataset_key": "prepared cells",
    "n_cells": "cells a side",
    "n_test": "test cells",
    "protocol_facts": "protocols",
    "only_under": "protocols of single metrics",
}
"""What of their requests must be equal, in words."""
SAME_OF_MODEL: Final = ("version", "source_hash", "content", "space", "draws_from", "budget", "device")
KEPT: Final = (
    "record.json",
    "fitted.json",
    "cells-*.h5ad",
    "embedding-*.npz",
    "curves.jsonl",
    "scores/*.json",
)


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
        If a path is neither, or is named twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise RequestError(f"{' '.join(map(str, paths))}: names a run twice")
    return [
        unpack(path, home / str(number)) if path.is_file() else RunFolder.open(path)
        for number, path in enumerate(paths)
    ]


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

    A Job that several have is taken from the first in which it ended well. Real and generated cells go along,
    where a run has them.

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
    for other in others:
        mine, theirs = first.read_request(), other.read_request()
        for name, words in SAME.items():
            if mine.get(name) != theirs.get(name):
                yield f"{first.path.name} and {other.path.name} differ in their {words}"
    yield from _unlike(runs, _metrics_of, "metric {} is declared differently")
    yield from _unlike(
        runs, _code_of_scores, "metric {} was computed by different code: bench score one of them again"
    )
    yield from _unlike(
        runs, _facts_of_models, "model {} has another version, code, budget or hyper-parameters"
    )


def _unlike(runs: Sequence[RunFolder], told: Any, words: str) -> Iterator[str]:
    known: dict[str, tuple[RunFolder, Any]] = {}
    for run in runs:
        for name, facts in told(run).items():
            before, as_before = known.setdefault(name, (run, facts))
            if facts != as_before:
                yield f"{before.path.name} and {run.path.name}: {words.format(name)}"


def _metrics_of(run: RunFolder) -> dict[str, Any]:
    return {metric.name: metric for metric in run.metrics()}


def _code_of_scores(run: RunFolder) -> dict[str, set[str]]:
    scores = chain.from_iterable(run.job_folder(job).read_scores() for job in run.jobs())
    code: dict[str, set[str]] = {}
    for score in scores:
        code.setdefault(score.metric, set()).add(score.code)
    return code


def _facts_of_models(run: RunFolder) -> dict[str, Any]:
    """Return what makes a generator one; what each machine settles for itself may differ."""
    facts = {}
    for job in run.jobs():
        settings = {name: value for name, value in job.hyperparameters.items() if name not in job.settled}
        facts[job.model] = ({name: getattr(job, name) for name in SAME_OF_MODEL}, settings)
    return facts


def _write(merged: RunFolder, runs: Sequence[RunFolder]) -> None:
    chosen: dict[tuple[str, ...], tuple[Job, JobFolder]] = {}
    for run in runs:
        for job in run.jobs():
            folder, question = run.job_folder(job), _question(job)
            if question not in chosen or (_ended(folder) and not _ended(chosen[question][1])):
                chosen[question] = (job, folder)
    for job, folder in chosen.values():
        _take(folder.path, merged.job_folder(job).path, KEPT)
    for run in runs:
        _take(run.path, merged.path, ["dataset.h5ad", f"{run.baselines.name}/*.json"])
    write_sealed(merged.request, _request(runs))
    write_json(merged.plan, [job.model_dump(mode="json") for job, _ in chosen.values()])


def _question(job: Job) -> tuple[str, ...]:
    """Return what a Job answers: other experiments than the main one train once, whatever the seed."""
    return (job.key,) if job.experiment.kind == "main" else (job.model, job.experiment.slug)


def _ended(folder: JobFolder) -> bool:
    record = folder.read_record()
    return record is not None and record.has_ended


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
    for name in ("budget", "settings"):
        spec[name] = {model: given for one in specs for model, given in one[name].items()}
    return requests[0] | {
        "spec": spec,
        "papers": _union(request.get("papers", []) for request in requests),
        "metrics": list(
            {metric["name"]: metric for request in requests for metric in request["metrics"]}.values()
        ),
        "pieces": [piece.plain() for run in runs for piece in run.facts().pieces or (_piece(run),)],
    }


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    return list(dict.fromkeys(chain.from_iterable(lists)))


def _piece(run: RunFolder) -> Piece:
    facts = run.facts()
    known = {name: getattr(facts, name) for name in ("hardware", "versions", "bench_version", "git_commit")}
    return Piece(name=run.path.name, **known)
