"""Timing ACTIVA's training step and the release's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.speed.baselines import BATCH_SIZE, PlainActiva, ReleaseStep, release_loader
from bench.speed.machine import synchroniser
from bench.speed.rounds import timed
from models.activa.settings import Settings
from models.activa.training import Training
from models.base import Budget, SilentMonitor

WARM_UP_STEPS = 5
"""Enough for a GPU's step to have been captured."""


@contextmanager
def backed(matrix: sp.csr_matrix) -> Iterator[Any]:
    """Write cells to an uncompressed ``.h5ad`` and lend the matrix that reads from it."""
    import anndata

    with TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        anndata.AnnData(matrix).write_h5ad(path)
        adata = anndata.read_h5ad(path, backed="r")
        try:
            yield adata.X
        finally:
            adata.file.close()


def activa_steps(
    matrix: sp.csr_matrix, types: np.ndarray, *, settings: Settings, steps: int, device: str
) -> Callable[[], float]:
    """Return a function that takes `steps` steps of ACTIVA's game, input loading included.

    Parameters
    ----------
    matrix, types
        Training cells, in memory or on disk, and their codes.
    settings
        Of the model; objective and precision above all.
    steps
        Taken by a call, which returns the seconds of one.
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
    matrix, types, steps, device
        As in `activa_steps`.
    loaded
        Whether a DataLoader feeds it, as in the release; otherwise one batch lies ready, which favours
        it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        step = ReleaseStep(PlainActiva(matrix.shape[1], int(types.max()) + 1).to(device))
    batches = _loaded(matrix, types) if loaded else _ready(matrix, device)
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
    once = timed(several, synchroniser(device))
    return lambda: once() / steps


def _loaded(matrix: sp.csr_matrix, types: np.ndarray) -> Iterator[Tensor]:
    loader = release_loader(matrix.toarray(), types, seed=0)
    while True:
        for cells, _ in loader:
            yield cells


def _ready(matrix: sp.csr_matrix, device: str) -> Iterator[Tensor]:
    cells = torch.from_numpy(matrix[:BATCH_SIZE].toarray()).to(device)
    while True:
        yield cells
