"""Small cells, and files in the formats of 10x."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import io as scipy_io
from scipy import sparse


def make_cells(n_cells: int = 90, n_genes: int = 60, n_types: int = 3, seed: int = 0) -> AnnData:
    """Poisson counts of well separated types of equal size; every gene and cell passes the filters."""
    rng = np.random.default_rng(seed)
    types = np.arange(n_cells) % n_types
    rates = np.full((n_types, n_genes), 2.0)
    for number in range(n_types):
        rates[number, number::n_types] = 8.0
    return AnnData(
        sparse.csr_matrix(rng.poisson(rates[types]).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "cell_type": [f"type {number}" for number in types],
                "donor": [f"d{n // 10}" for n in range(n_cells)],
            },
            index=[f"cell{number}-1" for number in range(n_cells)],
        ),
        var=pd.DataFrame(index=[f"gene{number}" for number in range(n_genes)]),
    )


def write_10x_v2(path: Path, adata: AnnData, *, genome: str = "mm10", mode: str = "w") -> Path:
    """Write the layout of Cell Ranger 1 and 2: a group per genome, genes × cells as CSC."""
    counts = sparse.csr_matrix(adata.X)
    with h5py.File(path, mode) as file:
        group = file.create_group(genome)
        group["barcodes"] = adata.obs_names.to_numpy(dtype="S")
        group["gene_names"] = adata.var_names.to_numpy(dtype="S")
        group["genes"] = np.array([f"ENS{n}" for n in range(adata.n_vars)], dtype="S")
        group["data"], group["indices"], group["indptr"] = (
            counts.data.astype(np.int32),
            counts.indices,
            counts.indptr,
        )
        group["shape"] = np.array([adata.n_vars, adata.n_obs])
    return path


def write_10x_v3(path: Path, adata: AnnData, *, types: Sequence[str] = (), facts: bool = True) -> Path:
    """Write the layout of Cell Ranger 3 and later; without `facts`, no types and no genomes of features."""
    types = types or ["Gene Expression"] * adata.n_vars
    counts = sparse.csr_matrix(adata.X)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = adata.obs_names.to_numpy(dtype="S")
        group["data"], group["indices"], group["indptr"] = (
            counts.data.astype(np.int32),
            counts.indices,
            counts.indptr,
        )
        group["shape"] = np.array([adata.n_vars, adata.n_obs])
        features = group.create_group("features")
        features["name"] = adata.var_names.to_numpy(dtype="S")
        features["id"] = np.array([f"ENS{n}" for n in range(adata.n_vars)], dtype="S")
        if facts:
            features["feature_type"] = np.array(types, dtype="S")
            features["genome"] = np.array(["mm10"] * adata.n_vars, dtype="S")
    return path


def write_mtx_folder(
    folder: Path, adata: AnnData, *, compressed: bool, legacy: bool | None = None, types: Sequence[str] = ()
) -> Path:
    """Write matrix, genes and barcodes as Cell Ranger 1 (plain, legacy names) or 3 (compressed) does."""
    legacy = not compressed if legacy is None else legacy
    types = types or ["Gene Expression"] * adata.n_vars
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    scipy_io.mmwrite(buffer, sparse.coo_matrix(adata.X.T.astype(np.int32)))
    rows = [f"ENS{n}\t{name}" for n, name in enumerate(adata.var_names)]
    if not legacy:
        rows = [f"{row}\t{kind}" for row, kind in zip(rows, types, strict=True)]
    genes = "".join(f"{row}\n" for row in rows)
    barcodes = "".join(f"{name}\n" for name in adata.obs_names)
    names = ("matrix.mtx", "genes.tsv" if legacy else "features.tsv", "barcodes.tsv")
    for name, content in zip(names, (buffer.getvalue(), genes.encode(), barcodes.encode()), strict=True):
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, folder: Path) -> Path:
    """Pack an mtx folder, and the folder that it lies in, like the download of 68K PBMC."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder.parent, arcname=f"./{folder.parent.name}")
    return path


def files_below(folder: Path) -> list[str]:
    """Names of all files, hidden ones too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
