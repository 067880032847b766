"""Marginals imposed: each gene of each group of cells gets the distribution that training cells have there.

A model's counts become randomised ranks within the model's own marginal (known from many draws), and ranks
become counts of the training cells' smoothed marginal; what ties genes together stays the model's. Randomised
ranks: Dunn & Smyth 1996, J. Comput. Graph. Stat. 5, 236.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.counts.likelihood import Drawn, at, true_places
from models.streaming import pieces

EXACT_COUNTS: Final = 24
"""Counts below it are told apart; above, ranges of counts are, each a tenth wider than the one before."""
LARGEST_COUNT: Final = 2**24
GROWTH: Final = 1.1
_TINY: Final = 1e-9


def _edges() -> NDArray[np.int64]:
    edges = list(range(EXACT_COUNTS + 1))
    while edges[-1] <= LARGEST_COUNT:
        edges.append(max(edges[-1] + 2, int(edges[-1] * GROWTH)))
    return np.array(edges)


EDGES: Final = _edges()
"""Where ranges of counts begin; range b holds EDGES[b] … EDGES[b + 1] - 1, each count of it alike."""
N_RANGES: Final = len(EDGES) - 1


class ImposedMarginals:
    """Maps counts of a model to counts with the marginals of training cells, per gene and group.

    Use `fit`; the constructor takes the tensors that `tensors` returned. Nothing of a training cell is kept
    but its part in the histograms.

    Parameters
    ----------
    starts
        Start of the entries of each (group, gene), n_groups · n_genes + 1.
    ranges
        The range of counts of each entry, ascending within (group, gene), the first always 0.
    model, target
        Cumulative probabilities of each entry, of the model and of what is imposed.
    n_genes
        Width of a cell, as a tensor of one value.
    """

    def __init__(
        self, *, starts: Tensor, ranges: Tensor, model: Tensor, target: Tensor, n_genes: Tensor
    ) -> None:
        self._stored = {
            "starts": starts,
            "ranges": ranges,
            "model": model,
            "target": target,
            "n_genes": n_genes,
        }
        self.n_genes = int(n_genes)
        device = starts.device
        self._edges = torch.tensor(EDGES, device=device)
        self._starts, self._ranges = starts.long(), ranges.long()
        self._model, self._target = model, target
        row = torch.repeat_interleave(torch.arange(len(starts) - 1, device=device), self._starts.diff())
        self._places = row * N_RANGES + self._ranges
        first, self._last = self._starts[:-1], self._starts[1:] - 1
        self._target_zero = target[first]
        # Of each entry, where its step of the model's distribution begins.
        self._below = torch.cat([model.new_zeros(1), model[:-1]]).index_fill_(0, first, 0)
        # The place among a model's zeros above which a zero becomes a count.
        stays_zero = (target[first] / model[first]).nan_to_num(1.0).clamp_max(1)
        self._stays_zero = stays_zero.view(-1, self.n_genes)

    @classmethod
    def fit(
        cls,
        drawn: Iterable[tuple[Tensor, Tensor]],
        counts: Any,
        groups: NDArray[np.integer],
        *,
        n_groups: int,
        prior_cells: float,
    ) -> Self:
        """Learn both marginals.

        Parameters
        ----------
        drawn
            Blocks of the model's counts (n × n_genes) and their groups (codes), some of every group.
        counts, groups
            Training cells, n_cells × n_genes, CSR or on disk, and their codes in 0 … n_groups - 1.
        n_groups
            Number of groups.
        prior_cells
            Number of cells of a group that the model's own marginal counts for beside the training cells': it
            smooths them, and a group of few cells borrows strength from it. Above 0.
        """
        n_genes = counts.shape[1]
        model = _Histogram(n_groups, n_genes)
        for block, codes in drawn:
            model.add(sp.csr_matrix(block.cpu().numpy()), codes.cpu().numpy())
        real = _Histogram(n_groups, n_genes)
        for part, piece in pieces(counts):
            real.add(piece, np.asarray(groups)[part])
        of_model = model.shares()
        weights = np.repeat(real.n_cells / (real.n_cells + prior_cells), n_genes)
        target = sp.diags(weights) @ real.shares() + sp.diags(1 - weights) @ of_model
        target = sp.csr_matrix(target)
        target.sort_indices()
        # The model's shares where the target has entries, which is wherever the model has any.
        rows = np.repeat(np.arange(target.shape[0]), np.diff(target.indptr))
        shares = np.asarray(of_model[rows, target.indices]).ravel()
        return cls(
            starts=torch.tensor(target.indptr.astype(np.int32)),
            ranges=torch.tensor(target.indices.astype(np.int16)),
            model=torch.tensor(_cumulative(shares, target.indptr)),
            target=torch.tensor(_cumulative(target.data, target.indptr)),
            n_genes=torch.tensor([n_genes]),
        )

    def stays_zero(self, groups: Tensor) -> Tensor:
        """Return below which place among a model's zeros a zero stays one, n_cells × n_genes, in [0, 1]."""
        return at(self._stays_zero, groups)

    def impose(self, drawn: Drawn, groups: Tensor) -> Tensor:
        """Return counts with the imposed marginals, n_cells × n_genes.

        Parameters
        ----------
        drawn
            Counts of the model: all but zeros that stay zero; see `stays_zero`.
        groups
            n_cells codes.
        """
        cells = torch.arange(len(groups), device=groups.device)
        own = at((groups - cells) * self.n_genes, drawn.places.div(self.n_genes, rounding_mode="floor"))
        rows = drawn.places + own
        ranks = self._ranks(drawn.counts.long(), rows, drawn.within)
        above = true_places(ranks > at(self._target_zero, rows))
        values = self._quantiles(at(ranks, above), at(rows, above))
        result = torch.zeros(len(groups) * self.n_genes, device=groups.device)
        return result.scatter_(0, at(drawn.places, above), values).view(-1, self.n_genes)

    def _ranks(self, counts: Tensor, rows: Tensor, within: Tensor) -> Tensor:
        """Return randomised ranks, in [0, 1], of counts in the model's marginals."""
        ranges = counts.clone()
        wide = true_places(counts >= EXACT_COUNTS)
        ranges[wide] = torch.searchsorted(self._edges, counts[wide], right=True) - 1
        # Nearly always each range has an entry, so that the place is known.
        last = at(self._last, rows)
        entry = torch.minimum(at(self._starts, rows) + ranges, last)
        apart = true_places(at(self._ranges, entry) != ranges)
        found = torch.searchsorted(self._places, rows[apart] * N_RANGES + ranges[apart])
        # A count beyond all that the model drew when it was fitted is ranked with the highest.
        entry[apart] = torch.minimum(found, last[apart])
        low, high = self._edges[ranges[wide]], self._edges[ranges[wide] + 1]
        within = within.index_copy(0, wide, (counts[wide] - low + within[wide]) / (high - low))
        below = at(self._below, entry)
        return below + (at(self._model, entry) - below) * within

    def _quantiles(self, ranks: Tensor, rows: Tensor) -> Tensor:
        """Return counts above 0 at these ranks of the target's marginals."""
        # The first entry is that of no count; the last one is 1, which no rank exceeds.
        entry = at(self._starts, rows) + 1
        left, place, rank = torch.arange(len(entry), device=entry.device), entry, ranks
        while len(left):
            over = true_places(rank > at(self._target, place))
            left, place, rank = at(left, over), at(place, over) + 1, at(rank, over)
            entry = entry.scatter_(0, left, place)
        low, high = at(self._target, entry - 1), at(self._target, entry)
        within = ((ranks - low) / (high - low).clamp_min(1e-12)).clamp(0, 1 - 1e-6)
        ranges = at(self._ranges, entry)
        begin = at(self._edges, ranges)
        return (begin + torch.floor(within * (at(self._edges, ranges + 1) - begin))).float()

    def tensors(self) -> dict[str, Tensor]:
        """Return what the constructor takes."""
        return dict(self._stored)

    def to(self, device: str) -> Self:
        """Return the same on a device."""
        return type(self)(**{name: tensor.to(device) for name, tensor in self._stored.items()})


