"""Over-expressed genes of each cell type by the Wilcoxon rank-sum test, on sparse cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metrics.spaces import CellMatrix


def rank_sum_scores(
    cells: CellMatrix, types: NDArray[np.str_]
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Wilcoxon rank-sum statistic of each type against the rest, for each gene.

    Normal approximation with correction for ties, without correction for continuity. Only stored
    values are sorted: all zeros of a gene share one rank below them.

    Parameters
    ----------
    cells
        n_cells × n_genes, no value below 0.
    types
        Label of each cell.

    Returns
    -------
    names
        The K types, sorted.
    scores
        K × n_genes; above 0 where the type expresses the gene more than the rest do; 0 for a gene
        that is constant, and for a type that holds all cells.
    """
    from scipy.sparse import csc_array

    from metrics.spaces import as_csr

    names, codes = np.unique(types, return_inverse=True)
    sizes = np.bincount(codes).astype(np.float64)
    by_gene = csc_array(as_csr(cells))
    n_cells, n_genes = by_gene.shape
    rank_sums = np.empty((names.size, n_genes))
    ties = np.empty(n_genes)
    for gene in range(n_genes):
        stored = slice(by_gene.indptr[gene], by_gene.indptr[gene + 1])
        owners = codes[by_gene.indices[stored]]
        _, inverse, repeats = np.unique(by_gene.data[stored], return_inverse=True, return_counts=True)
        n_zero = n_cells - owners.size
        ranks = n_zero + np.cumsum(repeats) - (repeats - 1) / 2
        zeros = sizes - np.bincount(owners, minlength=names.size)
        rank_sums[:, gene] = zeros * (n_zero + 1) / 2
        rank_sums[:, gene] += np.bincount(owners, weights=ranks[inverse], minlength=names.size)
        tied = np.append(repeats, n_zero).astype(np.float64)
        ties[gene] = np.sum(tied**3 - tied)

    expected = sizes[:, None] * (n_cells + 1) / 2
    pairs = (sizes * (n_cells - sizes))[:, None]
    variance = pairs / 12 * (n_cells + 1 - ties / max(1, n_cells * (n_cells - 1)))
    # A constant gene has variance 0 up to rounding.
    spread = np.sqrt(np.where(variance > 1e-9 * pairs, variance, np.inf))
    return names, (rank_sums - expected) / spread


def top_genes(scores: NDArray[np.float64], *, n_per_type: int) -> NDArray[np.int64]:
    """Choose the best genes of each type, none twice.

    Types choose in their order; a gene that an earlier type has taken gives way to the next best.
    Equal scores are taken in gene order.

    Parameters
    ----------
    scores
        K × n_genes, larger is better.
    n_per_type
        How many for each type.

    Returns
    -------
    ndarray
        K · n_per_type gene positions, type by type, best first.

    Raises
    ------
    ValueError
        If there are fewer than K · n_per_type genes.
    """
    n_types, n_genes = scores.shape
    if n_genes < n_types * n_per_type:
        raise ValueError(
            f"{n_genes} genes; {n_types} types of {n_per_type} genes need {n_types * n_per_type}"
        )
    taken = np.zeros(n_genes, dtype=bool)
    chosen: list[int] = []
    for row in scores:
        ranked = np.argsort(-row, kind="stable")
        best = ranked[~taken[ranked]][:n_per_type]
        taken[best] = True
        chosen.extend(best.tolist())
    return np.array(chosen, dtype=np.int64)
