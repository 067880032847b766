"""Rows of a matrix that stays on disk, read in the order in which training wants them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse as sp


def in_memory(matrix: Any) -> bool:
    """Tell whether a matrix is one of SciPy's or NumPy's, not something that reads from disk when indexed."""
    return sp.issparse(matrix) or isinstance(matrix, np.ndarray)


class RowReader:
    """Reads batches of rows, and the next ones while the present batch is in use.

    One thread reads; what it has not been told of beforehand is read on the spot. So the batches are the same
    whatever is read ahead, and a training may be resumed anywhere.

    Parameters
    ----------
    matrix
        n_cells × n_genes; indexed with ascending rows or a slice, it returns these rows as an array or a
        sparse matrix, or something with a ``compute`` that does: AnnData's ``X`` of a backed ``.h5ad`` or of
        a Zarr store. Best is an ``.h5ad`` without compression, of which less than whole chunks can be read.
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = _Hdf5Rows(matrix) if _is_hdf5_csr(matrix) else matrix
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="activa-rows")
        self._ahead: dict[bytes, Future[sp.csr_matrix]] = {}

    def read(self, rows: np.ndarray, *, ahead: Iterable[np.ndarray] = ()) -> sp.csr_matrix:
        """Return rows in the order given, as CSR float32.

        Parameters
        ----------
        rows
            Their numbers, each once.
        ahead
            What is likely to be asked for next; what was to be read ahead and is not named again is dropped.

        Raises
        ------
        Exception
            Whatever reading them raised, ahead or now.
        """
        waiting, self._ahead, key = self._ahead, {}, rows.tobytes()
        present = waiting.pop(key) if key in waiting else self._thread.submit(self._read, rows)
        for batch in ahead:
            key = batch.tobytes()
            self._ahead[key] = waiting.pop(key) if key in waiting else self._thread.submit(self._read, batch)
        for dropped in waiting.values():
            dropped.cancel()
        return present.result()

    def close(self) -> None:
        """End the thread; what it was to read is dropped."""
        self._thread.shutdown(cancel_futures=True)

    def _read(self, rows: np.ndarray) -> sp.csr_matrix:
        ascending = np.sort(rows)
        first, last = int(ascending[0]), int(ascending[-1])
        contiguous = last - first + 1 == len(rows)
        found = self._matrix[slice(first, last + 1) if contiguous else ascending]
        matrix = sp.csr_matrix(found.compute() if hasattr(found, "compute") else found, dtype=np.float32)
        return matrix if np.array_equal(rows, ascending) else matrix[np.searchsorted(ascending, rows)]


def _is_hdf5_csr(matrix: Any) -> bool:
    """Tell whether a matrix is AnnData's view of a CSR group in an HDF5 file."""
    group = getattr(matrix, "group", None)
    return getattr(matrix, "format", None) == "csr" and type(group).__module__.startswith("h5py.")


class _Hdf5Rows:
    """Rows of a CSR group in a third of the time that AnnData takes, or less: its grows with all rows.

    It counts twice: HDF5 keeps the interpreter's lock, which the training beside it needs.
    """

    def __init__(self, matrix: Any) -> None:
        group = matrix.group
        self._shape = matrix.shape
        self._pointers = group["indptr"][:]
        self._columns, self._values = group["indices"], group["data"]

    def __getitem__(self, rows: np.ndarray | slice) -> sp.csr_matrix:
        ascending = np.r_[rows]
        runs = np.split(ascending, np.flatnonzero(np.diff(ascending) > 1) + 1)
        parts = [slice(int(self._pointers[run[0]]), int(self._pointers[run[-1] + 1])) for run in runs]
        values = np.concatenate([self._values[part] for part in parts])
        columns = np.concatenate([self._columns[part] for part in parts])
        lengths = self._pointers[ascending + 1] - self._pointers[ascending]
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        return sp.csr_matrix((values, columns, pointers), shape=(len(ascending), self._shape[1]))
