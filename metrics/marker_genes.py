"""Over-expressed genes of each cell type by the Wilcoxon rank-sum test, on sparse cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metrics.arrays import Floats, Ints, Strings
from metrics.declaration import NotApplicable
from metrics.spaces import CellMatrix, Csr, as_csr


@dataclass(frozen=True, eq=False)
class Markers:
    """All genes of one cell type, the most over-expressed first.

    Parameters
    ----------
    genes
        Positions of the n_genes genes, by falling score; equal scores in gene order.
    scores
        Rank-sum statistic of each gene, in the same order (see `rank_sum_scores`).
    log_fold_changes
        Log-fold change of each gene, in the same order (see `log_fold_changes`).
    """

    genes: Ints
    scores: Floats
    log_fold_changes: Floats


def rank_sum_scores(cells: CellMatrix, types: Strings) -> tuple[Strings, Floats]:
    """Wilcoxon rank-sum statistic of each type against the rest, for each gene.

    Normal approximation with correction for ties, without correction for continuity. Only stored
    values are sorted: all zeros of a gene share one rank below them.

    Parameters
    ----------
    cells
        n_cells × n_genes, no value below 0.
    types
        The label of each cell.

    Returns
    -------
    names
        The K types, sorted.
    scores
        K × n_genes; above 0 where the type expresses the gene more than the rest do; 0 for a gene
        that is constant, and for a type that holds all cells.
    """
    from scipy.sparse import csc_array

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


def top_genes(scores: Floats, *, n_per_type: int) -> Ints:
    """Choose the best genes of each type, none twice.

    Types choose in their order; a gene that an earlier type has taken gives way to the next best.
    Equal scores are taken in gene order.

    Parameters
    ----------
    scores
        K × n_genes, larger is better.
    n_per_type
        Number of genes for each type.

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


def log_fold_changes(cells: Csr, types: Strings, names: Strings) -> Floats:
    """Base-2 logarithm of the ratio of mean expression in a type to that in all other cells, for each gene.

    One is added to either mean, as Seurat does: genes that a side does not express get no infinite value.

    Parameters
    ----------
    cells
        n_cells × n_genes, ``cp20k``.
    types
        Label of each cell.
    names
        K types to compare with the rest.

    Returns
    -------
    ndarray
        K × n_genes; 0 for a type that has no cells or holds all of them.
    """
    members = np.stack([types == name for name in names]).astype(np.float64)
    sizes = members.sum(axis=1, keepdims=True)
    inside = np.asarray(cells.T.dot(members.T)).T
    outside = np.asarray(cells.sum(axis=0, dtype=np.float64)) - inside
    n_others = types.size - sizes
    of_type = np.log2(inside / np.maximum(sizes, 1) + 1)
    of_others = np.log2(np.maximum(outside, 0) / np.maximum(n_others, 1) + 1)
    return np.where((sizes > 0) & (n_others > 0), of_type - of_others, 0.0)


def variable_genes(cells: Csr, *, n_genes: int = 1000) -> Ints:
    """Choose the genes of highest normalised dispersion (Satija et al. 2015, doi:10.1038/nbt.3192).

    Parameters
    ----------
    cells
        n_cells × genes, ``log_cp20k``.
    n_genes
        Number of genes; all where there are no more.

    Returns
    -------
    ndarray
        Their positions, ascending.
    """
    return _most_variable(cells, n_genes, flavor="seurat")


def seurat_v3_genes(counts: Csr, *, n_genes: int = 2000) -> Ints:
    """Choose the genes whose counts vary most for their mean.

    Stuart et al. 2019 (doi:10.1016/j.cell.2019.05.031).

    Parameters
    ----------
    counts
        n_cells × genes, whole numbers.
    n_genes
        Number of genes; all where there are no more.

    Returns
    -------
    ndarray
        Their positions, ascending.

    Raises
    ------
    NotApplicable
        If the regression of variance on mean fails, as it does on few cells.
    """
    try:
        return _most_variable(counts, n_genes, flavor="seurat_v3")
    except ValueError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise NotApplicable(
            f"seurat_v3 finds no variable genes among {counts.shape[0]} cells: {reason}"
        ) from error


def _most_variable(cells: Csr, n_genes: int, *, flavor: str) -> Ints:
    if cells.shape[1] <= n_genes:
        return np.arange(cells.shape[1])
    import scanpy
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    adata = AnnData(csr_matrix(cells))
    found = scanpy.pp.highly_variable_genes(adata, n_top_genes=n_genes, flavor=flavor, inplace=False)
    return np.flatnonzero(found["highly_variable"].to_numpy())
