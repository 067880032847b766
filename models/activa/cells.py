"""Training cells as dense batches on the device, and the order in which they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from models.streaming import RowReader, in_memory

_DENSE_BYTES_ON_CPU: Final = 2**28
_SHARE_OF_GPU: Final = 0.25
"""Of its free memory: what the cells may take there."""
_ROWS_AT_ONCE: Final = 1024
_BATCHES_AHEAD: Final = 3


class TrainingCells:
    """Rows of a matrix as dense batches on the device.

    The cells lie where they fit: dense on the device, as CSR on the device, as CSR in host memory, or on
    disk, whence they are read ahead. In any case a batch is made dense on the device.

    Parameters
    ----------
    matrix
        n_cells × n_genes: CSR, or what `models.streaming.RowReader` reads from.
    device
        Device of the batches.
    """

    def __init__(self, matrix: Any, *, device: torch.device) -> None:
        self.n_cells, self.n_genes = matrix.shape
        self._device = device
        self._dense: Tensor | None = None
        self._csr: _CsrOnDevice | None = None
        self._matrix = matrix
        self._reader = None if in_memory(matrix) else RowReader(matrix)
        if fits_dense(self.n_cells, self.n_genes, device=device):
            # Filled piece by piece: the host need not hold all cells dense when the GPU does.
            self._dense = torch.empty(matrix.shape, dtype=torch.float32, device=device)
            for rows in torch.arange(self.n_cells).split(_ROWS_AT_ONCE):
                self._dense[rows[0] : rows[-1] + 1] = self._from_host(rows, ())
        elif self._reader is None and device.type == "cuda" and _csr_bytes(matrix) <= _room(device):
            self._csr = _CsrOnDevice(matrix, device)

    def __len__(self) -> int:
        return self.n_cells

    def batch(self, rows: Tensor, *, ahead: Iterable[Tensor] = ()) -> Tensor:
        """Return cells, float32.

        Parameters
        ----------
        rows
            Numbers of the cells, on the CPU, each once.
        ahead
            The rows of the next batches, as far as they are known.
        """
        if self._dense is not None:
            return self._dense[on_device(rows, self._device)]
        if self._csr is not None:
            return self._csr.batch(rows)
        return self._from_host(rows, ahead)

    def of_all(self, function: Callable[[Tensor], Tensor], *, batch_size: int) -> Tensor:
        """Return a function of all cells, in their order: n_cells × what it gives of a cell.

        Parameters
        ----------
        function
            Function of a batch of cells that returns a row for each.
        batch_size
            Number of cells that the function is given at once.
        """
        found, batches = torch.empty(0), torch.arange(self.n_cells).split(batch_size)
        for number, rows in enumerate(batches, start=1):
            part = function(self.batch(rows, ahead=batches[number : number + 1]))
            if number == 1:
                # At once: small pieces kept between large ones that come and go tear the memory up.
                found = part.new_empty((self.n_cells, *part.shape[1:]))
            found[rows[0] : rows[-1] + 1] = part
        return found

    def close(self) -> None:
        """Read nothing ahead any more."""
        if self._reader is not None:
            self._reader.close()

    def _from_host(self, rows: Tensor, ahead: Iterable[Tensor]) -> Tensor:
        if self._reader is None:
            cells = self._matrix[rows.numpy()]
        else:
            cells = self._reader.read(rows.numpy(), ahead=[batch.numpy() for batch in ahead])
        return _densify(*_csr_tensors(cells, self._device), self.n_genes)


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy from the CPU to the device; to a GPU without waiting for what it still has to do."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def fits_dense(n_cells: int, n_genes: int, *, device: torch.device) -> bool:
    """Tell whether that many cells are kept dense on the device, wherever they come from."""
    return 4 * n_cells * n_genes <= _room(device)


def _room(device: torch.device) -> float:
    """Bytes that the cells may take on the device."""
    if device.type == "cuda":
        return _SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]
    return _DENSE_BYTES_ON_CPU


def _csr_bytes(matrix: sp.csr_matrix) -> int:
    return 8 * (matrix.nnz + matrix.shape[0] + 1)


def _csr_tensors(matrix: sp.csr_matrix, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return row pointers (int64), columns (int32) and values (float32)."""
    return (
        on_device(torch.from_numpy(matrix.indptr.astype(np.int64)), device),
        on_device(torch.from_numpy(matrix.indices.astype(np.int32, copy=False)), device),
        on_device(torch.from_numpy(matrix.data.astype(np.float32, copy=False)), device),
    )


class _CsrOnDevice:
    """A CSR matrix on the device. Its row pointers stay on the host, too: to ask the device for the size of
    a batch would be to wait for it.
    """

    def __init__(self, matrix: sp.csr_matrix, device: torch.device) -> None:
        self._lengths = torch.from_numpy(np.diff(matrix.indptr).astype(np.int64))
        # Not by way of pinned memory, which would be as large as all cells and is kept.
        parts = _csr_tensors(matrix, torch.device("cpu"))
        self._pointers, self._columns, self._values = (part.to(device) for part in parts)
        self._n_columns = matrix.shape[1]

    def batch(self, rows: Tensor) -> Tensor:
        """Return rows, dense, given their numbers on the CPU."""
        n_values = int(self._lengths[rows].sum())
        rows = on_device(rows, self._pointers.device)
        starts, ends = self._pointers[rows], self._pointers[rows + 1]
        chosen = torch.cat([starts.new_zeros(1), (ends - starts).cumsum(dim=0)])
        places = torch.arange(n_values, device=rows.device)
        places += torch.repeat_interleave(starts - chosen[:-1], ends - starts, output_size=n_values)
        return _densify(chosen, self._columns[places], self._values[places], self._n_columns)


def _densify(pointers: Tensor, columns: Tensor, values: Tensor, n_genes: int) -> Tensor:
    """Make a CSR matrix of few rows dense where it lies."""
    n_cells = len(pointers) - 1
    dense = torch.zeros((n_cells, n_genes), device=values.device)
    row_starts = torch.arange(n_cells, device=values.device) * n_genes
    places = torch.repeat_interleave(row_starts, pointers.diff(), output_size=len(columns))
    dense.view(-1).index_add_(0, places + columns, values)
    return dense


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
        Number of cells, and cells in a batch, at least 2 each.
    seed
        Seed of the permutations.
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
        self._position += 1
        return self._rows(self._position - 1)

    def _rows(self, position: int) -> Tensor:
        start = position * self._batch_size
        last = position == self.batches_per_epoch - 1
        return self._order[start:] if last else self._order[start : start + self._batch_size]

    def upcoming(self) -> list[Tensor]:
        """Return the rows of the next few batches that this epoch still holds; `next` goes on as ever."""
        stop = min(self._position + _BATCHES_AHEAD, self.batches_per_epoch)
        return [self._rows(position) for position in range(self._position, stop)]

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
