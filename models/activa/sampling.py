"""Drawing cells from trained networks, as arrays.

``sampling_norm`` says whose BatchNorm statistics the decoder uses: ``"prior"`` those re-estimated on
draws from the prior after training, ``"eval"`` those that training left, ``"batch"`` those of the
drawn batch, as the authors' tutorial does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from models.activa.decoding import BlockDecoder, Choice
from models.activa.networks import Networks
from models.activa.sparsify import CsrBuilder
from models.base import Monitor, SamplingExhausted

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
        Number of cells that were decoded to get these.
    accepted
        Number of draws that the conditioner called each type asked for with enough confidence, returned or
        not, by type code. Empty for a holistic draw.
    """

    matrix: sp.csr_matrix
    types: np.ndarray
    draws: int
    accepted: dict[int, int]

    @property
    def acceptance_rate(self) -> dict[int, float]:
        """Share of the draws that was accepted, by type code."""
        return {code: count / self.draws for code, count in self.accepted.items()}


class Sampler:
    """Draws cells from trained networks, as often as wanted.

    What a draw needs beside the networks is kept for the next: the wide layers' weights as they are
    multiplied, and room for the blocks in work.

    Parameters
    ----------
    networks
        Trained networks in eval mode. Their weights must not change as long as this is in use.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._decoder = BlockDecoder(networks)

    def cells(self, n_cells: int, *, seed: int) -> Drawn:
        """Draw cells holistically: z ~ N(0, I), decoded.

        Parameters
        ----------
        n_cells
            Number of cells, at least 1.
        seed
            Seed of the draws.
        """
        builder, types = CsrBuilder(n_cells, self.networks.n_genes), []
        for block in self._decoder.blocks(n_cells, seed=seed, choice=_all, most_rejected=False):
            builder.append(block.sparse)
            types.append(block.calls)
        return Drawn(builder.matrix(), np.concatenate(types), n_cells, {})

    def types(
        self, wanted: np.ndarray, *, names: Sequence[str], seed: int, monitor: Monitor | None = None
    ) -> Drawn:
        """Draw holistically and keep the cells of the types asked for, until all are there.

        A cell is of the type that the conditioner calls it with a softmax confidence of at least
        ``confidence_threshold``. At most ``max_draws_per_cell`` draws are made for each cell asked for, and
        20 000 in any case. Cells that are turned away are never made sparse.

        Parameters
        ----------
        wanted
            One type code for each cell, in the order in which the cells are returned.
        names
            Names of the types, by code.
        seed
            Seed of the draws.
        monitor
            Monitor that is told the share of the cells found so far.

        Raises
        ------
        SamplingExhausted
            If the bound is reached first; names the type that is missing, its rate and the draws.
        """
        settings, n_types = self.networks.settings, len(names)
        bound = max(LEAST_BOUND, settings.max_draws_per_cell * len(wanted))
        missing = np.bincount(wanted, minlength=n_types)
        choice = _still_missing(missing, settings.confidence_threshold)
        hits = np.zeros(n_types, dtype=np.int64)
        parts, kept, draws = [], [], 0
        for block in self._decoder.blocks(bound, seed=seed, choice=choice, most_rejected=True):
            draws += len(block.calls)
            hits += np.bincount(
                block.calls[block.confidence >= settings.confidence_threshold], minlength=n_types
            )
            calls = block.calls[block.rows]
            first = _first_of_each(calls, missing)
            missing -= np.bincount(calls[first], minlength=n_types)
            parts.append(block.sparse.to_csr(self.networks.n_genes)[first])
            kept.append(calls[first])
            if monitor is not None:
                monitor.advance(1 - missing.sum() / len(wanted), steps=0)
            if not missing.any():
                break
        if missing.any():
            raise SamplingExhausted(_exhausted(missing, wanted, hits, draws, names))
        accepted = {int(code): int(hits[code]) for code in np.unique(wanted)}
        order = _in_order(np.concatenate(kept), wanted)
        return Drawn(sp.vstack(parts, format="csr")[order], wanted.copy(), draws, accepted)


def sample_cells(networks: Networks, n_cells: int, *, seed: int) -> Drawn:
    """Draw cells once; see `Sampler.cells`."""
    return Sampler(networks).cells(n_cells, seed=seed)


def sample_types(
    networks: Networks,
    wanted: np.ndarray,
    *,
    names: Sequence[str],
    seed: int,
    monitor: Monitor | None = None,
) -> Drawn:
    """Draw cells of given types once; see `Sampler.types`."""
    return Sampler(networks).types(wanted, names=names, seed=seed, monitor=monitor)


def _all(calls: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    return np.arange(len(calls))


def _still_missing(missing: np.ndarray, threshold: float) -> Choice:
    """Choose the cells that are of a type still missing, with enough confidence.

    `missing` falls while blocks ahead are in work, so a few more than needed may be chosen, but never fewer.
    """
    return lambda calls, confidence: np.flatnonzero((missing[calls] > 0) & (confidence >= threshold))


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
