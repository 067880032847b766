"""Dense blocks of cells made sparse, on the device they lie on.

Only a small share of a block is not zero, and what finds it decides how fast cells can be drawn: PyTorch's
and SciPy's own conversions take longer than the arithmetic that made the block.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

_PIECE_ROWS: Final = 64
"""Rows made sparse at once on the CPU: the intermediates of a piece fit into a core's cache."""
_SPARE: Final = 1.02
"""Room kept for values, over what the rows so far make one expect."""
_LARGEST_INT32: Final = 2**31 - 1


class SparseRows(NamedTuple):
    """Rows of a CSR matrix on the host.

    Attributes
    ----------
    columns
        Columns of the values that are not zero, row by row in ascending order, int32.
    values
        Values that are not zero, float32.
    ends
        Number of values up to the end of each row, n_rows, int64.
    """

    columns: np.ndarray
    values: np.ndarray
    ends: np.ndarray

    def to_csr(self, n_columns: int) -> sp.csr_matrix:
        """Return the rows as a matrix."""
        starts = np.concatenate([[0], self.ends])
        pointers = starts.astype(np.int32) if starts[-1] <= _LARGEST_INT32 else starts
        shape = (len(self.ends), n_columns)
        matrix = sp.csr_matrix((self.values, self.columns, pointers), shape=shape)
        matrix.has_canonical_format = True
        return matrix


def sparsify(block: Tensor) -> SparseRows:
    """Return what is not zero in a block of non-negative values.

    Parameters
    ----------
    block
        n_rows × n_columns, contiguous, bf16 or float32, on any device. From a GPU only the result is copied.
    """
    if block.device.type == "cuda":
        return _sparsify_on_gpu(block)
    bits = block.view(_whole_numbers(block.dtype)).numpy()
    starts = range(0, max(1, len(bits)), _PIECE_ROWS)
    pieces = [_sparsify_piece(bits[start : start + _PIECE_ROWS]) for start in starts]
    before = np.cumsum([0, *(len(piece.values) for piece in pieces)])
    return SparseRows(
        np.concatenate([piece.columns for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
        np.concatenate([piece.ends + start for piece, start in zip(pieces, before[:-1], strict=True)]),
    )


def cut_off_negative(block: Tensor) -> Tensor:
    """Apply ReLU in place.

    The first bit of a floating-point number is its sign, so its bits read as a whole number are below zero
    when it is; whole numbers are compared in a quarter of the time of bf16.
    """
    block.view(_whole_numbers(block.dtype)).clamp_min_(0)
    return block


def _whole_numbers(dtype: torch.dtype) -> torch.dtype:
    return {torch.bfloat16: torch.int16, torch.float32: torch.int32}[dtype]


def _sparsify_piece(bits: np.ndarray) -> SparseRows:
    """Search groups of eight bytes first, then the values of those that are not all zero."""
    n_rows, n_columns = bits.shape
    size = 8 // bits.itemsize
    flat = bits.reshape(-1)
    if missing := -flat.size % size:
        flat = np.concatenate([flat, np.zeros(missing, dtype=bits.dtype)])
    groups = np.flatnonzero(flat.view(np.uint64) != 0)
    kept = flat.reshape(-1, size).take(groups, axis=0).reshape(-1)
    places = np.flatnonzero(kept != 0)
    columns = _columns(len(flat) // size, size, n_columns).take(groups, axis=0).reshape(-1).take(places)
    # A row may end within a group: then what the group holds before that end still belongs to it.
    end_groups, inside = np.divmod(np.arange(1, n_rows + 1) * n_columns, size)
    at = np.searchsorted(groups, end_groups)
    found = np.append(groups, -1)[at] == end_groups
    return SparseRows(
        columns, _as_float32(kept.take(places)), np.searchsorted(places, size * at + inside * found)
    )


@lru_cache(maxsize=4)
def _columns(n_groups: int, size: int, n_columns: int) -> np.ndarray:
    """Column of every value of a flat piece, group by group."""
    return (np.arange(n_groups * size) % n_columns).astype(np.int32).reshape(n_groups, size)


def _as_float32(bits: np.ndarray) -> np.ndarray:
    """Read bits as bf16, which is the upper half of a float32, or as float32."""
    if bits.itemsize == 2:
        bits = bits.view(np.uint16).astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32)


def _sparsify_on_gpu(block: Tensor) -> SparseRows:
    n_rows, n_columns = block.shape
    flat = block.view(-1)
    places = flat.nonzero().squeeze(1)
    row_ends = torch.arange(1, n_rows + 1, device=block.device) * n_columns
    parts = [
        (places % n_columns).to(torch.int32),
        flat[places].to(torch.float32),
        torch.searchsorted(places, row_ends),
    ]
    # PyTorch copies without blocking into pinned memory, which it keeps for the next block.
    host = [part.to("cpu", non_blocking=True) for part in parts]
    torch.cuda.current_stream(block.device).synchronize()
    return SparseRows(*(part.numpy() for part in host))


class CsrBuilder:
    """A CSR matrix that grows by blocks of rows and never holds its values twice.

    Parameters
    ----------
    n_rows, n_columns
        Numbers of rows and columns of the whole matrix.
    """

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self._n_rows, self._n_columns = n_rows, n_columns
        self._columns = np.empty(0, dtype=np.int32)
        self._values = np.empty(0, dtype=np.float32)
        self._ends: list[np.ndarray] = []
        self._rows_done = self._used = 0

    def append(self, rows: SparseRows) -> None:
        """Add rows at the end."""
        end = self._used + len(rows.values)
        self._rows_done += len(rows.ends)
        if end > len(self._values):
            self._make_room(int(end * max(1.0, _SPARE * self._n_rows / self._rows_done)))
        # By PyTorch, whose threads share the work: the system has to find the memory as it is written to.
        torch.from_numpy(self._columns[self._used : end]).copy_(torch.from_numpy(rows.columns))
        torch.from_numpy(self._values[self._used : end]).copy_(torch.from_numpy(rows.values))
        self._ends.append(rows.ends + self._used)
        self._used = end

    def matrix(self) -> sp.csr_matrix:
        """Return the matrix; the builder is used up."""
        for array in (self._columns, self._values):
            array.resize(self._used, refcheck=False)
        return SparseRows(self._columns, self._values, np.concatenate(self._ends)).to_csr(self._n_columns)

    def _make_room(self, n_values: int) -> None:
        if not self._used:
            # Pages that are never written to take no memory, and need not be cleared.
            self._columns = np.empty(n_values, dtype=np.int32)
            self._values = np.empty(n_values, dtype=np.float32)
        else:
            # The system moves large arrays without copying them.
            for array in (self._columns, self._values):
                array.resize(n_values, refcheck=False)
