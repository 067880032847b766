"""What metrics look at: real cells and synthetic cells, prepared once and shared by all metrics.

Everything expensive is computed when first asked for and kept. Nothing here guesses whether
values are logged: synthetic cells come with the space they are declared to be in.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from metrics.arrays import Bools, Floats, Ints, Strings
from metrics.declaration import NotApplicable
from metrics.evidence_cache import EvidenceCache, fingerprint
from metrics.neighbours import Neighbours, nearest, neighbour_bandwidth
from metrics.seeds import derived_seed
from metrics.shared_cost import SharedProperty
from metrics.spaces import CellMatrix, Csr, Space, observed_counts
from metrics.synthetic_cells import SyntheticCells, checked_labels
from metrics.training_evidence import TrainingEvidence

if TYPE_CHECKING:
    from anndata import AnnData


class RealEvidence(TrainingEvidence):
    """Real cells of one data set and split, as every metric sees them under one protocol.

    Parameters
    ----------
    train_counts, test_counts
        Cells × genes, whole-number counts.
    train_types, test_types
        Label of each cell, or None.
    control_pool
        Whether controls may draw each training cell; such cells stay out of the PCA, which otherwise would
        know the controls' cells better than a model's. None: no cell is in a control.
    gene_names
        Name of the gene in each column.
    n_cells
        Number of test cells that are used, the same for every model and control; None for as many as the
        protocol wants and the test split has.
    seed
        Branch of the seed tree that belongs to the metrics.
    protocol
        Name of a protocol (see `metrics.protocols`).
    held_out
        Counts of the test split where other cells stand for it: genes are chosen and a PCA is fitted on them,
        if the protocol does so on test cells, too. None where test_counts are those of the test split.
    cache_folder
        Folder in which expensive results are kept for later; it must change with the code of `metrics`.

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
        train_types: Sequence[str] | Strings | None,
        test_types: Sequence[str] | Strings | None,
        control_pool: Bools | None,
        gene_names: Sequence[str] | Strings,
        n_cells: int | None = None,
        seed: int,
        protocol: str = "strict",
        held_out: CellMatrix | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        super().__init__(
            train_counts,
            types=train_types,
            control_pool=control_pool,
            gene_names=gene_names,
            seed=seed,
            protocol=protocol,
            cache_folder=cache_folder,
        )
        self._all_test = self._checked(test_counts, "test")
        self._held_out = self._all_test if held_out is None else self._checked(held_out, "held-out")
        n_test = self._all_test.shape[0]
        self.n_cells = self.protocol.cells_a_side(n_test) if n_cells is None else n_cells
        if not 1 <= self.n_cells <= n_test:
            raise ValueError(f"n_cells is {self.n_cells}; the test split allows 1 to {n_test}")
        types = checked_labels(test_types, n_test, "test")
        self.test_types = None if types is None else types[self.test_rows]

    @classmethod
    def from_adata(
        cls,
        adata: AnnData,
        *,
        test: Bools | None = None,
        n_cells: int | None = None,
        seed: int,
        protocol: str = "strict",
        cache_folder: Path | None = None,
    ) -> Self:
        """Read ``layers["counts"]``, ``obs["split"]``, ``obs["cell_type"]`` and ``obs["control_pool"]``.

        Parameters
        ----------
        adata
            A prepared data set; cells of the validation split are not looked at.
        test
            Whether each cell stands as a test cell; None for the cells of the test split.
        n_cells, seed, protocol, cache_folder
            Number of test cells, seed, protocol and cache folder, see the parameters of the class.
        """
        train_rows, held_out_rows = (np.flatnonzero(adata.obs["split"] == part) for part in ("train", "test"))
        test_rows = held_out_rows if test is None else np.flatnonzero(test)
        counts, types = adata.layers["counts"], adata.obs["cell_type"].to_numpy(dtype=str)
        return cls(
            counts[train_rows],
            counts[test_rows],
            train_types=types[train_rows],
            test_types=types[test_rows],
            control_pool=adata.obs["control_pool"].to_numpy(dtype=bool)[train_rows],
            gene_names=adata.var_names.to_numpy(dtype=str),
            n_cells=n_cells,
            seed=seed,
            protocol=protocol,
            held_out=None if test is None else counts[held_out_rows],
            cache_folder=cache_folder,
        )

    @SharedProperty
    def test_rows(self) -> Ints:
        """Rows of the test split that are used, ascending; drawn without replacement."""
        rng = np.random.default_rng(derived_seed(self.seed, "test cells"))
        return np.sort(rng.choice(self._all_test.shape[0], self.n_cells, replace=False))

    def _more_cells(self) -> tuple[Csr, ...]:
        if self.protocol.pca_cells == "test":
            return (self._all_test[self.test_rows],)
        wanted = self.protocol.pca_cells == "train_and_test" or self.protocol.genes != "all"
        return (self._held_out,) if wanted else ()

    @SharedProperty
    def _test_cache(self) -> EvidenceCache:
        """Keeps what follows from the test cells, too."""
        if self._cache_folder is None:
            return EvidenceCache(None, "")
        return EvidenceCache(self._train_cache.folder, fingerprint(self._all_test, self.test_rows))

    @SharedProperty
    def test_counts(self) -> Csr:
        """The n_cells test cells × the protocol's genes, whole numbers."""
        return self.of_genes(self._all_test[self.test_rows])

    @SharedProperty
    def test_cells(self) -> Csr:
        """The n_cells test cells × the protocol's genes, in its space."""
        return self.normalised(self._all_test[self.test_rows], space="counts")

    @SharedProperty
    def pca_scores(self) -> Floats:
        """The n_cells test cells × components."""
        return np.asarray(self.pca.transform(self.test_cells), dtype=np.float64)

    @SharedProperty
    def bandwidth(self) -> float:
        """Of the kernel of `metrics.mmd`, from the test cells on the principal components.

        Raises
        ------
        NotApplicable
            With fewer than 26 test cells.
        """
        return neighbour_bandwidth(self.pca_scores)

    @SharedProperty
    def test_to_train(self) -> Neighbours:
        """The nearest training cell of each test cell, on the principal components."""
        arrays = self._test_cache.arrays(
            "test_to_train", lambda: vars(nearest(self.pca_scores, self.train_pca_scores))
        )
        return Neighbours(**arrays)

    @SharedProperty
    def test_calls(self) -> Strings:
        """The type that `type_classifier` sees in each test cell."""
        return self.type_classifier.call(self.pca_scores)


