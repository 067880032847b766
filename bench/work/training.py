"""The cells that a Job trains on: in memory, or from disk where they do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from bench.request.plan import Experiment
from bench.work.resources import available_bytes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from models.base import Generator


class Skipped(Exception):
    """The generator cannot run on this data set, and says why."""


def training_cells(experiment: Experiment, adata: AnnData) -> AnnData:
    """Return the cells a Job trains on: of the training split, what its experiment says."""
    return adata[training_rows(experiment, adata.obs)].copy()


def training_rows(experiment: Experiment, obs: pd.DataFrame) -> np.ndarray:
    """Tell which of the prepared cells these are."""
    from datasets.splits import keep_fraction

    rows = (obs["split"] == "train").to_numpy()
    if experiment.kind == "augmentation":
        trained = np.flatnonzero(rows)
        kept = keep_fraction(
            obs["cell_type"].iloc[trained],
            cell_type=str(experiment.cell_type),
            fraction=float(experiment.fraction or 0),
            seed=int(experiment.subsample_seed or 0),
        )
        rows = np.isin(np.arange(len(obs)), trained[kept])
    if experiment.kind == "donors":
        rows &= obs["donor"].isin(experiment.trained_donors).to_numpy()
    return rows


@contextmanager
def training_set(
    dataset: Path, experiment: Experiment, generator_class: type[Generator], *, memory: int | None
) -> Iterator[AnnData]:
    """Give a Job's training cells for as long as the context is open.

    Where they do not fit into memory and the generator `streams`, their matrices are copied into a file of
    their own in the temporary folder, and stay there.

    Parameters
    ----------
    dataset
        File of the prepared cells.
    experiment, generator_class
        Experiment of the Job, and class of its generator.
    memory
        Bytes of memory that the cells may take; None for what is available on the machine.

    Raises
    ------
    Skipped
        If they take more than `memory`, and the generator needs them all in memory.
    """
    import anndata

    from datasets.pipeline import opened
    from datasets.stored import copy_cells
    from datasets.streamed import is_too_large

    fits = not is_too_large(dataset, memory=available_bytes() if memory is None else memory)
    if not fits and memory is not None and not generator_class.streams:
        raise Skipped(
            f"needs all cells in memory, for which --memory {memory / 1e9:.3g}GB is too little: start a new "
            "run with more"
        )
    if fits or not generator_class.streams:
        yield training_cells(experiment, anndata.read_h5ad(dataset))
        return
    warnings.warn("its training cells were read from disk: they do not fit into memory", stacklevel=1)
    with TemporaryDirectory() as home:
        with opened(dataset) as cells:
            copy_cells(cells, training_rows(experiment, cells.obs), Path(home) / "train.h5ad")
        with opened(Path(home) / "train.h5ad") as train:
            yield train
