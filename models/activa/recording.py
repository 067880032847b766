"""Steps on a GPU: recorded once as a CUDA graph, then replayed without launching kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from models.activa.objective import Batch
from models.base import Monitor

Step = Callable[[Batch], dict[str, Tensor]]
EAGER_STEPS: Final = 3
"""Before the recording: in them Adam makes its moments and the libraries their workspaces."""


class RecordedStep:
    """A step that is replayed from a CUDA graph.

    The first steps are done as they come, on a stream of their own, and train like any other; recording
    itself computes nothing. Nothing is recorded of a batch of another size, the last of an epoch. A step may
    not read a value from the device nor let a shape depend on one; what it draws must come in its batch.

    Parameters
    ----------
    step
        Function that updates the networks with a batch and returns the terms of the losses.
    batch_size
        Cells of the batches that are recorded.
    device
        The GPU that the networks are on.
    monitor
        Monitor that is told the time of the recording as phase ``compile``.
    """

    def __init__(self, step: Step, *, batch_size: int, device: torch.device, monitor: Monitor) -> None:
        self._step = step
        self._batch_size = batch_size
        self._monitor = monitor
        self._eager_left = EAGER_STEPS
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Batch
        self._terms: dict[str, Tensor]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Do the step; the terms are valid until the next call."""
        if len(batch.cells) != self._batch_size:
            return self._step(batch)
        with torch.cuda.device(self._device):
            return self._replayed(batch)

    def _replayed(self, batch: Batch) -> dict[str, Tensor]:
        if self._eager_left:
            self._eager_left -= 1
            return self._aside(batch)
        if self._graph is None:
            with self._monitor.phase("compile"):
                self._graph = self._record(batch)
        for place, values in zip(self._inputs, batch, strict=True):
            place.copy_(values)
        self._graph.replay()
        return self._terms

    def _aside(self, batch: Batch) -> dict[str, Tensor]:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            terms = self._step(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return terms

    def _record(self, batch: Batch) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        self._inputs = Batch(*(values.clone() for values in batch))
        # Other threads may be fetching cells meanwhile; what they ask of the GPU has no part in this.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._terms = self._step(self._inputs)
        return graph
