"""What metrics look at: real cells and synthetic cells, prepared once and shared by all metrics.

Everything expensive is computed when first asked for and kept. Nothing here guesses whether
values are logged: synthetic cells come with the space they are declared to be in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from metrics.declaration import NotApplicable
from metrics.marker_genes import rank_sum_scores, top_genes
from metrics.mmd import neighbour_bandwidth
from metrics.seeds import derived_seed
from metrics.spaces import LIBRARY_SIZE, as_csr, library_sizes, to_linear, to_log_cp20k

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from sklearn.decomposition import PCA

    from metrics.spaces import CellMatrix, Csr, Space

Protocol = Literal["strict"]

DEFAULT_CELLS = 2000
COMPONENTS = 50
CD_GENES_PER_TYPE = 5


def invalid_values(cells: Csr) -> str | None:
    """Say how many values no expression can have, or return None."""
    not_finite = int(np.sum(~np.isfinite(cells.data)))
    negative = int(np.sum(cells.data < 0))
    if not_finite or negative:
        return f"{not_finite} NaN or infinite and {negative} negative values"
    return None


def _labels(
    types: Sequence[str] | NDArray[np.str_] | None, n_cells: int, what: str
) -> NDArray[np.str_] | None:
    if types is None:
        return None
    labels = np.asarray(types, dtype=str)
    if labels.shape != (n_cells,):
        raise ValueError(f"{labels.size} cell types for {n_cells} {what} cells; give one for each")
    return labels


class RealEvidence:
    """Real cells of one data set and split, as every metric sees them.

    Parameters
    ----------
    train_counts, test_counts
        Cells × genes, whole-number counts.
    train_types, test_types
        Label of each cell, or None.
    control_pool
        For each training cell, whether controls may draw it; such cells stay out of the PCA, which
        otherwise would know the controls' cells better than a model's. None: no cell is in a control.
    gene_names
        Of the columns.
    n_cells
        How many test cells are used, the same for every model and control; None for all, at most 2000.
    seed
        Branch of the seed tree that belongs to the metrics.
    protocol
        ``"strict"``: all genes, ``log_cp20k``, synthetic cells rescaled.

    Raises
    ------
    ValueError
        If sizes do not match, values are no counts, there are too few test cells, or the protocol is unknown.
    """

    def __init__(
        self,
        train_counts: CellMatrix,
        test_counts: CellMatrix,
        *,
        train_types: Sequence[str] | NDArray[np.str_] | None,
        test_types: Sequence[str] | NDArray[np.str_] | None,
        control_pool: NDArray[np.bool_] | None,
        gene_names: Sequence[str] | NDArray[np.str_],
        n_cells: int | None = None,
        seed: int,
        protocol: Protocol = "strict",
    ) -> None:
        if protocol != "strict":
            raise ValueError(f"protocol {protocol!r} is unknown; use strict")
        self.protocol = protocol
        self.seed = seed
        self.gene_names = np.asarray(gene_names, dtype=str)
        self._train_counts = self._checked(train_counts, "training")
        self._test_counts = self._checked(test_counts, "test")
        n_train, n_test = self._train_counts.shape[0], self._test_counts.shape[0]
        self.train_types = _labels(train_types, n_train, "training")
        self.control_pool = (
            np.zeros(n_train, bool) if control_pool is None else np.asarray(control_pool, bool)
        )
        if self.control_pool.shape != (n_train,):
            raise ValueError(
                f"control_pool marks {self.control_pool.size} cells, not the {n_train} for training"
            )
        self.n_cells = min(n_test, DEFAULT_CELLS) if n_cells is None else n_cells
        if not 1 <= self.n_cells <= n_test:
            raise ValueError(f"n_cells is {self.n_cells}; the test split allows 1 to {n_test}")
        types = _labels(test_types, n_test, "test")
        self.test_types = None if types is None else types[self.test_rows]

    @classmethod
    def from_adata(
        cls, adata: AnnData, *, n_cells: int | None = None, seed: int, protocol: Protocol = "strict"
    ) -> Self:
        """Read ``layers["counts"]``, ``obs["split"]``, ``obs["cell_type"]`` and ``obs["control_pool"]``.

        Parameters
        ----------
        adata
            A prepared data set; cells of the validation split are not looked at.
        n_cells, seed, protocol
            As for the class.
        """
        train, test = (np.flatnonzero(adata.obs["split"] == part) for part in ("train", "test"))
        counts, types = adata.layers["counts"], adata.obs["cell_type"].to_numpy(dtype=str)
        return cls(
            counts[train],
            counts[test],
            train_types=types[train],
            test_types=types[test],
            control_pool=adata.obs["control_pool"].to_numpy(dtype=bool)[train],
            gene_names=adata.var_names.to_numpy(dtype=str),
            n_cells=n_cells,
            seed=seed,
            protocol=protocol,
        )

    def _checked(self, counts: CellMatrix, what: str) -> Csr:
        if counts.shape[1] != self.gene_names.size:
            raise ValueError(f"{what} cells have {counts.shape[1]} genes, gene_names {self.gene_names.size}")
        csr = as_csr(counts)
        if problem := invalid_values(csr):
            raise ValueError(f"{what} cells hold {problem}; give counts")
        return csr

    @cached_property
    def test_rows(self) -> NDArray[np.int64]:
        """Rows of the test split that are used, ascending; drawn without replacement."""
        rng = np.random.default_rng(derived_seed(self.seed, "test cells"))
        return np.sort(rng.choice(self._test_counts.shape[0], self.n_cells, replace=False))

    @cached_property
    def log_train(self) -> Csr:
        """All training cells × genes, ``log_cp20k``."""
        return to_log_cp20k(self._train_counts, space="counts")

    @cached_property
    def log_test(self) -> Csr:
        """The n_cells test cells × genes, ``log_cp20k``."""
        return to_log_cp20k(self._test_counts[self.test_rows], space="counts")

    @cached_property
    def pca(self) -> PCA:
        """50 components (fewer for tiny data) fitted on the training cells that are in no control.

        Solver arpack: exact on sparse cells, where the randomised one keeps too little variance.

        Raises
        ------
        NotApplicable
            If there are too few such cells or genes for one component.
        """
        from sklearn.decomposition import PCA

        cells = self.log_train[np.flatnonzero(~self.control_pool)]
        n_components = min(COMPONENTS, min(cells.shape) - 1)
        if n_components < 1:
            raise NotApplicable(f"{cells.shape[0]} cells × {cells.shape[1]} genes are too few for a PCA")
        seed = derived_seed(self.seed, "pca")
        return PCA(n_components, svd_solver="arpack", random_state=seed).fit(cells)

    @property
    def pca_notes(self) -> list[str]:
        """What a reader of a number on principal components must know."""
        found = int(self.pca.n_components_)
        return [] if found == COMPONENTS else [f"{found} principal components instead of {COMPONENTS}"]

    @cached_property
    def pca_scores(self) -> NDArray[np.float64]:
        """The n_cells test cells × components."""
        return np.asarray(self.pca.transform(self.log_test), dtype=np.float64)

    @cached_property
    def bandwidth(self) -> float:
        """Of the kernel of `metrics.mmd`, from the test cells on the principal components.

        Raises
        ------
        NotApplicable
            With fewer than 26 test cells.
        """
        return neighbour_bandwidth(self.pca_scores)

    @cached_property
    def cd_genes(self) -> NDArray[np.int64]:
        """Positions of the top five over-expressed genes of each type, from the training cells.

        Raises
        ------
        NotApplicable
            With fewer than two types, or fewer than five genes a type.
        """
        if self.train_types is None or np.unique(self.train_types).size < 2:
            raise NotApplicable("marker genes need at least two cell types among the training cells")
        names, scores = rank_sum_scores(self.log_train, self.train_types)
        needed = CD_GENES_PER_TYPE * names.size
        if scores.shape[1] < needed:
            raise NotApplicable(f"{scores.shape[1]} genes; five for each of {names.size} types are {needed}")
        return top_genes(scores, n_per_type=CD_GENES_PER_TYPE)


class SyntheticCells:
    """Cells that a generator made, with the space they are declared to be in.

    Impossible values are reported when a metric first needs the cells, so that they fail metrics
    and not the run.

    Parameters
    ----------
    matrix
        Cells × genes.
    space
        ``"counts"``, ``"cp20k"`` or ``"log_cp20k"``.
    cell_types
        Label of each cell, or None.

    Raises
    ------
    ValueError
        If labels and cells differ in number.
    """

    def __init__(
        self,
        matrix: CellMatrix,
        *,
        space: Space,
        cell_types: Sequence[str] | NDArray[np.str_] | None = None,
    ) -> None:
        self.space = space
        self.matrix = as_csr(matrix)
        self.cell_types = _labels(cell_types, self.matrix.shape[0], "synthetic")

    def _linear(self) -> Csr:
        if problem := invalid_values(self.matrix):
            raise NotApplicable(f"the synthetic cells hold {problem}")
        linear = to_linear(self.matrix, space=self.space)
        if overflown := int(np.sum(~np.isfinite(library_sizes(linear)))):
            raise NotApplicable(f"{overflown} synthetic cells hold values too large for {self.space}")
        return linear

    @cached_property
    def library_sizes(self) -> NDArray[np.float64]:
        """Sum of each cell without logarithm.

        Raises
        ------
        NotApplicable
            If a value is negative, NaN or infinite, or so large that the sum is.
        """
        return library_sizes(self._linear())

    @property
    def library_size_error(self) -> float | None:
        """Median of abs(library size / 20 000 − 1); None for counts, which promise no library size."""
        if self.space == "counts":
            return None
        return float(np.median(np.abs(self.library_sizes / LIBRARY_SIZE - 1)))

    @property
    def n_empty_cells(self) -> int:
        """How many cells are all zero."""
        return int(np.sum(np.diff(self.matrix.indptr) == 0))

    @cached_property
    def log_matrix(self) -> Csr:
        """Cells × genes, ``log_cp20k``, rescaled to 20 000; all-zero cells stay zero.

        Raises
        ------
        NotApplicable
            As for `library_sizes`.
        """
        return to_log_cp20k(self._linear(), space="cp20k")

    @property
    def notes(self) -> list[str]:
        """What a reader of any number about these cells must know."""
        notes = []
        if self.n_empty_cells:
            notes.append(f"{self.n_empty_cells} of {self.matrix.shape[0]} synthetic cells are all zero")
        if self.space == "counts":
            fractional = int(np.sum(self.matrix.data != np.round(self.matrix.data)))
            if fractional:
                share = fractional / self.matrix.data.size
                notes.append(
                    f"{share:.1%} of the non-zero values are not whole numbers, though counts are declared"
                )
        return notes


class SampleEvidence(SyntheticCells):
    """Synthetic cells beside the real ones they are compared with: as many as there are test cells.

    Parameters
    ----------
    real
        What they are compared with.
    matrix
        At least ``real.n_cells`` cells × genes; of more, ``real.n_cells`` are drawn, because files made
        elsewhere are often sorted by type.
    space, cell_types
        As for `SyntheticCells`.

    Raises
    ------
    ValueError
        If there are too few cells or other genes.
    """

    def __init__(
        self,
        real: RealEvidence,
        matrix: CellMatrix,
        *,
        space: Space,
        cell_types: Sequence[str] | NDArray[np.str_] | None = None,
    ) -> None:
        super().__init__(matrix, space=space, cell_types=cell_types)
        self.real = real
        n_given, n_genes = self.matrix.shape
        if n_genes != real.gene_names.size:
            raise ValueError(f"synthetic cells have {n_genes} genes, real ones {real.gene_names.size}")
        if n_given < real.n_cells:
            raise ValueError(
                f"{n_given} synthetic cells; comparing with {real.n_cells} test cells needs as many"
            )
        if n_given > real.n_cells:
            rng = np.random.default_rng(derived_seed(real.seed, "synthetic cells"))
            rows = np.sort(rng.choice(n_given, real.n_cells, replace=False))
            self.matrix = self.matrix[rows]
            self.cell_types = None if self.cell_types is None else self.cell_types[rows]

    @cached_property
    def pca_scores(self) -> NDArray[np.float64]:
        """The synthetic cells × components of the real cells' PCA."""
        return np.asarray(self.real.pca.transform(self.log_matrix), dtype=np.float64)
