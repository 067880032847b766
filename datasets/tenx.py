"""The ``.h5`` of 10x: ``/matrix`` of Cell Ranger 3 and later, a group a genome of Cell Ranger 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import DatasetError

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

_PARTS = ("barcodes", "data", "indices", "indptr", "shape")
_OLD = (*_PARTS, "genes", "gene_names")
_NEW = (*_PARTS, "features/id", "features/name")
_MORE = {"feature_types": "features/feature_type", "genome": "features/genome"}


def tenx_groups(file: h5py.File) -> dict[str, h5py.Group]:
    """Return the groups of an HDF5 file that hold a matrix in one of the layouts of 10x."""
    import h5py

    groups = {name: group for name, group in file.items() if isinstance(group, h5py.Group)}
    return {
        name: group
        for name, group in groups.items()
        if any(all(part in group for part in layout) for layout in (_OLD, _NEW))
    }


def read_tenx(path: Path, *, genome: str | None) -> AnnData:
    """Read all features; var holds ``gene_ids`` and, where told, ``feature_types`` and ``genome``.

    Parameters
    ----------
    path
        File that holds `tenx_groups`.
    genome
        Name of the group to read from an old file that holds several. Each group lists cells of its own, so
        that joining them would make zeros where nothing was counted: without a genome such a file is refused.

    Raises
    ------
    DatasetError
        If the file holds several genomes and `genome` is none of them.
    """
    import h5py
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    with h5py.File(path) as file:
        groups = tenx_groups(file)
        if len(groups) > 1 and genome not in groups:
            given = "" if genome is None else f", none of them {genome!r}"
            raise DatasetError(
                f"{path} holds the genomes {' and '.join(groups)}{given}, each with cells of its own: "
                f"choose one with --genome {next(iter(groups))} (genome= in Python)"
            )
        name = genome if genome is not None and genome in groups else next(iter(groups))
        group = groups[name]
        n_genes, n_cells = (int(size) for size in group["shape"][:])
        # Genes × cells as CSC are cells × genes as CSR.
        parts = tuple(group[part][:] for part in ("data", "indices", "indptr"))
        adata = AnnData(csr_matrix(parts, shape=(n_cells, n_genes)))
        old = "genes" in group
        adata.obs_names = group["barcodes"].asstr()[:]
        adata.var_names = group["gene_names" if old else "features/name"].asstr()[:]
        adata.var["gene_ids"] = group["genes" if old else "features/id"].asstr()[:]
        if old:
            adata.var["genome"] = name
        for column, part in _MORE.items():
            if part in group:
                adata.var[column] = group[part].asstr()[:]
    return adata
