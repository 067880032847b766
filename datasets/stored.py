"""Prepared cells on disk: written whole or piece by piece, opened without reading their matrices.

The file is an ordinary ``.h5ad``. Its matrices lie in it in one piece each, not compressed: every Job reads
it, which is five times faster so, and single rows can be read past HDF5 (`models.streaming`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from datasets.cache import try_space
from datasets.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

ROWS_AT_ONCE = 8192
MATRICES = {"X": "X", "counts": "layers/counts"}
"""Where in the file the matrices are that all prepared cells have."""


class CellWriter:
    """Writes an ``.h5ad`` of cells that need never be in memory together.

    Use it as a context; `append` the cells in their order, then `annotate` them.

    Parameters
    ----------
    path
        File to write; an existing one is replaced.
    n_values
        Number of non-zero values in each of the two matrices.
    n_genes
        Number of genes.
    """

    def __init__(self, path: Path, *, n_values: int, n_genes: int) -> None:
        self._path, self._n_values, self._n_genes = path, n_values, n_genes
        self._lengths: list[np.ndarray] = []
        self._filled = 0

    def __enter__(self) -> Self:
        import h5py

        self._file = h5py.File(self._path, "w")
        self._file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for place in MATRICES.values():
            group = self._file.create_group(place)
            group.create_dataset("data", self._n_values, np.float32)
            group.create_dataset("indices", self._n_values, np.int32)
        return self

    def __exit__(self, *_ending: object) -> None:
        self._file.close()

    def append(self, *, X: csr_matrix, counts: csr_matrix) -> None:
        """Write further cells; both matrices hold the same values' places, n_cells × n_genes."""
        stop = self._filled + counts.nnz
        for place, matrix in zip(MATRICES.values(), (X, counts), strict=True):
            self._file[f"{place}/data"][self._filled : stop] = matrix.data
            self._file[f"{place}/indices"][self._filled : stop] = matrix.indices
        self._lengths.append(np.diff(counts.indptr))
        self._filled = stop

    def annotate(self, *, obs: pd.DataFrame, var: pd.DataFrame, uns: dict[str, Any]) -> None:
        """Write what there is to know of all cells, and so complete the file."""
        from anndata.io import write_elem

        if self._filled != self._n_values:
            raise ValueError(f"{self._filled} of {self._n_values} values were written")
        starts = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths), dtype=np.int64)])
        narrow = self._n_values <= np.iinfo(np.int32).max
        for place in MATRICES.values():
            group = self._file[place]
            group.create_dataset("indptr", data=starts.astype(np.int32 if narrow else np.int64))
            shape = np.array([len(starts) - 1, self._n_genes])
            group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        self._file["layers"].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        for name, part in {"obs": obs, "var": var, "uns": uns}.items():
            write_elem(self._file, name, part)


def write_cells(adata: AnnData, path: Path) -> None:
    """Write prepared cells that are in memory: byte for byte what `CellWriter` makes of their pieces."""
    with CellWriter(path, n_values=adata.X.nnz, n_genes=adata.n_vars) as writer:
        writer.append(X=adata.X, counts=adata.layers["counts"])
        writer.annotate(obs=adata.obs, var=adata.var, uns=dict(adata.uns))


@contextmanager
def opened(path: Path) -> Iterator[AnnData]:
    """Give prepared cells whose matrices stay on disk: AnnData's sparse data sets, read where indexed."""
    import h5py
    from anndata import AnnData
    from anndata.io import read_elem, sparse_dataset

    with h5py.File(path) as file:
        parts = {name: read_elem(file[name]) for name in ("obs", "var", "uns")}
        matrices = {name: sparse_dataset(file[place]) for name, place in MATRICES.items()}
        yield AnnData(matrices["X"], layers={"counts": matrices["counts"]}, **parts)


def copy_cells(cells: AnnData, rows: np.ndarray, path: Path) -> None:
    """Write some of the cells that `opened` gave into a file of their own.

    Parameters
    ----------
    cells
        The cells with their matrices on disk.
    rows
        Boolean for each cell: whether it is written.
    path
        The file to write.

    Raises
    ------
    OSError
        If the disk is full.
    """
    n_values = int(np.diff(cells.layers["counts"].group["indptr"][:])[rows].sum())
    # A full disk crashes the process inside HDF5, too late for any error: look before it starts.
    try_space(path.parent, 16 * n_values + 100 * sum(cells.shape) + 1_000_000)
    with CellWriter(path, n_values=n_values, n_genes=cells.n_vars) as writer:
        for start in range(0, cells.n_obs, ROWS_AT_ONCE):
            piece = slice(start, start + ROWS_AT_ONCE)
            kept = np.flatnonzero(rows[piece])
            writer.append(X=cells.X[piece][kept], counts=cells.layers["counts"][piece][kept])
        obs = cells.obs[rows].copy()
        for name in obs.select_dtypes("category"):
            # No category that none of these cells has: as in AnnData's own copies.
            obs[name] = obs[name].cat.remove_unused_categories()
        writer.annotate(obs=obs, var=cells.var, uns=dict(cells.uns))


def rows_of(cells: AnnData, rows: np.ndarray) -> csr_matrix:
    """Return the counts of some of the cells that `opened` gave, n_rows × n_genes, float32.

    Parameters
    ----------
    cells
        The cells with their matrices on disk.
    rows
        Indices of the cells, in ascending order.
    """
    from scipy.sparse import csr_matrix, vstack

    counts = cells.layers["counts"]
    starts = np.unique(rows // ROWS_AT_ONCE) * ROWS_AT_ONCE
    parts = [
        counts[start : start + ROWS_AT_ONCE][rows[rows // ROWS_AT_ONCE == start // ROWS_AT_ONCE] - start]
        for start in starts.tolist()
    ]
    return csr_matrix(vstack(parts, format="csr"), dtype=np.float32)


@contextmanager
def store_of(path: Path) -> Iterator[Any]:
    """Give the group of an ``.h5ad`` or of a Zarr store, for reading.

    Raises
    ------
    DatasetError
        If a matrix of a Zarr store lacks some of its chunks, which would be read as zeros.
    """
    import h5py

    if path.is_dir():
        import zarr

        store = zarr.open_group(path, mode="r")
        for part in ("X", "layers", "raw"):
            if part in store:
                _require_whole(store[part], f"{path}: {part}")
        yield store
    else:
        with h5py.File(path) as file:
            yield file


def _require_whole(item: Any, name: str) -> None:
    """Raise a DatasetError if an array of a Zarr store, or one within a group, lacks some of its chunks."""
    if not hasattr(item, "shape"):
        for part in item:
            # Zarr does not write a chunk of zeros, which no chunk of a sparse matrix of counts is.
            if part != "var":
                _require_whole(item[part], f"{name}/{part}")
    elif item.shape and item.nchunks_initialized < item.nchunks:
        missing = item.nchunks - item.nchunks_initialized
        raise DatasetError(
            f"{name} lacks {missing} of its {item.nchunks} chunks, which would be read as zeros: copy the "
            "store again, or, if they are zeros, write the matrix as CSR"
        )


def bytes_in_memory(store: Any) -> int:
    """Return what the matrices of an opened store take in memory."""
    return sum(_bytes_of(store[part]) for part in ("X", "layers", "raw") if part in store)


def _bytes_of(item: Any) -> int:
    return int(item.nbytes) if hasattr(item, "shape") else sum(_bytes_of(item[name]) for name in item)
