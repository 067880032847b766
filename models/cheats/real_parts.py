"""Cheats that hand out real training cells: under other labels, beside noise, with noise in most genes.

Like `memorise` they draw with replacement from ``obs["control_pool"]``, of which the PCA of the metrics has
seen no cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array, vstack

from models.baselines.shared import cp20k, library_sizes, reciprocal
from models.controls.control import RememberedCells
from models.controls.floors import DrawnByType, spread

VARIABLE_SHARE = 0.2
MOST_VARIABLE = 2000


class FromThePool(DrawnByType):
    """What they share: role, pool and how rows are drawn."""

    role = "cheat"
    draws_from = "training cells"
    drawn_from = ("control_pool", 1)

    def _rows(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.choice(self.cells.rows_by_type[cell_type], n_cells)


class PermutedLabels(FromThePool):
    """Cheat: right cells under permuted labels; a cell of whatever type stands for any type."""

    name = "permuted_labels"

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        return self.cells.counts[rng.choice(self.cells.counts.shape[0], n_cells)]


class HalfNoise(FromThePool):
    """Cheat: every other cell a training cell, the rest as many counts spread evenly over all genes."""

    name = "half_noise"

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        real = self.cells.counts[self._rows(cell_type, n_cells, rng)]
        n_noise = n_cells // 2
        totals = library_sizes(real[:n_noise]).astype(np.int64)
        noise = spread(totals, even(real.shape[1]), rng)
        return vstack([noise, real[n_noise:]], format="csr")[rng.permutation(n_cells)]


class VariableGenesOnly(FromThePool):
    """Cheat: the highly variable genes of training cells; the rest a draw from the mean of all cells.

    Variable is a fifth of the genes, at most 2000, by the ratio of variance to mean at one library size. What
    counts a cell has in the other genes are spread over these as they are on average, whatever its type.
    """

    name = "variable_genes_only"

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        super()._remember(cells, training_seed)
        self._is_variable = variable_genes(cells.counts)
        others = np.asarray(cells.counts.sum(axis=0, dtype=np.float64)).ravel() * ~self._is_variable
        self._others = others * reciprocal(np.atleast_1d(others.sum()))

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        real = self.cells.counts[self._rows(cell_type, n_cells, rng)]
        kept = csr_matrix(real @ diags_array(self._is_variable.astype(np.float32)))
        totals = (library_sizes(real) - library_sizes(kept)).astype(np.int64)
        counts = csr_matrix(kept + spread(totals, self._others, rng))
        counts.eliminate_zeros()
        return counts


def variable_genes(counts: csr_matrix) -> NDArray[np.bool_]:
    """Mark a fifth of the genes, at least one and at most 2000: those of most variance over mean at 20 000.

    Parameters
    ----------
    counts
        n_cells × n_genes.
    """
    scaled = cp20k(counts)
    means = _columns(scaled.mean(axis=0))
    variances = _columns(scaled.multiply(scaled).mean(axis=0)) - means**2
    n_variable = min(MOST_VARIABLE, max(1, round(VARIABLE_SHARE * counts.shape[1])))
    marked = np.zeros(counts.shape[1], dtype=np.bool_)
    marked[np.argsort(-variances * reciprocal(means), kind="stable")[:n_variable]] = True
    return marked


def even(n_genes: int) -> NDArray[np.float64]:
    """Return the same share for every gene."""
    return np.full(n_genes, 1 / n_genes)


def _columns(matrix: Any) -> NDArray[np.float64]:
    return np.asarray(matrix, dtype=np.float64).ravel()
