"""Which training cells a batch holds, and how they become dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from scipy import sparse

from models.streaming import RowReader, in_memory


class CellStream:
    """An endless line of training cells: one shuffled pass over all of them after the other.

    Any stretch of the line follows from its position and the seed alone, so an interrupted
    training finds its place again without stored state.

    Parameters
    ----------
    n_cells
        Number of training cells.
    seed
        Seed of the order of every pass.
    """

    def __init__(self, n_cells: int, *, seed: int) -> None:
        self.n_cells, self.seed = n_cells, seed
        self._passes: dict[int, np.ndarray] = {}

    def rows(self, start: int, count: int) -> np.ndarray:
        """Return the row indices at positions start … start + count − 1."""
        positions = np.arange(start, start + count)
        numbers, places = np.divmod(positions, self.n_cells)
        needed = range(int(numbers[0]), int(numbers[-1]) + 1)
        self._passes = {number: self._order(number) for number in needed}
        return np.array([self._passes[n][i] for n, i in zip(numbers.tolist(), places, strict=True)])

    def _order(self, number: int) -> np.ndarray:
        """Return the order of one pass."""
        if number in self._passes:
            return self._passes[number]
        return np.random.default_rng([self.seed, number]).permutation(self.n_cells)


class DeviceCells:
    """Training cells kept on the device as CSR; a batch is made dense inside the graph.

    A dense copy of 68 000 × 18 000 cells would take 4.9 GB, and dense batches made on the host
    would have to travel at every step. Here a step receives row numbers only.

    Parameters
    ----------
    cells
        n_cells × n_genes.
    types
        Cell type of each row, as a number.
    """

    def __init__(self, cells: sparse.csr_matrix, types: np.ndarray) -> None:
        if not cells.has_canonical_format:
            # Entries given twice add up in SciPy, while making them dense here would keep one of them.
            cells = cells.copy()
            cells.sum_duplicates()
        self.n_genes = cells.shape[1]
        # 64 bits because TensorFlow keeps 32-bit integers in the host's memory.
        self._row_starts = tf.constant(cells.indptr, tf.int64)
        self._columns = tf.constant(cells.indices, tf.int64)
        self._values = tf.constant(cells.data, tf.float32)
        self._types = tf.constant(types, tf.int64)

    def batch(self, rows: Any) -> tuple[Any, Any]:
        """Return the cells of `rows`, dense, and their types."""
        starts = tf.gather(self._row_starts, rows)
        lengths = tf.gather(self._row_starts, rows + 1) - starts
        ends = tf.cumsum(lengths)
        n_rows = tf.size(rows, out_type=tf.int64)
        batch_rows = tf.repeat(tf.range(n_rows), lengths)
        entries = tf.range(ends[-1]) + tf.repeat(starts + lengths - ends, lengths)
        dense = tf.sparse.to_dense(
            tf.SparseTensor(
                tf.stack([batch_rows, tf.gather(self._columns, entries)], axis=1),
                tf.gather(self._values, entries),
                [n_rows, self.n_genes],
            ),
            validate_indices=False,
        )
        return tf.ensure_shape(dense, [None, self.n_genes]), tf.gather(self._types, rows)

    def announce(self, batches: np.ndarray) -> None:
        """Be told which batches come next: they are here already."""

    def close(self) -> None:
        """There is nothing to close."""


class StoredCells:
    """Training cells that stay on disk: a batch is read, and made dense, on the host.

    Parameters
    ----------
    cells
        n_cells × n_genes, as `models.streaming.RowReader` reads them.
    types
        Cell type of each row, as a number.
    """

    def __init__(self, cells: Any, types: np.ndarray) -> None:
        self.n_genes = cells.shape[1]
        self._reader = RowReader(cells)
        self._types = tf.constant(types, tf.int64)
        self._coming: list[np.ndarray] = []

    def announce(self, batches: np.ndarray) -> None:
        """Be told which batches come next, in this order: each is read while the one before is in use."""
        self._coming = [np.unique(rows) for rows in batches]

    def batch(self, rows: Any) -> tuple[Any, Any]:
        """Return the cells of `rows`, dense, and their types."""
        dense = tf.numpy_function(self._read, [rows], tf.float32)
        return tf.ensure_shape(dense, [None, self.n_genes]), tf.gather(self._types, rows)

    def close(self) -> None:
        """Read nothing ahead any more."""
        self._reader.close()

    def _read(self, rows: np.ndarray) -> np.ndarray:
        # Where one pass ends and the next begins, a batch may hold a cell twice.
        wanted, places = np.unique(rows, return_inverse=True)
        if self._coming and np.array_equal(self._coming[0], wanted):
            del self._coming[0]
        return self._reader.read(wanted, ahead=self._coming[:1])[places].toarray()


def training_cells(cells: Any, types: np.ndarray) -> DeviceCells | StoredCells:
    """Return training cells as batches, from the device if they are in memory, else from disk."""
    if in_memory(cells):
        return DeviceCells(sparse.csr_matrix(cells, dtype=np.float32), types)
    return StoredCells(cells, types)
