"""Latent vectors to cells and the conditioner's calls, block by block, on all cores or on the GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from models.activa.batchnorm import hidden_by_own_statistics
from models.activa.conditioner import ACTINN
from models.activa.networks import Networks
from models.activa.sparsify import SparseRows, cut_off_negative, sparsify
from models.activa.wide import product_type, rows_on_lines, whole_rows

DRAW_SIZE: Final = 1024
"""Cells decoded at once: bounds the dense intermediate whatever is asked for."""
_MOST_WORKERS: Final = 8
"""Blocks in work at once: bounds the memory on a machine of many cores."""

Choice = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Which cells of a block to make sparse: their calls and confidence in, rows out."""


class Block(NamedTuple):
    """Cells decoded together, on the host.

    Attributes
    ----------
    calls, confidence
        The conditioner's call of each cell and its softmax probability.
    rows
        Rows of the cells that were made sparse.
    sparse
        Values of these cells.
    """

    calls: np.ndarray
    confidence: np.ndarray
    rows: np.ndarray
    sparse: SparseRows


class BlockDecoder:
    """The networks made ready to decode many blocks: wide weights cast once, memory used again.

    On the CPU each of several threads decodes a block of its own on one core, because the search for what is
    not zero runs on one. On a GPU two threads take turns: one's copy runs while the other decodes. Where
    nearly all the time goes into products that all cores share well (fp32 on the CPU, few cells made sparse),
    a block at a time takes them all, and none is decoded that nobody asks for.

    With ``precision="bf16"`` the decoder and the conditioner's first layer multiply in bf16; what the
    conditioner makes of that, down to its calls, is fp32.

    Parameters
    ----------
    networks
        Trained networks in eval mode. Their weights must not change as long as this is in use.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        last, device = networks.decoder.output[0], networks.device
        assert isinstance(last, nn.Linear)
        self._dtype = product_type(networks.settings.precision, weights=last.weight.dtype, device=device)
        self._last = self._cast(last)
        if isinstance(networks.conditioner, ACTINN):
            first, *rest = networks.conditioner
            assert isinstance(first, nn.Linear)
            self._first, self._rest = self._cast(first), nn.Sequential(*rest)
        self._places: deque[_Place] = deque()

    def _cast(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        return layer.weight.detach().to(self._dtype), layer.bias.detach().to(self._dtype)

    def blocks(self, n_cells: int, *, seed: int, choice: Choice, most_rejected: bool) -> Iterator[Block]:
        """Draw z ~ N(0, I) and decode it, block by block and in order, a few blocks being in work at a time.

        Parameters
        ----------
        n_cells
            Largest number of cells; whoever stops earlier has a few blocks decoded in vain.
        seed
            Seed of the draws.
        choice
            Function that selects the cells to make sparse; called once for each block, for several at a time.
        most_rejected
            Whether few cells will be selected, and maybe not all blocks taken.
        """
        if most_rejected and self.networks.device.type == "cpu" and self._dtype != torch.bfloat16:
            for latent, size in self._latents(n_cells, seed=seed):
                yield self._decode(latent, size, choice, None)
            return
        waiting: deque[Future[Block]] = deque()
        device = self.networks.device
        caller = torch.cuda.current_stream(device) if device.type == "cuda" else None
        with self._workers(-(-n_cells // DRAW_SIZE)) as (pool, n_workers):
            for latent, size in self._latents(n_cells, seed=seed):
                waiting.append(pool.submit(self._decode, latent, size, choice, caller))
                if len(waiting) > n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _latents(self, n_cells: int, *, seed: int) -> Iterator[tuple[Tensor, int]]:
        settings, device = self.networks.settings, self.networks.device
        generator = torch.Generator(device).manual_seed(seed)
        for start in range(0, n_cells, DRAW_SIZE):
            size = min(DRAW_SIZE, n_cells - start)
            # A batch that is its own yardstick must not depend on how many cells happen to be left.
            n_latent = DRAW_SIZE if settings.sampling_norm == "batch" else size
            yield torch.randn((n_latent, settings.latent_dim), generator=generator, device=device), size

    @contextmanager
    def _workers(self, n_blocks: int) -> Iterator[tuple[ThreadPoolExecutor, int]]:
        n_threads = torch.get_num_threads()
        most = min(n_threads, _MOST_WORKERS) if self.networks.device.type == "cpu" else 2
        n_workers = min(n_blocks, most)
        each = max(1, n_threads // n_workers)
        pool = ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(each,))
        try:
            yield pool, n_workers
        finally:
            pool.shutdown(cancel_futures=True)
            # A thread's number is its own, but threads that are started later begin with the last one set.
            torch.set_num_threads(n_threads)

    @torch.inference_mode()
    def _decode(self, latent: Tensor, size: int, choice: Choice, caller: torch.cuda.Stream | None) -> Block:
        place = self._places.pop() if self._places else self._new_place()
        with place.after(caller):
            cells = self._cells(latent, place.room)[:size]
            confidence, calls = (part.cpu().numpy() for part in self._logits(cells).softmax(dim=1).max(dim=1))
            rows = choice(calls, confidence)
            chosen = whole_rows(cells)
            if len(rows) < size:
                chosen = chosen[torch.from_numpy(rows).to(cells.device)]
            block = Block(calls, confidence, rows, sparsify(chosen))
        self._places.append(place)
        return block

    def _cells(self, latent: Tensor, room: Tensor) -> Tensor:
        decoder = self.networks.decoder
        own_statistics = self.networks.settings.sampling_norm == "batch"
        # Without the cache of cast weights, which threads on different streams would share.
        with torch.autocast(
            latent.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16, cache_enabled=False
        ):
            hidden = hidden_by_own_statistics(decoder, latent) if own_statistics else decoder.hidden(latent)
        weight, bias = self._last
        cells = room[: len(latent)]
        torch.addmm(bias, hidden.to(self._dtype), weight.t(), out=cells)
        cut_off_negative(whole_rows(cells))
        return cells

    def _logits(self, cells: Tensor) -> Tensor:
        if isinstance(self.networks.conditioner, ACTINN):
            return self._rest(linear(cells, *self._first).float())
        return self.networks.conditioner(cells.float())

    def _new_place(self) -> _Place:
        shape, device = (DRAW_SIZE, self.networks.n_genes), self.networks.device
        room = rows_on_lines(shape, dtype=self._dtype, device=device)
        return _Place(room, torch.cuda.Stream(device) if device.type == "cuda" else None)


class _Place(NamedTuple):
    """Where one block at a time is decoded: room for its cells, and on a GPU a stream of its own."""

    room: Tensor
    stream: torch.cuda.Stream | None

    def after(self, caller: torch.cuda.Stream | None) -> AbstractContextManager[None]:
        """Work beside other threads on the GPU, after what the caller's stream was given so far."""
        if self.stream is None or caller is None:
            return nullcontext()
        self.stream.wait_stream(caller)
        return torch.cuda.stream(self.stream)
