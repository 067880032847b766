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
        Where the entries of each (group, gene) begin, n_groups · n_genes + 1.
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
        first = self._starts[:-1]
        self._model_zero, self._target_zero = model[first], target[first]
        # The place among a model's zeros above which a zero becomes a count.
        self._stays_zero = (self._target_zero / self._model_zero).view(-1, self.n_genes)

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
            How many there are.
        prior_cells
            For how many cells of a group the model's own marginal counts beside the training cells': it
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

    def impose(self, counts: Tensor, groups: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return counts with the imposed marginals.

        Parameters
        ----------
        counts
            n_cells × n_genes of the model.
        groups
            n_cells codes.
        generator
            Of the place within a step of the model's distribution.
        """
        noise = torch.rand(counts.shape, generator=generator, device=counts.device)
        # Most are zeros that stay so; to look for the others takes most of the time, and is done once.
        other = ((counts > 0) | (noise > self._stays_zero[groups])).view(-1).nonzero()[:, 0]
        rows = groups[other // self.n_genes] * self.n_genes + other % self.n_genes
        own, noise = counts.view(-1)[other], noise.view(-1)[other]
        ranks = noise * self._model_zero[rows]
        seen = own.nonzero()[:, 0]
        ranks[seen] = self._ranks(own[seen], rows[seen], noise[seen])
        above = (ranks > self._target_zero[rows]).nonzero()[:, 0]
        result = torch.zeros_like(counts)
        result.view(-1)[other[above]] = self._quantiles(ranks[above], rows[above])
        return result

    def _ranks(self, counts: Tensor, rows: Tensor, noise: Tensor) -> Tensor:
        """Return randomised ranks, in [0, 1], of counts above 0 in the model's marginals."""
        ranges = torch.searchsorted(self._edges, counts.long(), right=True) - 1
        first, last = self._starts[rows], self._starts[rows + 1] - 1
        # Nearly always each range has an entry, so that the place is known.
        entry = torch.minimum(first + ranges, last)
        apart = (self._ranges[entry] != ranges).nonzero()[:, 0]
        found = torch.searchsorted(self._places, rows[apart] * N_RANGES + ranges[apart])
        # A count beyond all that the model drew when it was fitted is ranked with the highest.
        entry[apart] = torch.minimum(found, last[apart])
        low, width = self._edges[ranges], self._edges[ranges + 1] - self._edges[ranges]
        below = torch.where(entry > first, self._model[(entry - 1).clamp_min(0)], 0.0)
        return below + (self._model[entry] - below) * ((counts - low + noise) / width)

    def _quantiles(self, ranks: Tensor, rows: Tensor) -> Tensor:
        """Return counts above 0 at these ranks of the target's marginals."""
        # The first entry is that of no count; the last one is 1, which no rank exceeds.
        entry = self._starts[rows] + 1
        left = (ranks > self._target[entry]).nonzero()[:, 0]
        while len(left):
            at, rank = entry[left] + 1, ranks[left]
            entry[left] = at
            left = left[rank > self._target[at]]
        low, high = self._target[entry - 1], self._target[entry]
        within = ((ranks - low) / (high - low).clamp_min(1e-12)).clamp(0, 1 - 1e-6)
        ranges = self._ranges[entry]
        width = self._edges[ranges + 1] - self._edges[ranges]
        return (self._edges[ranges] + torch.floor(within * width)).float()

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
