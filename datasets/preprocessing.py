"""From raw counts to the contract: filters and library size (Marouf 2020, as the paper uses them)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MIN_GENES = 10
"""A cell with fewer detected genes is dropped."""

MIN_CELLS = 3
"""A gene seen in fewer cells is dropped, once the cells are."""

LIBRARY_SIZE = 20_000.0


def kept_cells_and_genes(counts: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells and which genes stay.

    First the cells with at least `MIN_GENES` detected genes, then the genes seen in at least `MIN_CELLS`
    of those; a cell that this leaves without any count goes too (no gene loses a cell by it).

    Parameters
    ----------
    counts
        Counts, n_cells × n_genes, without stored zeros.

    Returns
    -------
    cells, genes : np.ndarray
        Boolean, n_cells and n_genes.
    """
    cells = np.diff(counts.indptr) >= MIN_GENES
    genes = np.bincount(counts[cells].indices, minlength=counts.shape[1]) >= MIN_CELLS
    cells[cells] = np.diff(counts[cells][:, genes].indptr) > 0
    return cells, genes


def normalise(counts: csr_matrix) -> csr_matrix:
    """Scale each cell to a library size of 20 000 (``cp20k``), without logarithm.

    Parameters
    ----------
    counts
        Counts, n_cells × n_genes, without empty cells.

    Returns
    -------
    csr_matrix
        n_cells × n_genes, float32.
    """
    library_sizes = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    scaled = counts.copy()
    factors = np.repeat(LIBRARY_SIZE / library_sizes, np.diff(counts.indptr))
    scaled.data = (counts.data * factors).astype(np.float32)
    return scaled
