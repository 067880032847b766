"""Controls that no good model falls behind: they keep marginals and lose what ties genes together."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix, diags_array, vstack

from models.base import Role
from models.controls.control import Control, Drawn, Integers, Labels, RememberedCells


class Shuffle(Control):
    """Floor: the counts of each gene permuted independently across all training cells.

    Every gene keeps its marginal distribution, nothing else is kept. A sample of n cells is
    n rows of such a permutation; where n exceeds the number of training cells, whole
    permutations are followed by n rows of another. Chunks are independent samples.
    """

    name = "shuffle"
    role = "floor"
    conditional = False

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        super()._remember(cells, training_seed)
        self._columns = cells.counts.tocsc()

    def _draw(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Drawn:
        return _permuted_genes(self._columns, n_cells, rng), None


class DrawnByType(Control):
    """Floors that draw the cells of each type apart.

    Without requested types, the types are those of training cells drawn without replacement,
    every cell once before any comes again.
    """

    role: ClassVar[Role] = "floor"

    def _draw(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Drawn:
        labels = self._mixture(n_cells, rng) if cell_types is None else cell_types
        names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        parts = [self._draw_type(str(name), int(size), rng) for name, size in zip(names, sizes, strict=True)]
        place = np.argsort(np.argsort(codes, kind="stable"))
        return vstack(parts, format="csr")[place], labels

    def _mixture(self, n_cells: int, rng: np.random.Generator) -> Labels:
        n_known = len(self.cells.cell_types)
        rounds = np.tile(np.arange(n_known), (-(-n_cells // n_known), 1))
        return self.cells.cell_types[rng.permuted(rounds, axis=1).ravel()[:n_cells]]

    @abstractmethod
    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        """Return counts of n_cells cells of one type."""


class ShuffleWithinType(DrawnByType):
    """Floor: the counts of each gene permuted independently across the training cells of each type.

    As `Shuffle`, within every cell type: each gene keeps its marginal distribution in each type.
    """

    name = "shuffle_within_type"

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        super()._remember(cells, training_seed)
        self._columns = {name: cells.counts[rows].tocsc() for name, rows in cells.rows_by_type.items()}

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        return _permuted_genes(self._columns[cell_type], n_cells, rng)


class Poisson(DrawnByType):
    """Floor: independent Poisson counts per type, at library sizes of real cells.

    The rate of a gene in a synthetic cell is its mean proportion over the training cells of
    the type, times the library size of a training cell of that type drawn with replacement.
    """

    name = "poisson"

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        super()._remember(cells, training_seed)
        library_sizes = np.asarray(cells.counts.sum(axis=1, dtype=np.float64)).ravel()
        # A cell without counts has no proportions; its zeros weigh nothing in the mean.
        proportions = (diags_array(1 / np.maximum(library_sizes, 1)) @ cells.counts).tocsr()
        self._profiles = {}
        for name, rows in cells.rows_by_type.items():
            total = np.asarray(proportions[rows].sum(axis=0)).ravel()
            self._profiles[name] = total / max(total.sum(), 1), library_sizes[rows]

    def _draw_type(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        return _poisson_cells(*self._profiles[cell_type], n_cells, rng)


def _poisson_cells(
    proportions: NDArray[np.float64],
    library_sizes: NDArray[np.float64],
    n_cells: int,
    rng: np.random.Generator,
) -> csr_matrix:
    """Draw independent Poisson counts, n_cells × n_genes, with rates proportions × a drawn library size.

    Independent Poisson counts of one cell are a Poisson total spread over the genes by their proportions.
    """
    return spread(rng.poisson(rng.choice(library_sizes, n_cells)), proportions, rng)


def spread(totals: Integers, proportions: NDArray[np.float64], rng: np.random.Generator) -> csr_matrix:
    """Spread each cell's counts over the genes by their proportions, each count by itself.

    For all cells at once the genes are one multinomial draw, dealt out in random order. The cost follows the
    counts drawn.

    Parameters
    ----------
    totals
        Counts of each cell.
    proportions
        Proportion of each gene; they sum to 1.
    rng
        What draws.

    Returns
    -------
    csr_matrix
        n_cells × n_genes, float32.
    """
    gene_totals = rng.multinomial(totals.sum(), proportions)
    genes = np.repeat(np.arange(len(proportions), dtype=np.int32), gene_totals)
    rng.shuffle(genes)
    starts = np.concatenate([[0], np.cumsum(totals)])
    ones = np.ones(len(genes), dtype=np.float32)
    counts = csr_matrix((ones, genes, starts), shape=(len(totals), len(proportions)))
    counts.sum_duplicates()
    return counts


def _permuted_genes(cells: csc_matrix, n_cells: int, rng: np.random.Generator) -> csr_matrix:
    """Draw n_cells rows of `cells` with every column permuted independently.

    The rows fall into blocks, each a whole permutation except for the last, which is a part
    of one. In a part of b rows the number of a gene's non-zeros is hypergeometric; which of
    them and at which rows is uniform without replacement.
    """
    n_real, n_genes = cells.shape
    per_gene = np.diff(cells.indptr).astype(np.int64)
    expressed = np.flatnonzero(per_gene)
    block_starts = np.arange(0, n_cells, n_real)
    block_sizes = np.minimum(n_real, n_cells - block_starts)

    gene = np.tile(expressed, len(block_starts))
    block_start = np.repeat(block_starts, len(expressed))
    block_size = np.repeat(block_sizes, len(expressed))
    taken = rng.hypergeometric(per_gene[gene], n_real - per_gene[gene], block_size)

    stored = np.repeat(cells.indptr[gene], taken) + _distinct_integers(per_gene[gene], taken, rng)
    rows = np.repeat(block_start, taken) + _distinct_integers(block_size, taken, rng)
    # Both lists ascend within a gene: in that order, later rows would hold later training cells.
    segment = np.repeat(np.arange(len(gene)), taken)
    stored = stored[np.argsort(segment + rng.random(len(segment)))]
    values = (cells.data[stored], (rows, np.repeat(gene, taken)))
    return coo_matrix(values, shape=(n_cells, n_genes)).tocsr()


def _distinct_integers(sizes: Integers, counts: Integers, rng: np.random.Generator) -> Integers:
    """Choose, for each i, ``counts[i]`` distinct integers below ``sizes[i]``, uniformly; `sizes` are above 0.

    Returned are those of the first i, ascending, then those of the next. Repeats are rejected
    and drawn again; where more than half are wanted, those left out are drawn instead, so
    that rejections stay few.
    """
    starts = np.cumsum(sizes) - sizes
    missing = np.minimum(counts, sizes - counts)
    chosen = np.empty(0, dtype=np.int64)
    while missing.any():
        drawn = np.sort(np.repeat(starts, missing) + rng.integers(np.repeat(sizes, missing)))
        drawn = drawn[np.diff(drawn, prepend=-1) > 0]
        place = np.searchsorted(chosen, drawn)
        is_new = np.append(chosen, -1)[place] != drawn
        chosen = np.insert(chosen, place[is_new], drawn[is_new])
        owner = np.searchsorted(starts, drawn[is_new], side="right") - 1
        missing = missing - np.bincount(owner, minlength=len(sizes))
    inverted = 2 * counts > sizes
    inverted_sizes = sizes[inverted]
    offset = starts[inverted] - (np.cumsum(inverted_sizes) - inverted_sizes)
    everything = np.repeat(offset, inverted_sizes) + np.arange(inverted_sizes.sum())
    return np.setxor1d(chosen, everything, assume_unique=True) - np.repeat(starts, counts)
