"""What metrics look at of the training cells: shared by all models, and by all that is compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metrics.arrays import Bools, Floats, Ints, Strings
from metrics.declaration import NotApplicable
from metrics.evidence_cache import Arrays, EvidenceCache, fingerprint
from metrics.marker_genes import (
    Markers,
    log_fold_changes,
    rank_sum_scores,
    seurat_v3_genes,
    top_genes,
    variable_genes,
)
from metrics.principal_components import fitted_pca, restored_pca
from metrics.protocols import protocol_named
from metrics.seeds import derived_seed
from metrics.shared_cost import SharedProperty, SharesWork
from metrics.spaces import CellMatrix, Csr, Space, as_csr, bring_to, library_sizes, to_log_cp20k
from metrics.synthetic_cells import checked_labels, invalid_values
from metrics.type_classifier import TypeClassifier

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

CD_GENES_PER_TYPE = 5


class TrainingEvidence(SharesWork):
    """Training cells of one data set and split, as every metric sees them under one protocol.

    Parameters
    ----------
    counts
        Training cells × genes, whole-number counts.
    types, control_pool, gene_names, seed, protocol, cache_folder
        Cell types, control pool, gene names, seed, protocol and cache folder, see
        `metrics.evidence.RealEvidence`.

    Raises
    ------
    ValueError
        If sizes do not match, values are no counts, or the protocol is unknown.
    """

    def __init__(
        self,
        counts: CellMatrix,
        *,
        types: Sequence[str] | Strings | None,
        control_pool: Bools | None,
        gene_names: Sequence[str] | Strings,
        seed: int,
        protocol: str,
        cache_folder: Path | None,
    ) -> None:
        self.protocol = protocol_named(protocol)
        self.seed = seed
        self.all_gene_names = np.asarray(gene_names, dtype=str)
        self._all_train = self._checked(counts, "training")
        n_train = self._all_train.shape[0]
        self.train_types = checked_labels(types, n_train, "training")
        pool = np.zeros(n_train, bool) if control_pool is None else control_pool
        self.control_pool = np.asarray(pool, dtype=bool)
        if self.control_pool.shape != (n_train,):
            raise ValueError(
                f"control_pool marks {self.control_pool.size} cells, not the {n_train} for training"
            )
        self._cache_folder = cache_folder

    def _checked(self, counts: CellMatrix, what: str) -> Csr:
        if counts.shape[1] != self.all_gene_names.size:
            raise ValueError(
                f"{what} cells have {counts.shape[1]} genes, gene_names {self.all_gene_names.size}"
            )
        csr = as_csr(counts)
        if problem := invalid_values(csr):
            raise ValueError(f"{what} cells hold {problem}; give counts")
        return csr

    @property
    def n_train(self) -> int:
        """How many training cells there are."""
        return int(self._all_train.shape[0])

    @SharedProperty
    def _train_cache(self) -> EvidenceCache:
        """Keeps what follows from the training cells and, under some protocols, the test split."""
        if self._cache_folder is None:
            return EvidenceCache(None, "")
        cells = (self._all_train, self.train_types, self.control_pool, *self._more_cells())
        return EvidenceCache(self._cache_folder, fingerprint(*cells, self.protocol.name, self.seed))

    def _more_cells(self) -> tuple[Csr, ...]:
        """Counts of the cells beside the training cells that genes are chosen, or the PCA is fitted, on."""
        return ()

    @SharedProperty
    def genes(self) -> Ints | None:
        """Positions of the protocol's genes among all genes, ascending; None for all of them."""
        if self.protocol.genes == "all":
            return None
        return self._train_cache.arrays("genes", self._variable_genes)["genes"]

    def _variable_genes(self) -> Arrays:
        from scipy.sparse import vstack

        if self.protocol.genes == "variable_2000_of_test":
            (test,) = self._more_cells()
            return {"genes": seurat_v3_genes(test)}
        everything = as_csr(vstack([self._all_train, *self._more_cells()], format="csr"))
        return {"genes": variable_genes(to_log_cp20k(everything, space="counts"))}

    def of_genes(self, cells: Csr) -> Csr:
        """Return cells × the protocol's genes of cells × all genes."""
        return cells if self.genes is None else cells[:, self.genes]

    @property
    def gene_names(self) -> Strings:
        """Names of the protocol's genes."""
        return self.all_gene_names if self.genes is None else self.all_gene_names[self.genes]

    @SharedProperty
    def train_counts(self) -> Csr:
        """All training cells × the protocol's genes, whole numbers."""
        return self.of_genes(self._all_train)

    @SharedProperty
    def train_library_sizes(self) -> Floats:
        """Sum of the counts of each training cell over all genes."""
        return library_sizes(self._all_train)

    @SharedProperty
    def train_cells(self) -> Csr:
        """All training cells × the protocol's genes, in its space."""
        return self.normalised(self._all_train, space="counts")

    @SharedProperty
    def pca(self) -> PCA:
        """The protocol's components (fewer for tiny data), in its genes and space.

        Fitted on the training cells that are in no control, or on those that the protocol says.

        Raises
        ------
        NotApplicable
            If there are too few such cells or genes for one component.
        """
        arrays = self._train_cache.arrays(
            "pca",
            lambda: fitted_pca(
                self._pca_cells(),
                most_components=self.protocol.n_components,
                seed=derived_seed(self.seed, "pca"),
            ),
        )
        return restored_pca(arrays)

    def _pca_cells(self) -> Csr:
        more = [self.normalised(counts, space="counts") for counts in self._more_cells()]
        if self.protocol.pca_cells == "test":
            return more[0]
        if self.protocol.pca_cells != "train_and_test":
            return self.train_cells[np.flatnonzero(~self.control_pool)]
        from scipy.sparse import vstack

        return as_csr(vstack([self.train_cells, *more], format="csr"))

    def normalised(self, cells: Csr, *, space: Space) -> Csr:
        """Bring cells × all genes to the protocol's genes and space.

        Parameters
        ----------
        cells
            Cells × all genes, no value below 0.
        space
            Space of the values.
        """
        protocol = self.protocol
        whole = protocol.scaled_over == "all genes"
        chosen = cells if whole else self.of_genes(cells)
        found = bring_to(chosen, space=space, target=protocol.space, rescale=protocol.rescale)
        return self.of_genes(found) if whole else found

    @property
    def pca_notes(self) -> list[str]:
        """What a reader of a number on principal components must know."""
        found, wanted = int(self.pca.n_components_), self.protocol.n_components
        return [] if found == wanted else [f"{found} principal components instead of {wanted}"]

    @SharedProperty
    def train_pca_scores(self) -> Floats:
        """All training cells × components."""
        return self._train_cache.arrays(
            "train_pca_scores",
            lambda: {"scores": np.asarray(self.pca.transform(self.train_cells), dtype=np.float64)},
        )["scores"]

    @SharedProperty
    def markers(self) -> dict[str, Markers]:
        """Genes of each type by over-expression among the log-normalised training cells.

        Positions are those of `gene_names`.

        Raises
        ------
        NotApplicable
            With fewer than two types.
        """
        parts = (self._marker_arrays[part] for part in ("names", "scores", "log_fold_changes"))
        return {
            str(name): Markers(genes, scores[genes], changes[genes])
            for name, scores, changes in zip(*parts, strict=True)
            for genes in [np.argsort(-scores, kind="stable")]
        }

    @SharedProperty
    def _marker_arrays(self) -> Arrays:
        """Names of the types; for each and each gene, rank-sum score and log-fold change."""
        return self._train_cache.arrays("markers", self._computed_markers)

    def _computed_markers(self) -> Arrays:
        if self.train_types is None or np.unique(self.train_types).size < 2:
            raise NotApplicable("marker genes need at least two cell types among the training cells")
        is_logged = self.protocol.space == "log_cp20k"
        # Another space's copy in logarithms is not kept.
        names, scores = rank_sum_scores(
            self.train_cells if is_logged else to_log_cp20k(self.train_counts, space="counts"),
            self.train_types,
        )
        linear = bring_to(self.train_counts, space="counts", target="cp20k")
        changes = log_fold_changes(linear, self.train_types, names)
        return {"names": names, "scores": scores, "log_fold_changes": changes}

    @SharedProperty
    def cd_genes(self) -> Ints:
        """Positions of the top five over-expressed genes of each type, from the training cells.

        Raises
        ------
        NotApplicable
            With fewer than two types, or fewer than five genes a type.
        """
        scores = self._marker_arrays["scores"]
        n_types, n_genes = scores.shape
        needed = CD_GENES_PER_TYPE * n_types
        if n_genes < needed:
            raise NotApplicable(f"{n_genes} genes; five for each of {n_types} types are {needed}")
        return top_genes(scores, n_per_type=CD_GENES_PER_TYPE)

    @SharedProperty
    def type_classifier(self) -> TypeClassifier:
        """Tells cell types from principal components; it learnt from all training cells.

        Raises
        ------
        NotApplicable
            With fewer than two types.
        """
        arrays = self._train_cache.arrays(
            "type_classifier", lambda: vars(TypeClassifier.fit(self.train_pca_scores, self.train_types))
        )
        return TypeClassifier(**arrays)
