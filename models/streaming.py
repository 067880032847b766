"""Rows of a matrix that stays on disk: in the order in which training wants them, or all in pieces."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

PIECE: Final = 8192
"""Rows that are read at once where all are wanted."""
THREADS: Final = 4
"""As many batches as training reads ahead, and the one that it waits for."""


def in_memory(matrix: Any) -> bool:
    """Tell whether a matrix is one of SciPy's or NumPy's, not something that reads from disk when indexed."""
    return sp.issparse(matrix) or isinstance(matrix, np.ndarray)


def pieces(matrix: Any) -> Iterator[tuple[slice, sp.csr_matrix]]:
    """Yield all rows, in their order, as CSR float32: at once if they are in memory, else `PIECE` at a time.

    Parameters
    ----------
    matrix
        Matrix in memory, or on disk as `RowReader` takes it.
    """
    if in_memory(matrix):
        yield slice(0, matrix.shape[0]), sp.csr_matrix(matrix, dtype=np.float32)
        return
    stored = _fastest(matrix)
    for start in range(0, matrix.shape[0], PIECE):
        rows = slice(start, min(start + PIECE, matrix.shape[0]))
        yield rows, _as_csr(stored[rows])


def some_rows(matrix: Any, rows: NDArray[np.integer]) -> sp.csr_matrix:
    """Return rows, given their ascending numbers, as CSR float32."""
    if in_memory(matrix):
        return sp.csr_matrix(matrix, dtype=np.float32)[rows]
    stored = _fastest(matrix)
    parts = [_as_csr(stored[rows[start : start + PIECE]]) for start in range(0, len(rows), PIECE)]
    return sp.csr_matrix(sp.vstack(parts, format="csr"))


def row_sums(matrix: Any) -> NDArray[np.float64]:
    """Return the sum of each row."""
    # As double precision first: SciPy adds up in the precision of the values.
    sums = [np.asarray(piece.astype(np.float64).sum(axis=1)).ravel() for _, piece in pieces(matrix)]
    return np.concatenate(sums)


def column_sums(matrix: Any) -> NDArray[np.float64]:
    """Return the sum of each column."""
    sums = np.zeros(matrix.shape[1])
    for _, piece in pieces(matrix):
        sums += np.asarray(piece.astype(np.float64).sum(axis=0)).ravel()
    return sums


class RowReader:
    """Reads batches of rows, and the next ones while the present batch is in use.

    What it has not been told of beforehand is read on the spot. So the batches are the same whatever is read
    ahead, and a training may be resumed anywhere. Rows that are read past HDF5 are read by several threads,
    because a disk answers several questions at once; others by one.

    Parameters
    ----------
    matrix
        n_cells × n_genes; indexed with ascending rows or a slice, it returns these rows as an array or a
        sparse matrix, or something with a ``compute`` that does: AnnData's ``X`` of a backed ``.h5ad`` or of
        a Zarr store. Best is an ``.h5ad`` without compression, whose rows are read past HDF5.
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = _fastest(matrix)
        n_threads = THREADS if isinstance(self._matrix, _CsrRows) and self._matrix.is_plain else 1
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="rows-from-disk")
        self._ahead: dict[bytes, Future[sp.csr_matrix]] = {}

    def read(self, rows: np.ndarray, *, ahead: Iterable[np.ndarray] = ()) -> sp.csr_matrix:
        """Return rows in the order given, as CSR float32.

        Parameters
        ----------
        rows
            Numbers of the rows, each once.
        ahead
            Rows that are likely to be asked for next; what was to be read ahead and is not named again is
            dropped.

        Raises
        ------
        Exception
            Whatever reading them raised, ahead or now.
        """
        waiting, self._ahead, key = self._ahead, {}, rows.tobytes()
        present = waiting.pop(key) if key in waiting else self._threads.submit(self._read, rows)
        for batch in ahead:
            key = batch.tobytes()
            self._ahead[key] = waiting.pop(key) if key in waiting else self._threads.submit(self._read, batch)
        for dropped in waiting.values():
            dropped.cancel()
        return present.result()

    def close(self) -> None:
        """End the threads; what they were to read is dropped."""
        self._threads.shutdown(cancel_futures=True)

    def _read(self, rows: np.ndarray) -> sp.csr_matrix:
        ascending = np.sort(rows)
        first, last = int(ascending[0]), int(ascending[-1])
        contiguous = last - first + 1 == len(rows)
        matrix = _as_csr(self._matrix[slice(first, last + 1) if contiguous else ascending])
        return matrix if np.array_equal(rows, ascending) else matrix[np.searchsorted(ascending, rows)]


