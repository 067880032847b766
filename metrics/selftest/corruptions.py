"""Ways to make real cells worse. More of a corruption contains less of it: the same cells, genes and values
are hit first.

All functions take counts (n_cells × n_genes, CSR) and a seed from which everything random follows, and return
as many cells.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Ints, Strings
from metrics.spaces import Csr, as_csr, normalise


def shuffle_genes(counts: Csr, groups: Strings, share: float, *, seed: int) -> Csr:
    """Permute a share of the genes, each by itself, among the cells of each group.

    Parameters
    ----------
    counts, seed
        See the module.
    groups
        Group of each cell: its type, or one and the same for all.
    share
        Share of the genes that are permuted, 0 to 1.
    """
    rng = np.random.default_rng(seed)
    genes = rng.permutation(counts.shape[1])[: round(share * counts.shape[1])]
    keys = rng.random(counts.shape, dtype=np.float32)
    dense = counts.toarray()
    for group in np.unique(groups):
        block = np.ix_(np.flatnonzero(groups == group), genes)
        dense[block] = np.take_along_axis(dense[block], keys[block].argsort(axis=0), axis=0)
    return as_csr(dense)


def drop_counts(counts: Csr, share: float, *, seed: int) -> Csr:
    """Set a share of the non-zero values, 0 to 1, to zero: wrong zeros."""
    kept = counts.copy()
    kept.data = np.where(np.random.default_rng(seed).random(counts.nnz) < share, 0, counts.data)
    return as_csr(kept)


def thin(counts: Csr, factor: float, *, seed: int) -> Csr:
    """Keep each single count with probability `factor`: cells sequenced less deeply."""
    thinned = counts.copy()
    rng = np.random.default_rng(seed)
    thinned.data = rng.binomial(counts.data.astype(np.int64), factor).astype(np.float32)
    return as_csr(thinned)


def scale(counts: Csr, factor: float) -> Csr:
    """Return the cells in ``cp20k`` with `factor` times the library size that this space promises."""
    scaled = normalise(counts)
    scaled.data = (scaled.data * factor).astype(np.float32)
    return scaled


def replace_cells(counts: Csr, others: Csr, rows: Ints, *, seed: int) -> Csr:
    """Put other cells, each at most once while there are enough, in the place of those in `rows`."""
    from scipy.sparse import vstack

    rng = np.random.default_rng(seed)
    order = rng.permutation(others.shape[0])
    taken = np.resize(order, rows.size)
    source = np.arange(counts.shape[0])
    source[rows] = counts.shape[0] + np.arange(rows.size)
    return as_csr(vstack([counts, others[taken]], format="csr")[source])


def lose_type(
    counts: Csr, types: Strings, lost: str, share: float, *, others: Csr, other_types: Strings, seed: int
) -> Csr:
    """Replace a share of the cells of a type by other cells, of other types.

    Parameters
    ----------
    counts, seed
        See the module.
    types, other_types
        Label of each cell.
    lost
        The cell type that is replaced.
    share
        Share of the type's cells that are replaced, 0 to 1.
    others
        Cells to replace them by; those of the lost type are passed over.
    """
    members = np.random.default_rng(seed).permutation(np.flatnonzero(types == lost))
    rows = members[: round(share * members.size)]
    return replace_cells(counts, others[np.flatnonzero(other_types != lost)], rows, seed=seed)


def copy_cells(counts: Csr, originals: Csr, share: float, *, seed: int) -> Csr:
    """Replace a share of the cells by copies of others, such as training cells."""
    rows = np.random.default_rng(seed).permutation(counts.shape[0])[: round(share * counts.shape[0])]
    return replace_cells(counts, originals, rows, seed=seed)


def repeat_cells(counts: Csr, share: float, *, seed: int) -> Csr:
    """Replace a share of the cells by copies of the remaining ones."""
    order = np.random.default_rng(seed).permutation(counts.shape[0])
    n_kept = counts.shape[0] - round(share * counts.shape[0])
    source = np.arange(counts.shape[0])
    source[order[n_kept:]] = np.resize(order[:n_kept], order.size - n_kept)
    return as_csr(counts[source])


def collapse(counts: Csr, n_prototypes: int, *, seed: int) -> Csr:
    """Replace every cell by one of so many of the cells, each equally often: mode collapse."""
    prototypes = np.random.default_rng(seed).permutation(counts.shape[0])[:n_prototypes]
    return as_csr(counts[np.resize(prototypes, counts.shape[0])])


def shrink(counts: Csr, types: Strings, share: float) -> Csr:
    """Draw cells towards the mean of their type, in ``cp20k``: fakes of low variance that copy nobody.

    Parameters
    ----------
    counts
        See the module.
    types
        Label of each cell.
    share
        Share of the way to the mean, 0 to 1.
    """
    cells = normalise(counts).toarray()
    for name in np.unique(types):
        members = types == name
        cells[members] += share * (cells[members].mean(axis=0) - cells[members])
    return as_csr(cells)
