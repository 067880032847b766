"""ACTIVA's training step and epoch beside the release's: rows of the table, and what they time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_args

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.speed.machine import synchroniser
from bench.speed.table import Row, failed_row, row
from bench.work.clock import once
from benchmarks.activa.floors import Floor, step_floor
from benchmarks.activa.rates import measured_precisions
from benchmarks.activa.workload import Conditions, training_cells
from models.activa.cells import batches_per_epoch, fits_dense
from models.activa.reference import BATCH_SIZE, PlainActiva, ReleaseStep, release_loader
from models.activa.settings import Objective, Settings
from models.activa.training import Training
from models.base import Budget, SilentMonitor

WARM_UP_STEPS: Final = 5
"""Enough for a GPU's step to have been captured."""
STREAMED_STEP: Final = "step, streamed"


def measure_step(on: Conditions) -> list[Row]:
    """Measure a training step: both objectives and both precisions against the release's.

    On a GPU the release is fed by its DataLoader; on a CPU a batch lies ready for it.
    """
    steps = 100 if on.device.startswith("cuda") else 1
    return _rows("step", on, objectives=get_args(Objective), steps=steps)


def measure_epoch(on: Conditions) -> list[Row]:
    """Measure a pass over all cells of the paper's objective against the release's, DataLoader included."""
    steps = batches_per_epoch(on.shape.n_cells, BATCH_SIZE)
    return _rows("epoch", on, objectives=("paper",), steps=steps)


def measure_streamed_step(on: Conditions) -> list[Row]:
    """Measure a step of the paper's objective on cells that stay in a file, against the same in memory."""
    shape, device = on.shape, on.device
    *_, precision = measured_precisions(device)
    name = f"paper, {precision}"
    if fits_dense(shape.n_cells, shape.n_genes, device=torch.device(device)):
        return [failed_row(STREAMED_STEP, name, "all cells fit on the device: give more --cells")]
    if importlib.util.find_spec("anndata") is None:
        return [failed_row(STREAMED_STEP, name, "needs anndata, which is not installed")]
    matrix, types = training_cells(shape)
    with backed(matrix) as on_disk:
        settings = Settings(objective="paper", precision=precision)
        step_on = partial(activa_steps, types=types, settings=settings, steps=1, device=device)
        seconds = on.interleaved({"memory": step_on(matrix), "file": step_on(on_disk)})
    facts = _floor(on, settings).facts()
    return [row(STREAMED_STEP, name, seconds["file"], baseline=seconds["memory"], **facts)]


def _rows(measure: str, on: Conditions, *, objectives: tuple[Objective, ...], steps: int) -> list[Row]:
    device = on.device
    matrix, types = training_cells(on.shape)
    loaded = measure == "epoch" or device.startswith("cuda")
    variants = {
        f"{objective}, {precision}": Settings(objective=objective, precision=precision)
        for objective in objectives
        for precision in measured_precisions(device)
    }
    contenders = {"the release": release_steps(matrix, types, steps=steps, device=device, loaded=loaded)}
    for name, settings in variants.items():
        contenders[name] = activa_steps(matrix, types, settings=settings, steps=steps, device=device)
    seconds = on.interleaved(contenders, steps=steps)
    # A step's seconds make an epoch's.
    times = steps if measure == "epoch" else 1
    scaled = {name: [times * value for value in values] for name, values in seconds.items()}
    rows = []
    for name, settings in variants.items():
        facts = _floor(on, settings).facts(times=times) | {"steps": steps}
        rows.append(row(measure, name, scaled[name], baseline=scaled["the release"], **facts))
    return rows


def _floor(on: Conditions, settings: Settings) -> Floor:
    sizes = {"n_genes": on.shape.n_genes, "batch_size": BATCH_SIZE}
    return step_floor(on.rates, objective=settings.objective, precision=settings.precision, **sizes)


@contextmanager
def backed(matrix: sp.csr_matrix) -> Iterator[Any]:
    """Write cells to an uncompressed ``.h5ad`` and lend the matrix that reads from it."""
    import anndata

    with TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        anndata.AnnData(matrix).write_h5ad(path)
        adata = anndata.read_h5ad(path, backed="r")
        with closing(adata.file):
            yield adata.X


def activa_steps(
    matrix: sp.csr_matrix, types: np.ndarray, *, settings: Settings, steps: int, device: str
) -> Callable[[], float]:
    """Return a function that takes `steps` steps of ACTIVA's game, input loading included.

    Parameters
    ----------
    matrix, types
        Training cells, in memory or on disk, and their codes.
    settings
        Settings of the model; objective and precision above all.
    steps
        Number of steps of a call, which returns the seconds of one.
    device
        ``"cpu"`` or ``"cuda"``.
    """
    training = Training(
        matrix,
        types,
        n_cell_types=int(types.max()) + 1,
        seed=0,
        budget=Budget(1, "epochs"),
        settings=settings,
        device=torch.device(device),
        monitor=SilentMonitor(),
    )
    training.freeze_conditioner()
    return _each(lambda: training.step("adversarial"), steps=steps, device=device)


def release_steps(
    matrix: sp.csr_matrix, types: np.ndarray, *, steps: int, device: str, loaded: bool
) -> Callable[[], float]:
    """Return a function that takes `steps` steps of the release and returns the seconds of one.

    Parameters
    ----------
    matrix, types
        Training cells in memory, and their codes.
    steps
        Number of steps of a call, which returns the seconds of one.
    device
        ``"cpu"`` or ``"cuda"``.
    loaded
        Whether a DataLoader feeds it, as in the release; otherwise one batch lies ready, which favours
        it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        step = ReleaseStep(PlainActiva(matrix.shape[1], int(types.max()) + 1).to(device))
    batches: Iterator[Tensor]
    if loaded:
        epochs = repeat(release_loader(matrix.toarray(), types, seed=0))
        batches = (cells for cells, _ in chain.from_iterable(epochs))
    else:
        batches = repeat(torch.from_numpy(matrix[:BATCH_SIZE].toarray()).to(device))
    generator = torch.Generator(device).manual_seed(0)

    def one() -> None:
        cells = next(batches).to(device)
        shape = (2, len(cells), step.model.latent_dim)
        noise, prior = torch.randn(shape, generator=generator, device=device)
        step(cells, noise, prior)

    return _each(one, steps=steps, device=device)


def _each(step: Callable[[], object], *, steps: int, device: str) -> Callable[[], float]:
    """Take first, untimed steps; return what takes `steps` more and returns the seconds of one."""

    def several() -> None:
        for _ in range(steps):
            step()

    for _ in range(WARM_UP_STEPS):
        step()
    synchronise = synchroniser(device)
    return lambda: once(several, synchronise) / steps
