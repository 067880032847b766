"""Training cells on the device, and the order in which they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

_DENSE_BYTES_ON_CPU = 2**28
_DENSE_SHARE_OF_GPU = 0.25
_ROWS_AT_ONCE = 1024


class TrainingCells:
    """Rows of a sparse matrix as dense batches on the device.

    A small matrix lies there dense; a large one stays CSR in host memory and the rows of a batch are
    made dense when they are needed.

    Parameters
    ----------
    matrix
        n_cells × n_genes.
    device
        Where batches are wanted.
    """

    def __init__(self, matrix: sp.csr_matrix, *, device: torch.device) -> None:
        self._matrix = matrix
        self._device = device
        self._dense: Tensor | None = None
        if 4 * matrix.shape[0] * matrix.shape[1] <= _dense_limit(device):
            # Filled piece by piece: the host need not hold all cells dense when the GPU does.
            self._dense = torch.empty(matrix.shape, dtype=torch.float32, device=device)
            for start in range(0, len(self), _ROWS_AT_ONCE):
                part = slice(start, start + _ROWS_AT_ONCE)
                self._dense[part] = self._rows(part)

    def __len__(self) -> int:
        return self._matrix.shape[0]

    def batch(self, rows: Tensor) -> Tensor:
        """Return the cells of `rows` (indices on the CPU), float32."""
        if self._dense is not None:
            return self._dense[rows.to(self._device)]
        return self._rows(rows.numpy())

    def _rows(self, rows: np.ndarray | slice) -> Tensor:
        dense = self._matrix[rows].toarray().astype(np.float32, copy=False)
        return torch.from_numpy(dense).to(self._device)


def _dense_limit(device: torch.device) -> float:
    if device.type == "cuda":
        return _DENSE_SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]
    return _DENSE_BYTES_ON_CPU


def batches_per_epoch(n_cells: int, batch_size: int) -> int:
    """Batches in one pass over the cells.

    The last one may be smaller, but a cell left over alone joins the batch before: BatchNorm needs two.
    """
    return max(1, n_cells // batch_size + (n_cells % batch_size > 1))


class BatchOrder:
    """Endless batches of row indices, a fresh permutation each epoch.

    Parameters
    ----------
    n_cells, batch_size
        At least 2 each.
    seed
        Of the permutations.
    """

    def __init__(self, n_cells: int, batch_size: int, *, seed: int) -> None:
        self._n_cells = n_cells
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self._position = 0
        self._start_epoch()

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass over the cells."""
        return batches_per_epoch(self._n_cells, self._batch_size)

    def next(self) -> Tensor:
        """Return the rows of the next batch."""
        if self._position == self.batches_per_epoch:
            self._start_epoch()
        start = self._position * self._batch_size
        self._position += 1
        last = self._position == self.batches_per_epoch
        return self._order[start:] if last else self._order[start : start + self._batch_size]

    def _start_epoch(self) -> None:
        self._epoch_state = self._generator.get_state()
        self._order = torch.randperm(self._n_cells, generator=self._generator)
        self._position = 0

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs: the random state that began this epoch, and the place in it."""
        return {"generator": self._epoch_state, "position": self._position}

    def restore(self, *, generator: Tensor, position: int) -> None:
        """Go on from a `state`."""
        self._generator.set_state(generator)
        self._start_epoch()
        self._position = position
