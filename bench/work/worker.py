"""One Job in a process of its own: load, fit, store, sample, time.

``python -m bench.work.worker FOLDER PARENT`` is what `bench.work.executor.run_jobs` starts.
"""

from __future__ import annotations

import shutil
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RequestError
from bench.request.hyperparameters import hyperparameters
from bench.request.plan import Job
from bench.request.registry import resolve_model
from bench.request.seeds import derive
from bench.results.cells import write_cells
from bench.results.disk import ends_on_full_disk
from bench.results.files import named_if_damaged, read_json, whole_folder, write_json
from bench.results.records import facts_of_cells, new_record, status_of
from bench.results.run_folder import JobFolder, RunFolder
from bench.work.clock import PhaseClock, nothing_to_wait_for, repeat, summarise, training_rate
from bench.work.contract import BrokenContract, Contract, checksum, in_csr, require_unchanged
from bench.work.monitor import WorkerMonitor
from bench.work.processes import end_now
from bench.work.resources import ResourceSampler, die_with_parent, own_peak_rss_bytes
from bench.work.training import Skipped, training_set
from datasets.cache import sha256_of
from models.base import Budget, Generator, TooFewCells
from reports.view import OK, SKIPPED, Sample, Timing

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

TIMING_CHUNK = 2048
OVERRUN = 1.1


@dataclass
class Measured:
    """What a Job has measured so far, under the names of its Record: kept where a later phase fails."""

    training: dict[str, float | None] | None = None
    samples: dict[str, Sample] = field(default_factory=dict)
    timing: Timing | None = None


@ends_on_full_disk
def main(arguments: list[str]) -> int:
    """Run the Job whose folder is the first argument; its Record tells how it ended."""
    die_with_parent(int(arguments[1]))
    # Last, not first: the user's own modules are found, but shadow none of ours.
    sys.path.append(str(Path.cwd()))
    folder = JobFolder(Path(arguments[0]))
    job = Job(**read_json(folder.job))
    clock = PhaseClock()
    record, measured = new_record(job), Measured()
    monitor = WorkerMonitor(folder, clock)
    sampler = ResourceSampler(lambda: clock.current, series=folder.resources)
    with warnings.catch_warnings(record=True) as caught, sampler as resources:
        warnings.simplefilter("default")
        try:
            _run(job, folder, clock, monitor, measured)
            ending: dict[str, Any] = {"status": OK}
        except (Skipped, TooFewCells) as reason:
            ending = {"status": SKIPPED, "reason": str(reason)}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the process boundary: any failure becomes a row
            traceback.print_exc()
            ending = status_of(error) | {
                "failed_phase": clock.failed_phase,
                "seconds_to_failure": sum(s for name, s in clock.seconds.items() if "/" not in name),
            }
    monitor.close()
    memory = resources.result()
    if (fitted := folder.read_fitted()) is not None:
        # An interrupted worker may have done the training.
        memory["peak_rss_bytes"] = max(memory["peak_rss_bytes"], fitted["peak_rss_bytes"])
    record = record.but(
        **ending,
        **vars(measured),
        phases=clock.seconds,
        steps=clock.steps,
        memory=memory,
        warnings=tuple(dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning)),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder.write_record(record)
    return 0


def _run(job: Job, folder: JobFolder, clock: PhaseClock, monitor: WorkerMonitor, measured: Measured) -> None:
    run = RunFolder(folder.path.parents[1])
    with ExitStack() as stack:
        choice = resolve_model(job.reference)
        with monitor.phase("load"), named_if_damaged(run.dataset, "start a new run"):
            memory = run.read_spec().memory
            cells = training_set(run.dataset, job.experiment, choice.generator, memory=memory)
            train = stack.enter_context(cells)
        if choice.source_hash != job.source_hash:
            raise RequestError(
                f"the code of {job.model} has changed since the run was planned: start a new run"
            )
        if (reason := choice.generator.skip(train)) is not None:
            raise Skipped(reason)
        generator = _trained(choice.generator, job, train, folder, clock, monitor)
        contract = Contract.of(generator.space, train)
        del train
    if job.is_trained:
        measured.training = training_rate(clock.seconds, clock.steps)
    generator.monitor = monitor
    clock.synchronise = generator.synchronise
    for seed in job.sample_seeds:
        measured.samples[str(seed)] = _store_sample(generator, job, seed, folder, monitor, contract)
    if job.timing_cells:
        with monitor.phase("sample_timing"):
            measured.timing = _time_sampling(generator, job)


