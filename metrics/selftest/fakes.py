"""Crude fakes: cells that are right in one respect alone, made of the unchanged real cells.

Those of the twelve cheats that take no model to make and that no ladder ends in (copies and Poisson counts
are a ladder's last rung and a floor).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from metrics.selftest.cells import FreshCells
from metrics.selftest.corruptions import shrink, shuffle_genes, thin
from metrics.spaces import Csr, Space, as_csr, library_sizes, normalise

TIMES_EACH: Final = 16
KEPT: Final = 0.98
VARIABLE_SHARE: Final = 0.2

Made = tuple["Csr", "Space"]


def mean_cells(cells: FreshCells, seed: int) -> Made:
    """Give every cell the mean of its type."""
    return shrink(cells.counts, cells.types, 1.0), "cp20k"


def empty_cells(cells: FreshCells, seed: int) -> Made:
    """Take every count away."""
    return as_csr(np.zeros(cells.counts.shape, dtype=np.float32)), "counts"


def library_sizes_alone(cells: FreshCells, seed: int) -> Made:
    """Spread the counts of each cell evenly over all genes."""
    n_genes = cells.counts.shape[1]
    totals = library_sizes(cells.counts).astype(np.int64)
    drawn = np.random.default_rng(seed).multinomial(totals, np.full(n_genes, 1 / n_genes))
    return as_csr(drawn.astype(np.float32)), "counts"


def half_noise(cells: FreshCells, seed: int) -> Made:
    """Spread the counts of every other cell evenly over all genes."""
    noise, _ = library_sizes_alone(cells, seed)
    is_noise = np.arange(cells.counts.shape[0])[:, None] % 2 == 1
    return as_csr(np.where(is_noise, noise.toarray(), cells.counts.toarray())), "counts"


def near_duplicates(cells: FreshCells, seed: int) -> Made:
    """Take one cell of sixteen, sixteen times, with 98 % of its counts each time."""
    rows = np.arange(cells.counts.shape[0]) // TIMES_EACH
    return thin(as_csr(cells.counts[rows]), KEPT, seed=seed), "counts"


def variable_genes_alone(cells: FreshCells, seed: int) -> Made:
    """Permute all genes among all cells but the fifth of most variance over mean."""
    scaled = normalise(cells.counts).toarray()
    means = scaled.mean(axis=0)
    spread = np.divide(scaled.var(axis=0), means, out=np.zeros_like(means), where=means > 0)
    is_variable = spread >= np.quantile(spread, 1 - VARIABLE_SHARE)
    everywhere = np.zeros(cells.counts.shape[0], dtype=np.str_)
    shuffled = shuffle_genes(cells.counts, everywhere, 1.0, seed=seed).toarray()
    return as_csr(np.where(is_variable, cells.counts.toarray(), shuffled)), "counts"


FAKES: Final[Mapping[str, Callable[[FreshCells, int], Made]]] = {
    "the mean of each type": mean_cells,
    "empty cells": empty_cells,
    "library sizes alone": library_sizes_alone,
    "half noise": half_noise,
    "near-duplicates": near_duplicates,
    "variable genes alone": variable_genes_alone,
}
"""What they are → how to make as many as there are real cells."""
