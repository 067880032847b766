"""The data sets that come with the harness: the paper's three, and one that needs no network.

The paper is Heydari et al. 2022 (ACTIVA), doi:10.1093/bioinformatics/btac095; the numbers under
`expected` are its section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.declaration import Declaration, SourceFile
from datasets.errors import DatasetError
from datasets.readers import read_cells, read_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

_SAMPLES = "https://cf.10xgenomics.com/samples/cell-exp"
_AUTHORS_COPY = "the ACTIVA authors' original matrices, doi:10.5281/zenodo.5842658"


def recover_counts(log_values: csr_matrix, library_sizes: np.ndarray) -> csr_matrix:
    """Undo log1p and the normalisation to 10 000 of whole-number counts.

    Parameters
    ----------
    log_values
        Matrix n_cells × n_genes of log1p(counts / library size · 10⁴).
    library_sizes
        Total counts of each of n_cells cells before genes were left out.

    Returns
    -------
    csr_matrix
        n_cells × n_genes whole numbers, float32.

    Raises
    ------
    DatasetError
        If a recovered value is more than 0.25 from a whole number, or differs from the value in units
        of the cell's smallest non-zero entry, which should be one count.
    """
    counts = log_values.astype(np.float64).tocsr()
    counts.eliminate_zeros()
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    scaled = np.expm1(counts.data)
    exact = scaled * np.asarray(library_sizes, dtype=np.float64)[rows] / 1e4
    counts.data = np.round(exact)
    smallest = np.full(counts.shape[0], np.inf)
    np.minimum.at(smallest, rows, scaled)
    if np.any(np.abs(exact - counts.data) > 0.25) or np.any(np.round(scaled / smallest[rows]) != counts.data):
        raise DatasetError(
            "pbmc68k_reduced: the file inside scanpy has changed and its counts cannot be recovered: "
            "install the scanpy version of constraints.txt"
        )
    return counts.astype(np.float32)


def _read_pbmc68k_reduced(paths: Sequence[Path]) -> AnnData:
    from anndata import AnnData

    stored = read_cells(paths[0])
    counts = recover_counts(stored.raw.X, stored.obs["n_counts"].to_numpy())
    return AnnData(counts, obs=stored.obs, var=stored.raw.var[[]])


def _read_pbmc68k(paths: Sequence[Path]) -> AnnData:
    matrices, annotation = paths
    adata = read_cells(matrices)
    labels = read_labels(annotation, cell_column="barcodes", label_column="celltype")
    adata.obs["cell_type"] = adata.obs_names.map(labels)
    if unlabelled := int(adata.obs["cell_type"].isna().sum()):
        raise DatasetError(
            f"{annotation} names no type for {unlabelled} of {adata.n_obs} cells: hand over one that does"
        )
    return adata


PBMC68K_REDUCED = Declaration(
    name="pbmc68k_reduced",
    description="700 cells × 765 genes of 68K PBMC, inside scanpy: needs no network",
    reference="doi:10.1038/ncomms14049",
    licence="CC BY 4.0 (10x Genomics); scanpy BSD-3-Clause",
    files=(SourceFile("10x_pbmc68k_reduced.h5ad", "package:scanpy/datasets/10x_pbmc68k_reduced.h5ad"),),
    read=_read_pbmc68k_reduced,
    label_key="bulk_labels",
    label_source="correlation with bulk-sorted populations (Zheng 2017), obs['bulk_labels']",
    test_size=0.2,
    expected={"cells": 700, "genes": 765, "types": 10},
    notes=("counts recovered from log-normalised values: whole numbers, checked in two ways",),
)

BRAIN_SMALL = Declaration(
    name="brain_small",
    description="20 000 cells of E18 mouse cortex, hippocampus and subventricular zone",
    reference="10x Genomics, 1.3 Million Brain Cells from E18 Mice (Cell Ranger 1.3.0), 20k subset",
    licence="CC BY 4.0 (10x Genomics)",
    files=(SourceFile("1M_neurons_neuron20k.h5", f"{_SAMPLES}/1.3.0/1M_neurons/1M_neurons_neuron20k.h5"),),
    label_source="none: clusters stand in",
    test_size=2000,
    stratify_by="cluster",
    expected={"genes": 17970, "train": 18003, "test": 1997, "clusters": 8},
    second_source=_AUTHORS_COPY,
)

PBMC68K = Declaration(
    name="pbmc68k",
    description="68 579 peripheral blood mononuclear cells of donor A",
    reference="doi:10.1038/ncomms14049",
    licence="CC BY 4.0 (10x Genomics)",
    files=(
        SourceFile(
            "fresh_68k_pbmc_donor_a_filtered_gene_bc_matrices.tar.gz",
            f"{_SAMPLES}/1.1.0/fresh_68k_pbmc_donor_a/"
            "fresh_68k_pbmc_donor_a_filtered_gene_bc_matrices.tar.gz",
            # Not measured by us: three independent public repositories state this value.
            sha256="3f35f37ff344bc9b32f97cd003ac986ebb9b5d7f31006c53dff4cb38da267931",
        ),
        SourceFile(
            "68k_pbmc_barcodes_annotation.tsv",
            # The commit instead of the branch: the file behind this address cannot change.
            "https://raw.githubusercontent.com/10XGenomics/single-cell-3prime-paper/"
            "48c22117e5d8341903720f2bd66847ca5a7246c5/pbmc68k_analysis/68k_pbmc_barcodes_annotation.tsv",
        ),
    ),
    read=_read_pbmc68k,
    label_key="cell_type",
    label_source="correlation with bulk-sorted populations (Zheng 2017), matched by barcode",
    test_size=7000,
    stratify_by="cluster",
    expected={"genes": 17789, "train": 61588, "test": 6991, "clusters": 10, "types": 11},
    # The paper's cluster 2, by its markers: numbers of clusters change with the software.
    rare_type_markers=("CCL5", "NKG7", "GZMA", "CST7", "CTSW"),
    second_source=_AUTHORS_COPY,
)

NEUROCOVID = Declaration(
    name="neurocovid",
    description="85 414 immune cells of cerebrospinal fluid, Neuro-COVID and controls",
    reference="doi:10.1016/j.immuni.2020.12.011, GEO GSE163005",
    files=(SourceFile("neurocovid"),),
    label_source="the column named by --label-key; clusters stand in without one",
    expected={"cells": 85414, "genes": 22824, "types": 16},
    second_source=_AUTHORS_COPY,
)
