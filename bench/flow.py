"""The journey of one run, in the order it happens: drafted (`bench.draft`), it is started and carried out."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench import hardware
from bench.errors import DONE, SOME_FAILED, RequestError
from bench.hardware.environment import resolve_device
from bench.progress import Progress
from bench.request.choices import declaration_of
from bench.request.registry import resolve_metric
from bench.request.spec import RunSpec
from bench.results.files import write_text
from bench.results.records import git_commit, versions
from bench.results.reopen import have_dataset, require_same_software
from bench.results.run_folder import RunFolder
from bench.results.took import phase_seconds, score_seconds
from bench.scoring.comparison import Comparison
from bench.scoring.processes import run_scoring
from bench.scoring.tasks import missing_scores
from bench.work.beside import at_work
from bench.work.executor import run_jobs
from bench.work.hands import HERE, Hands
from datasets.cache import sha256_of
from reports.view import OK, RunView

if TYPE_CHECKING:
    from bench.draft import Draft
    from bench.tracking import TrackingResult


def start(plan: Draft) -> RunFolder:
    """Make the run folder and write down the request, the plan and the circumstances.

    Parameters
    ----------
    plan
        The request with everything looked up, as `bench.draft.draft` returns it.

    Raises
    ------
    RequestError
        If the folder cannot be written.
    """
    run = None
    try:
        run = RunFolder.create(plan.spec.out, plan.facts.name)
        run.link_dataset(plan.prepared.path)
        _write_request(run, plan)
    except OSError as error:
        if run is not None:
            shutil.rmtree(run.path, ignore_errors=True)
        raise RequestError(f"--out {str(plan.spec.out)!r}: {error.strerror}") from error
    return run


def _write_request(run: RunFolder, plan: Draft) -> None:
    n_cells = plan.facts.cells_to_make(plan.spec.cells, plan.spec.protocol)
    run.write_request(
        plan.spec,
        plan.jobs,
        papers=[] if plan.beside is None else list(plan.beside.papers),
        only_under={} if plan.beside is None else plan.beside.only_under,
        dataset=plan.provenance,
        dataset_key=plan.facts.key,
        dataset_sha256=sha256_of(run.dataset),
        train_shape=plan.train_shape,
        n_test=plan.facts.n_test,
        n_cells=n_cells,
        **protocol_facts(plan.spec, plan.spec.protocol, n_cells, n_test=plan.facts.n_test),
        hardware=plan.machine,
        versions=versions(),
        bench_version=version("scgenbench"),
        git_commit=git_commit(),
        metrics=[declaration_of(metric) for metric in plan.metrics],
    )


def protocol_facts(spec: RunSpec, protocols: Sequence[str], n_cells: int, *, n_test: int) -> dict[str, Any]:
    """Return what the stored context says of the protocols under which a run is scored.

    Parameters
    ----------
    spec, n_cells
        The run's request, and the number of cells that each of its generators makes.
    protocols
        Names of the protocols.
    n_test
        Number of test cells of the data set.

    Returns
    -------
    dict
        ``protocols``; ``protocol``, the first of them, and its ``space``; ``protocol_facts``, which holds the
        choices of each and its ``n_cells`` a side.
    """
    found = [
        Comparison.of_run(name, n_made=n_cells, asked=spec.cells is not None, n_test=n_test)
        for name in protocols
    ]
    return {
        "protocols": list(protocols),
        "protocol": found[0].protocol.name,
        "space": found[0].protocol.space,
        "protocol_facts": {
            comparison.protocol.name: asdict(comparison.protocol) | {"n_cells": comparison.n_cells}
            for comparison in found
        },
    }


def carry_out(run: RunFolder, progress: Progress, *, hands: Hands = HERE) -> int:
    """Run the Jobs that have not ended well, score, draw, and tell MLflow.

    Parameters
    ----------
    run, progress
        The run, and the display of its progress.
    hands
        Who carries out the Jobs.

    Returns
    -------
    int
        0 if every Job is done or skipped and scored, 1 otherwise.

    Raises
    ------
    RequestError
        If another process is at work on this run, or if there is no such cluster.
    """
    run.require_locks()
    with run.locked():
        try:
            with progress.taking("training and timing"):
                hands.run_jobs(run, progress)
        except KeyboardInterrupt:
            track(run, run.view(), progress)
            raise
        # Training may have taken days.
        have_dataset(run)
        with progress.taking("scoring"):
            scored = _scored_whole(run, progress)
        present(run, progress)
    progress.say_what_it_took(jobs=phase_seconds(run), scores=score_seconds(run))
    return exit_code(run) if scored else SOME_FAILED


def _scored_whole(run: RunFolder, progress: Progress) -> bool:
    """Score a run, then once more what another process has drawn meanwhile; tell whether all is scored."""
    names, protocols = [metric.name for metric in run.metrics()], run.read_request()["protocols"]
    metrics = [resolve_metric(name) for name in names]
    for _ in range(2):
        if not run_scoring(run, names, protocols, progress=progress):
            return False
        if not missing_scores(run, metrics, protocols):
            return True
    return False


def carry_out_job(run: RunFolder, key: str, *, score: bool, progress: Progress) -> int:
    """Run one Job of a run, unless it has ended well already, and score its cells if wanted.

    Returns
    -------
    int
        0 if it is done or skipped and scored, 1 otherwise.

    Raises
    ------
    RequestError
        If it is no Job of the run, if its device is not to be had, or if libraries or code have changed.
    """
    job = next((job for job in run.jobs() if job.key == key), None)
    if job is None:
        raise RequestError(f"KEY {key!r} is no Job of {str(run.path)!r}: see its plan.json")
    run.require_locks()
    resolve_device(job.device)
    if (cores := hardware.usable_cores()) < job.threads:
        progress.say(f"note: planned for {job.threads} threads, and there are {cores} cores to use here")
    require_same_software(run, [job])
    have_dataset(run)
    run_jobs(run, [job], timeout=run.read_spec().timeout, progress=progress)
    record, scored = run.job_folder(job).read_record(), True
    if score:
        metrics = [metric.name for metric in run.metrics()]
        protocols = run.read_request()["protocols"]
        with run.job_lock(job), at_work(run, job, os.environ, scores=True):
            whole = run_scoring(run, metrics, protocols, progress=progress, only=job)
        scored = whole and not any(found.failed for found in run.job_folder(job).read_scores())
    return DONE if record is not None and record.has_ended and scored else SOME_FAILED


def write_table(run: RunFolder) -> RunView:
    """Write a run's table, and return the run as it is seen."""
    from reports.table import results_frame

    view = run.view()
    write_text(run.path / "table.csv", results_frame(view).to_csv(index=False))
    return view