class _Histogram:
    """Cells counted by group, gene and range of counts."""

    def __init__(self, n_groups: int, n_genes: int) -> None:
        self.n_cells = np.zeros(n_groups)
        self._n_genes = n_genes
        self._seen = sp.csr_matrix((n_groups * n_genes, N_RANGES), dtype=np.float64)

    def add(self, counts: sp.csr_matrix, groups: NDArray[np.integer]) -> None:
        """Count further cells in."""
        self.n_cells += np.bincount(groups, minlength=len(self.n_cells))
        rows = np.repeat(groups.astype(np.int64), np.diff(counts.indptr)) * self._n_genes + counts.indices
        ranges = np.searchsorted(EDGES, counts.data, side="right") - 1
        added = sp.coo_matrix((np.ones(len(rows)), (rows, ranges)), shape=self._seen.shape)
        self._seen = sp.csr_matrix(self._seen + added.tocsr())

    def shares(self) -> sp.csr_matrix:
        """Return the share of each range, n_groups · n_genes × n_ranges; zeros of a group without cells."""
        cells = np.repeat(self.n_cells, self._n_genes)
        # Never nothing, so that each row begins with an entry for zero counts.
        zeros = np.maximum(cells - np.asarray(self._seen.sum(axis=1)).ravel(), _TINY)
        first = sp.csr_matrix(
            (zeros, (np.arange(len(zeros)), np.zeros(len(zeros), dtype=int))), self._seen.shape
        )
        return sp.csr_matrix(sp.diags(1 / np.maximum(cells, 1)) @ (self._seen + first))


def _cumulative(shares: NDArray[np.float64], starts: NDArray[np.integer]) -> NDArray[np.float32]:
    """Add up within rows; each row ends with exactly 1."""
    total = np.cumsum(shares)
    before = np.concatenate([[0.0], total])[starts[:-1]]
    sums = total - np.repeat(before, np.diff(starts))
    sums[starts[1:] - 1] = 1.0
    return np.minimum(sums, 1.0).astype(np.float32)
