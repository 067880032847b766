"""Cheats without any likeness between one cell and another: a mean, nothing, library sizes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from models.baselines.shared import cp20k, library_sizes
from models.cheats.real_parts import even
from models.controls.control import RememberedCells
from models.controls.floors import DrawnByType, spread


class MeanCell(DrawnByType):
    """Cheat: the mean training cell of each type, in ``cp20k``, for every cell of the type."""

    name = "mean_cell"
    role = "cheat"
    space = "cp20k"

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        super()._remember(cells, training_seed)
        scaled = cp20k(cells.counts)
        self._means = {
            name: csr_matrix(scaled[rows].mean(axis=0), dtype=np.float32)
            for name, rows in cells.rows_by_type.items()
        }

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        return self._means[cell_type][np.zeros(n_cells, dtype=np.int64)]


class EmptyCells(DrawnByType):
    """Cheat: cells without a single count."""

    name = "empty_cells"
    role = "cheat"

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        return csr_matrix((n_cells, self.cells.genes.size), dtype=np.float32)


class LibrarySizesOnly(DrawnByType):
    """Cheat: as many counts as a training cell of the type has, spread evenly over all genes."""

    name = "library_sizes_only"
    role = "cheat"

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        rows = rng.choice(self.cells.rows_by_type[cell_type], n_cells)
        totals = library_sizes(self.cells.counts[rows]).astype(np.int64)
        return spread(totals, even(self.cells.genes.size), rng)