def present(run: RunFolder, progress: Progress) -> None:
    """Draw a run's figures, write its table and bring MLflow up to date."""
    from reports.figures import save_figures

    view = write_table(run)
    with progress.taking("figures"), progress.stage("drawing figures", total=None) as stage:
        save_figures(view, run.figures, begin=lambda name: stage.only({"title": name}))
    with progress.taking("tracking"):
        track(run, view, progress)
    for what in ("figures", "tracking"):
        run.note_seconds(what, progress.took[what])


def track(run: RunFolder, view: RunView, progress: Progress) -> TrackingResult | None:
    """Bring MLflow up to date; a server that is down costs a warning, not the run."""
    from bench.tracking import TrackingUnavailable, sync

    try:
        # One upload at a time: two would both create what neither has found.
        with FileLock(run.path / ".mlflow.lock"), progress.transfers() as report:
            return sync(view, folder=run.path, report=report)
    except TrackingUnavailable as error:
        progress.say(f"MLflow was not updated: {error}. Later: bench sync {shlex.quote(str(run.path))}")
        return None


def lost_cells(run: RunFolder) -> list[Path]:
    """Return the files of cells that Jobs have drawn and that are missing, cut off or changed."""
    return [
        path
        for job in run.jobs()
        for folder in [run.job_folder(job)]
        if (record := folder.read_record()) is not None and record.status == OK
        for path in folder.damaged_cells(job.sample_seeds)
    ]


def exit_code(run: RunFolder) -> int:
    """Return 0 if every Job is done or skipped and no score failed, 1 otherwise."""
    for folder in map(run.job_folder, run.jobs()):
        record = folder.read_record()
        if record is None or not record.has_ended or any(score.failed for score in folder.read_scores()):
            return SOME_FAILED
    return DONE
