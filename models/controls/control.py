"""What all controls share: they remember training cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, load_npz, save_npz

from models.base import Budget, Generator, GeneratorError, Monitor, Unsupported
from models.streaming import some_rows

if TYPE_CHECKING:
    from anndata import AnnData

Integers = NDArray[np.int64]
Labels = NDArray[np.str_]
Drawn = tuple[csr_matrix, Labels | None]


@dataclass(frozen=True)
class RememberedCells:
    """The training cells that a control may use: counts (n_cells × n_genes), labels, names of genes."""

    counts: csr_matrix
    cell_types: Labels
    genes: Labels

    @cached_property
    def rows_by_type(self) -> dict[str, Integers]:
        """Which rows belong to each cell type."""
        return {str(name): np.flatnonzero(self.cell_types == name) for name in np.unique(self.cell_types)}


class Control(Generator):
    """What the six controls share: remembering cells, checking requests, saving without pickle.

    `prepare` and `synchronise` do nothing; `fit` is timed and copies the counts; the time of
    `sample` is that of drawing and of building the CSR matrix. The training seed and the
    sample seed both enter each draw, so that controls vary over training seeds as models do. Of more
    than `most_cells` training cells so many are remembered, drawn at random.
    """

    licence = "BSD-3-Clause"
    paper = ""
    conditional = True
    streams = True
    drawn_from: ClassVar[tuple[str, int] | None] = None
    """Column of ``obs`` and the value in it that mark the cells to remember; None for all training cells."""
    most_cells: ClassVar[int | None] = 20_000
    """How many of these are remembered at most; None for all."""

    _cells: RememberedCells | None = None
    _training_seed: int = 0

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Remember the training cells; `device`, `budget` and `monitor` have no effect.

        Raises
        ------
        GeneratorError
            If ``layers["counts"]``, ``obs["cell_type"]`` or the column of `drawn_from` is
            missing, or if no cell is left to draw from.
        """
        if "counts" not in train.layers:
            raise GeneratorError(f'{self.name}: layers["counts"] is missing; store the raw counts there')
        column, value = self.drawn_from or ("cell_type", None)
        for needed in ("cell_type", column):
            if needed not in train.obs:
                raise GeneratorError(f'{self.name}: obs["{needed}"] is missing; prepare the data set first')
        kept = np.arange(train.n_obs) if value is None else np.flatnonzero(train.obs[column] == value)
        if not kept.size:
            raise GeneratorError(
                f"{self.name}: 0 of {train.n_obs} training cells may be drawn; use more cells"
            )
        if self.most_cells is not None and len(kept) > self.most_cells:
            kept = np.sort(np.random.default_rng(seed).choice(kept, self.most_cells, replace=False))
        cells = RememberedCells(
            counts=some_rows(train.layers["counts"], kept),
            cell_types=np.asarray(train.obs["cell_type"], dtype=np.str_)[kept],
            genes=np.asarray(train.var_names, dtype=np.str_),
        )
        self._remember(cells, seed)

    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Draw cells; see `Generator.sample` for parameters, and the class for how it draws.

        Raises
        ------
        Unsupported
            If a cell type was asked that is not among the remembered cells.
        """
        rng = self._rng(seed)
        return self._as_anndata(*self._draw(n_cells, self._requested(n_cells, cell_types), rng))

    def save(self, folder: Path) -> None:
        """Write the remembered cells as ``counts.npz`` and ``cells.npz``."""
        save_npz(folder / "counts.npz", self.cells.counts)
        np.savez(
            folder / "cells.npz",
            cell_types=self.cells.cell_types,
            genes=self.cells.genes,
            training_seed=self._training_seed,
        )

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote."""
        control = cls()
        counts = csr_matrix(load_npz(folder / "counts.npz"))
        with np.load(folder / "cells.npz", allow_pickle=False) as stored:
            cells = RememberedCells(counts, stored["cell_types"], stored["genes"])
            control._remember(cells, int(stored["training_seed"]))
        return control

    @property
    def cells(self) -> RememberedCells:
        """The remembered cells.

        Raises
        ------
        GeneratorError
            If there are none yet.
        """
        if self._cells is None:
            raise GeneratorError(f"{self.name}: nothing to draw from yet; call fit first")
        return self._cells

    @abstractmethod
    def _draw(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Drawn:
        """Return counts, n_cells × n_genes, and their cell types where they are known."""

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        self._cells = cells
        self._training_seed = training_seed

    def _rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng([self._training_seed, seed])

    def _requested(self, n_cells: int, cell_types: Sequence[str] | None) -> Labels | None:
        """Check the requested cell types and return them as an array."""
        known = self.cells.rows_by_type
        if cell_types is None:
            return None
        if not self.conditional:
            raise Unsupported(f"{self.name}: cannot draw cells of a given type; leave cell_types out")
        if len(cell_types) != n_cells:
            raise GeneratorError(
                f"{self.name}: {n_cells} cells, but {len(cell_types)} cell types; give as many"
            )
        for unknown in sorted(set(cell_types) - set(known)):
            raise Unsupported(
                f"{self.name}: no cell of type {unknown!r} to draw from; choose from {', '.join(known)}"
            )
        return np.asarray(cell_types, dtype=np.str_)

    def _as_anndata(self, counts: csr_matrix, cell_types: Labels | None) -> AnnData:
        import pandas as pd
        from anndata import AnnData

        obs = pd.DataFrame(index=pd.RangeIndex(counts.shape[0]).astype(str))
        if cell_types is not None:
            obs["cell_type"] = pd.Categorical(cell_types, categories=list(self.cells.rows_by_type))
        return AnnData(counts, obs=obs, var=pd.DataFrame(index=self.cells.genes.astype(object)))