class SampleEvidence(SyntheticCells):
    """Synthetic cells beside the real ones they are compared with: as many as there are test cells.

    Under a protocol called ``+observed``, cells of normalised expression are turned into the counts that a
    sequencer would see of them: each at the library size of a training cell (of its type, where the
    generator names a type of the training cells). `matrix` and `space` are then those of the counts.

    Parameters
    ----------
    real
        Real cells that the synthetic ones are compared with.
    matrix
        Synthetic cells × all genes, at least ``real.n_cells`` cells; of more, ``real.n_cells`` are drawn,
        because files made elsewhere are often sorted by type.
    space, cell_types
        Space of the values, and label of each cell or None; see `SyntheticCells`.

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
        cell_types: Sequence[str] | Strings | None = None,
    ) -> None:
        super().__init__(matrix, space=space, cell_types=cell_types)
        self.real = real
        n_given, n_genes = self.matrix.shape
        if n_genes != real.all_gene_names.size:
            raise ValueError(f"synthetic cells have {n_genes} genes, real ones {real.all_gene_names.size}")
        if n_given < real.n_cells:
            raise ValueError(
                f"{n_given} synthetic cells; comparing with {real.n_cells} test cells needs as many"
            )
        if n_given > real.n_cells:
            rng = np.random.default_rng(derived_seed(real.seed, "synthetic cells"))
            rows = np.sort(rng.choice(n_given, real.n_cells, replace=False))
            self.matrix = self.matrix[rows]
            self.cell_types = None if self.cell_types is None else self.cell_types[rows]
        self.is_observed = real.protocol.observed and space != "counts"
        if self.is_observed:
            # Impossible values stay as they are and fail each metric.
            with suppress(NotApplicable):
                self.matrix, self.space = self._observed(), "counts"

    def _observed(self) -> Csr:
        linear = self._linear()
        rng = np.random.default_rng(derived_seed(self.real.seed, "library sizes of observed cells"))
        known, types = self.real.train_library_sizes, self.real.train_types
        sizes = rng.choice(known, linear.shape[0])
        if self.cell_types is not None and types is not None:
            for name in np.intersect1d(self.cell_types, types):
                members = self.cell_types == name
                sizes[members] = rng.choice(known[types == name], int(members.sum()))
        return observed_counts(linear, sizes, seed=derived_seed(self.real.seed, "observed counts"))

    @SharedProperty
    def cells(self) -> Csr:
        """The synthetic cells × the protocol's genes, in its space; all-zero cells stay zero.

        Raises
        ------
        NotApplicable
            As for `library_sizes`.
        """
        space: Space = "counts" if self.space == "counts" else "cp20k"
        return self.real.normalised(self._linear(), space=space)

    @SharedProperty
    def pca_scores(self) -> Floats:
        """The synthetic cells × components of the real cells' PCA."""
        pca = self.real.pca
        places = np.asarray(pca.transform(self.cells), dtype=np.float64)
        return places if self.real.protocol.centred else places + pca.components_ @ pca.mean_

    @SharedProperty
    def to_train(self) -> Neighbours:
        """The nearest training cell of each synthetic cell, on the principal components."""
        return nearest(self.pca_scores, self.real.train_pca_scores)

    @SharedProperty
    def calls(self) -> Strings:
        """The type that the real cells' `RealEvidence.type_classifier` sees in each synthetic cell."""
        return self.real.type_classifier.call(self.pca_scores)

    @property
    def notes(self) -> list[str]:
        """What a reader of any number about these cells must know."""
        told = ["observed: Poisson counts at library sizes of training cells"] if self.is_observed else []
        return [*told, *super().notes]