def _as_csr(found: Any) -> sp.csr_matrix:
    return sp.csr_matrix(found.compute() if hasattr(found, "compute") else found, dtype=np.float32)


def _fastest(matrix: Any) -> Any:
    """Return what reads the same rows soonest: of a CSR group in an HDF5 file, something of ours."""
    group = getattr(matrix, "group", None)
    is_hdf5 = getattr(matrix, "format", None) == "csr" and type(group).__module__.startswith("h5py.")
    return _CsrRows(group, matrix.shape) if is_hdf5 else matrix


class _CsrRows:
    """Rows of a CSR group in an HDF5 file, in a third of the time that AnnData takes, or less."""

    def __init__(self, group: Any, shape: tuple[int, int]) -> None:
        self._shape, self._pointers = shape, group["indptr"][:].astype(np.int64)
        self._values, self._columns = (
            _PlainArray(group[part]) if _lies_plain(group[part]) else _Hdf5Array(group[part])
            for part in ("data", "indices")
        )
        self.is_plain = isinstance(self._values, _PlainArray) and isinstance(self._columns, _PlainArray)

    def __getitem__(self, rows: np.ndarray | slice) -> sp.csr_matrix:
        ascending = np.r_[rows]
        # Neighbours are read at once.
        runs = np.split(ascending, np.flatnonzero(np.diff(ascending) > 1) + 1)
        stretches = [
            (int(self._pointers[run[0]]), int(self._pointers[run[-1] + 1])) for run in runs if len(run)
        ]
        lengths = self._pointers[ascending + 1] - self._pointers[ascending]
        pointers = np.concatenate([[0], np.cumsum(lengths)])
        values, columns = self._values.read(stretches), self._columns.read(stretches)
        return sp.csr_matrix((values, columns, pointers), shape=(len(ascending), self._shape[1]))


class _Hdf5Array:
    """An array as HDF5 reads it."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def read(self, stretches: list[tuple[int, int]]) -> np.ndarray:
        """Return one stretch after the other."""
        return np.concatenate([self._array[:0], *(self._array[start:stop] for start, stop in stretches)])


def _lies_plain(array: Any) -> bool:
    """Tell whether an HDF5 array lies in its file in one piece, just as in memory."""
    whole = not array.external and not array.is_virtual and array.id.get_offset() is not None
    return whole and array.dtype.isnative and not array.file.userblock_size and hasattr(os, "preadv")


class _PlainArray:
    """An array read past HDF5, which takes 0.1 ms for a stretch and keeps the interpreter's lock meanwhile.

    Training beside it needs that lock. The file is not mapped into memory either: all that is read of it
    would count as this process's.
    """

    def __init__(self, array: Any) -> None:
        self._dtype, self._place = array.dtype, array.id.get_offset()
        self._file = os.open(array.file.filename, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def read(self, stretches: list[tuple[int, int]]) -> np.ndarray:
        """Return one stretch after the other."""
        found = np.empty(sum(stop - start for start, stop in stretches), dtype=self._dtype)
        size, rest = self._dtype.itemsize, found.data.cast("B")
        for start, stop in stretches:
            length = (stop - start) * size
            self._fill(rest[:length], self._place + start * size)
            rest = rest[length:]
        return found

    def _fill(self, buffer: memoryview, place: int) -> None:
        # One call gives 2 GiB at most.
        while len(buffer):
            n_bytes = os.preadv(self._file, [buffer], place)
            if not n_bytes:
                raise OSError(f"the file ends before byte {place + len(buffer)}: it was changed or cut off")
            buffer, place = buffer[n_bytes:], place + n_bytes
