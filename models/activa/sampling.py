"""Drawing cells from trained networks, as arrays.

``sampling_norm`` says whose BatchNorm statistics the decoder uses: ``"prior"`` those re-estimated on
draws from the prior after training, ``"eval"`` those that training left, ``"batch"`` those of the
drawn batch, as the authors' tutorial does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
import torch

from models.activa.batchnorm import decode_by_own_statistics
from models.activa.networks import Networks
from models.base import Monitor, SamplingExhausted

DRAW_SIZE: Final = 1024
"""Cells decoded at once: bounds the dense intermediate whatever is asked for."""
LEAST_BOUND: Final = 20_000
"""Draws that are always allowed on demand, however few cells are asked for."""


@dataclass(frozen=True)
class Drawn:
    """Cells and how they came about.

    Attributes
    ----------
    matrix
        n_cells × n_genes, CSR float32, ``cp20k``.
    types
        n_cells codes: the conditioner's call of each cell.
    draws
        Cells that were decoded to get these.
    accepted
        By type code, for the types that were asked for: how many of all draws the conditioner called so
        with enough confidence, returned or not. Empty for a holistic draw.
    """

    matrix: sp.csr_matrix
    types: np.ndarray
    draws: int
    accepted: dict[int, int]

    @property
    def acceptance_rate(self) -> dict[int, float]:
        """Share of the draws that was accepted, by type code."""
        return {code: count / self.draws for code, count in self.accepted.items()}


def sample_cells(networks: Networks, n_cells: int, *, seed: int) -> Drawn:
    """Draw cells holistically: z ~ N(0, I), decoded.

    Parameters
    ----------
    networks
        Trained, in eval mode.
    n_cells
        How many, at least 1.
    seed
        Of the draws.
    """
    blocks, types = [], []
    for cells, calls, _ in _draws(networks, n_cells, seed=seed):
        blocks.append(to_csr(cells))
        types.append(calls)
    return Drawn(sp.vstack(blocks, format="csr"), np.concatenate(types), n_cells, {})


def sample_types(
    networks: Networks,
    wanted: np.ndarray,
    *,
    names: Sequence[str],
    seed: int,
    monitor: Monitor | None = None,
) -> Drawn:
    """Draw holistically and keep the cells of the types asked for, until all are there.

    A cell is of the type that the conditioner calls it with a softmax confidence of at least
    ``confidence_threshold``. At most ``max_draws_per_cell`` draws are made for each cell asked for, and
    20 000 in any case.

    Parameters
    ----------
    networks
        Trained, in eval mode.
    wanted
        One type code for each cell, in the order in which the cells are returned.
    names
        Of the types, by code.
    seed
        Of the draws.
    monitor
        Told the share of the cells found so far.

    Raises
    ------
    SamplingExhausted
        If the bound is reached first; names the type that is missing, its rate and the draws.
    """
    settings = networks.settings
    bound = max(LEAST_BOUND, settings.max_draws_per_cell * len(wanted))
    missing = np.bincount(wanted, minlength=len(names))
    hits = np.zeros(len(names), dtype=np.int64)
    blocks, kept, draws = [], [], 0
    for cells, calls, confidence in _draws(networks, bound, seed=seed):
        draws += len(cells)
        confident = confidence >= settings.confidence_threshold
        hits += np.bincount(calls[confident], minlength=len(names))
        rows = _first_of_each(np.where(confident, calls, -1), missing)
        missing -= np.bincount(calls[rows], minlength=len(names))
        blocks.append(to_csr(cells[rows]))
        kept.append(calls[rows])
        if monitor is not None:
            monitor.advance(1 - missing.sum() / len(wanted), steps=0)
        if not missing.any():
            break
    if missing.any():
        raise SamplingExhausted(_exhausted(missing, wanted, hits, draws, names))
    accepted = {int(code): int(hits[code]) for code in np.unique(wanted)}
    order = _in_order(np.concatenate(kept), wanted)
    return Drawn(sp.vstack(blocks, format="csr")[order], wanted.copy(), draws, accepted)


def to_csr(cells: np.ndarray) -> sp.csr_matrix:
    """Make a dense float32 array sparse (a third of the time of SciPy's constructor)."""
    nonzero = cells != 0
    places = np.flatnonzero(nonzero)
    starts = np.concatenate([[0], np.cumsum(nonzero.sum(axis=1))]).astype(np.int32)
    columns = (places % cells.shape[1]).astype(np.int32)
    return sp.csr_matrix((cells.ravel()[places], columns, starts), shape=cells.shape)


@torch.inference_mode()
def _draws(
    networks: Networks, n_cells: int, *, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield n_cells in blocks: dense cells, the conditioner's calls and its confidence in them."""
    generator = torch.Generator(networks.device).manual_seed(seed)
    own_statistics = networks.settings.sampling_norm == "batch"
    for start in range(0, n_cells, DRAW_SIZE):
        size = min(DRAW_SIZE, n_cells - start)
        # A batch that is its own yardstick must not depend on how many cells happen to be left.
        n_latent = DRAW_SIZE if own_statistics else size
        shape = (n_latent, networks.settings.latent_dim)
        latent = torch.randn(shape, generator=generator, device=networks.device)
        decoder = networks.decoder
        decoded = decode_by_own_statistics(decoder, latent) if own_statistics else decoder(latent)
        cells = decoded[:size]
        confidence, calls = networks.conditioner(cells).softmax(dim=1).max(dim=1)
        yield cells.cpu().numpy(), calls.cpu().numpy(), confidence.cpu().numpy()


def _first_of_each(calls: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Rows of the first `missing[code]` cells of each code, in the order drawn."""
    rows = [np.flatnonzero(calls == code)[: missing[code]] for code in np.flatnonzero(missing)]
    return np.sort(np.concatenate(rows))


def _in_order(kept: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of `kept` for each place of `wanted`; both hold the same codes equally often."""
    order = np.empty(len(wanted), dtype=np.intp)
    order[np.argsort(wanted, kind="stable")] = np.argsort(kept, kind="stable")
    return order


def _exhausted(
    missing: np.ndarray, wanted: np.ndarray, hits: np.ndarray, draws: int, names: Sequence[str]
) -> str:
    code = int(missing.argmax())
    asked = int((wanted == code).sum())
    return (
        f"activa: cell type {names[code]!r} was {hits[code]} of {draws} draws ({hits[code] / draws:.3%}) and "
        f"{asked} cells of it were asked for; train longer, lower confidence_threshold "
        "or raise max_draws_per_cell"
    )
