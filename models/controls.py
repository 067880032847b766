"""Controls: generators without a model, drawn from the training cells, that give every metric its scale.

A ceiling (`Real`), three floors (`Shuffle`, `ShuffleWithinType`, `Poisson`) and a cheat
(`Memorise`). All of them return whole-number counts, train nothing and ignore their budget;
`fit` only remembers cells. `Real` and `Memorise` draw from the cells of
``obs["control_pool"]`` alone, so that a PCA fitted on the other training cells has seen no
cell of a control. Time and memory follow the counts that are drawn, never cells × genes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix, diags_array, load_npz, save_npz, vstack

from models.base import Budget, Generator, GeneratorError, Monitor, Unsupported

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
    """What the five controls share: remembering cells, checking requests, saving without pickle.

    `prepare` and `synchronise` do nothing; `fit` is timed and copies the counts; the time of
    `sample` is that of drawing and of building the CSR matrix. The training seed and the
    sample seed both enter each draw, so that controls vary over training seeds as models do.
    """

    licence = "BSD-3-Clause"
    paper = ""
    conditional = True
    pool_only: ClassVar[bool] = False
    """Whether only cells of ``obs["control_pool"]`` are remembered."""

    _cells: RememberedCells | None = None
    _training_seed: int = 0

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Remember the training cells; `device`, `budget` and `monitor` have no effect.

        Raises
        ------
        GeneratorError
            If ``layers["counts"]``, ``obs["cell_type"]`` or, where it is needed,
            ``obs["control_pool"]`` is missing, or if no cell is left to draw from.
        """
        if "counts" not in train.layers:
            raise GeneratorError(f'{self.name}: layers["counts"] is missing; store the raw counts there')
        needed = ["cell_type", "control_pool"] if self.pool_only else ["cell_type"]
        for column in needed:
            if column not in train.obs:
                raise GeneratorError(f'{self.name}: obs["{column}"] is missing; prepare the data set first')
        kept = np.flatnonzero(train.obs["control_pool"]) if self.pool_only else np.arange(train.n_obs)
        if not kept.size:
            raise GeneratorError(
                f"{self.name}: 0 of {train.n_obs} training cells may be drawn; use more cells"
            )
        cells = RememberedCells(
            counts=csr_matrix(train.layers["counts"], dtype=np.float32)[kept],
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


class RealCells(Control):
    """Controls that return cells of ``obs["control_pool"]`` as they are."""

    pool_only = True

    def sample_chunks(
        self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int, chunk_size: int = 2048
    ) -> Iterator[AnnData]:
        """Yield, in pieces, the very cells that `sample` returns: no cell is repeated between chunks."""
        rows = self._rows(n_cells, self._requested(n_cells, cell_types), self._rng(seed))
        for start in range(0, n_cells, chunk_size):
            chunk = rows[start : start + chunk_size]
            yield self._as_anndata(self.cells.counts[chunk], self.cells.cell_types[chunk])

    def _draw(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Drawn:
        rows = self._rows(n_cells, cell_types, rng)
        return self.cells.counts[rows], self.cells.cell_types[rows]

    def _rows(self, n_cells: int, cell_types: Labels | None, rng: np.random.Generator) -> Integers:
        """Choose which cells to return, of the requested types in the requested order."""
        if cell_types is None:
            return self._pick(n_cells, np.arange(self.cells.counts.shape[0]), "cells", rng)
        rows = np.empty(n_cells, dtype=np.int64)
        for name in np.unique(cell_types):
            asked = np.flatnonzero(cell_types == name)
            candidates = self.cells.rows_by_type[str(name)]
            rows[asked] = self._pick(len(asked), candidates, f"cells of type '{name}'", rng)
        return rows

    @abstractmethod
    def _pick(self, n_cells: int, candidates: Integers, what: str, rng: np.random.Generator) -> Integers:
        """Choose n_cells of the candidate rows; `what` names them in messages."""


class Real(RealCells):
    """Ceiling: training cells drawn without replacement from ``obs["control_pool"]``.

    Raises `Unsupported` when asked for more cells than the pool holds: a repeated cell would
    make the ceiling too easy to tell from the test cells.
    """

    name = "real"
    role = "ceiling"

    def _pick(self, n_cells: int, candidates: Integers, what: str, rng: np.random.Generator) -> Integers:
        if n_cells > len(candidates):
            raise Unsupported(
                f"{self.name}: {n_cells} {what} asked, the control pool holds {len(candidates)} "
                "and none is drawn twice; ask for fewer"
            )
        return rng.choice(candidates, n_cells, replace=False)


class Memorise(RealCells):
    """Cheat: training cells drawn with replacement from ``obs["control_pool"]``.

    What a model that copies its training cells would return; a metric of memorisation must
    catch it.
    """

    name = "memorise"
    role = "cheat"

    def _pick(self, n_cells: int, candidates: Integers, what: str, rng: np.random.Generator) -> Integers:
        return rng.choice(candidates, n_cells, replace=True)


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

    role = "floor"

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

    Independent Poisson counts of one cell are a Poisson total spread over the genes by their
    proportions; for all cells at once the genes are one multinomial draw, dealt out in random
    order. The cost follows the counts drawn.
    """
    totals = rng.poisson(rng.choice(library_sizes, n_cells))
    gene_totals = rng.multinomial(totals.sum(), proportions)
    genes = np.repeat(np.arange(len(proportions), dtype=np.int32), gene_totals)
    rng.shuffle(genes)
    starts = np.concatenate([[0], np.cumsum(totals)])
    ones = np.ones(len(genes), dtype=np.float32)
    counts = csr_matrix((ones, genes, starts), shape=(n_cells, len(proportions)))
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
