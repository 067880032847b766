"""What the baselines share: remembering types and library sizes, drawing in blocks, saving without pickle."""

from __future__ import annotations

import importlib
import inspect
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array, vstack

from models.base import Budget, Monitor, Role
from models.controls.control import RememberedCells
from models.controls.floors import DrawnByType
from models.threads import one_blas_thread

if TYPE_CHECKING:
    from anndata import AnnData

Parameters = dict[str, NDArray[Any]]
LIBRARY_SIZE = 20_000
BLOCK = 512
"""Cells that are drawn at once: their rates over all genes are dense."""


class Baseline(DrawnByType):
    """A cheap count model, fitted once to each data set.

    `fit` takes as long as the data ask for: its iterations are fixed, and it has no budget. What
    is timed is `prepare` (imports), `fit` with its phases, and `sample` up to the CSR matrix. Products are of
    small blocks, in one thread: a second one of OpenBLAS would spin in the many gaps between them, and on two
    cores made both fitting and drawing two to ten times as long. Memory follows the non-zeros of the training
    cells and blocks of 512 cells × n_genes.

    Without requested types, the types are those of training cells drawn without replacement,
    every cell once before any comes again.
    """

    role: ClassVar[Role] = "baseline"
    # They learn from all cells, and need them in memory for it.
    streams: ClassVar[bool] = False
    most_cells: ClassVar[int | None] = None
    keeps_counts: ClassVar[bool] = False
    """Whether the training cells' counts are needed after `fit`."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that `fit` imports, unless `prepare` has: their import is no training."""

    _parameters: Parameters

    def prepare(self, train: AnnData) -> None:
        """Import what fitting needs (most of a second)."""
        for name in self.libraries:
            importlib.import_module(name)

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Fit to ``layers["counts"]``; `device` and `budget` have no effect.

        Raises
        ------
        GeneratorError
            If ``layers["counts"]`` or ``obs["cell_type"]`` is missing, or there is no training cell.
        """
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)
        with one_blas_thread():
            self._parameters = self._learn(self.cells, seed, monitor)
        self._parameters["library_sizes"] = library_sizes(self.cells.counts)
        if not self.keeps_counts:
            self._remember(replace(self.cells, counts=self.cells.counts[:0]), seed)

    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Draw cells; see `Generator.sample` and, for how, the class."""
        with one_blas_thread():
            return super().sample(n_cells, cell_types=cell_types, seed=seed)

    def save(self, folder: Path) -> None:
        """Write labels and, where they are needed, counts; ``parameters.npz``; ``hyperparameters.json``."""
        super().save(folder)
        np.savez(folder / "parameters.npz", **self._parameters)  # type: ignore[arg-type]
        values = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        (folder / "hyperparameters.json").write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote."""
        baseline = super().load(folder, device=device)
        vars(baseline).update(json.loads((folder / "hyperparameters.json").read_text(encoding="utf-8")))
        with np.load(folder / "parameters.npz", allow_pickle=False) as stored:
            baseline._parameters = dict(stored)
        return baseline

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        starts = range(0, n_cells, BLOCK)
        blocks = [self._draw_block(cell_type, min(BLOCK, n_cells - start), rng) for start in starts]
        return vstack(blocks, format="csr")

    @abstractmethod
    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        """Return what is drawn from, as named arrays."""

    @abstractmethod
    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        """Return counts of at most 512 cells of one type, n_cells × n_genes, float32."""


def library_sizes(counts: csr_matrix) -> NDArray[np.float64]:
    """Sum of each cell's counts, in double precision."""
    return np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()


def reciprocal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / values, and 0 where a value is 0: what holds no count is scaled to nothing."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def cp20k(counts: csr_matrix) -> csr_matrix:
    """Scale each cell, n_cells × n_genes, to library size 20 000; a cell without counts stays one."""
    return csr_matrix(diags_array(LIBRARY_SIZE * reciprocal(library_sizes(counts))) @ counts)


def log_cp20k(counts: csr_matrix) -> csr_matrix:
    """Scale each cell to library size 20 000 and take log1p."""
    logged = cp20k(counts)
    logged.data = np.log1p(logged.data)
    return logged