def _trained(
    kind: type[Generator],
    job: Job,
    train: AnnData,
    folder: JobFolder,
    clock: PhaseClock,
    monitor: WorkerMonitor,
) -> Generator:
    """Return the trained generator: from the Job's own folder if an interrupted run had finished it."""
    if (fitted := folder.read_fitted()) is not None:
        try:
            generator = _loaded(kind, folder, job)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it can be trained again
            traceback.print_exc()
            warnings.warn(f"trained anew: its stored model could not be loaded ({error})", stacklevel=1)
        else:
            clock.restore(fitted["clock"])
            return generator
    if (seconds := monitor.restored_clock()) is not None:
        clock.restore(seconds)
    generator = kind(**hyperparameters(kind, job.hyperparameters))
    clock.synchronise = generator.synchronise
    from scipy.sparse import issparse

    budget = Budget.parse(job.budget or "1steps")
    with monitor.phase("check"):
        for matrix in filter(issparse, (train.X, train.layers["counts"])):
            # Whoever sorts them changes nothing.
            matrix.sort_indices()
        before = checksum(train)
    with monitor.phase("prepare"):
        generator.prepare(train)
    with monitor.phase("fit"):
        generator.fit(train, seed=derive(job.seed, "fit"), device=job.device, budget=budget, monitor=monitor)
    with monitor.phase("check"):
        require_unchanged(before, train)
    if overrun := _overrun(budget, clock.seconds["fit"]):
        warnings.warn(overrun, stacklevel=1)
    with monitor.phase("save"), whole_folder(folder.model) as target:
        generator.save(target)
    fitted = {"clock": clock.export("prepare", "fit"), "peak_rss_bytes": own_peak_rss_bytes()}
    write_json(folder.fitted, fitted)
    shutil.rmtree(folder.checkpoint, ignore_errors=True)
    # Let go first: two of them would count as what one takes.
    del generator
    clock.synchronise = nothing_to_wait_for
    with monitor.phase("reload"):
        return _loaded(kind, folder, job)


def _loaded(kind: type[Generator], folder: JobFolder, job: Job) -> Generator:
    generator = kind.load(folder.model, device=job.device)
    if not isinstance(generator, kind):
        raise BrokenContract(f"load returned {type(generator).__name__} instead of {kind.__name__}")
    return generator


def _overrun(budget: Budget, seconds: float) -> str | None:
    """Say by how much a training took longer than a budget in seconds allows."""
    if budget.unit != "seconds" or seconds <= OVERRUN * budget.amount:
        return None
    return f"trained for {seconds:.0f} s, {seconds / budget.amount:.2g} times its budget of {budget}"


def _store_sample(
    generator: Generator, job: Job, seed: int, folder: JobFolder, monitor: WorkerMonitor, contract: Contract
) -> Sample:
    experiment = job.experiment
    cell_types = [str(experiment.cell_type)] * job.n_cells if experiment.kind == "augmentation" else None
    with monitor.phase("sample"):
        cells = generator.sample(job.n_cells, cell_types=cell_types, seed=derive(job.seed, "sample", seed))
    with monitor.phase("check"):
        cells = contract.hold(cells, n_cells=job.n_cells, requested=cell_types)
    with monitor.phase("write"):
        facts = facts_of_cells(job, space=generator.space, sample_seed=seed)
        written = write_cells(folder.cells(seed), [cells], facts=facts)
        checksum = sha256_of(folder.cells(seed))
    return Sample(
        file=folder.cells(seed).name,
        n_cells=written["n_cells"],
        density=written["density"],
        sha256=checksum,
        acceptance_rate=(written["sampling"] or {}).get("acceptance_rate"),
    )


def _time_sampling(generator: Generator, job: Job) -> Timing:
    """Time sampling many cells to host CSR; each piece is let go, so memory stays bounded."""
    seed = derive(job.seed, "timing")
    densities = []

    def draw(n_cells: int) -> Iterator[csr_matrix]:
        for piece in generator.sample_chunks(n_cells, seed=seed, chunk_size=TIMING_CHUNK):
            yield in_csr(piece.X)

    def warm_up() -> None:
        # Zeros that are stored are none; to look for them takes time that would count below.
        for matrix in draw(min(TIMING_CHUNK, job.timing_cells)):
            densities.append(matrix.count_nonzero() / (matrix.shape[0] * matrix.shape[1]))

    seconds = repeat(
        # A queue of no length: it holds no piece.
        lambda: deque(draw(job.timing_cells), maxlen=0),
        synchronise=generator.synchronise,
        repeats=job.timing_repeats,
        limit_seconds=job.timing_limit_seconds,
        warm_up=warm_up,
    )
    return Timing(
        n_cells=job.timing_cells,
        seconds=tuple(seconds),
        **summarise(seconds),
        density=sum(densities) / len(densities),
    )


if __name__ == "__main__":
    end_now(main(sys.argv[1:]))
