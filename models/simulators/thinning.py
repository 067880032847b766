"""Binomial thinning of training cells (Gerard 2020)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from models.base import GeneratorError, Monitor
from models.baselines.shared import Baseline, Parameters
from models.controls.control import RememberedCells


class Thinning(Baseline):
    """Training cells at a smaller depth: each of a cell's counts is kept with the same probability.

    A synthetic cell takes a training cell of its type, drawn with replacement; a count x becomes
    Binomial(x, depth), as in ``thin_lib`` of the source's package seqgendiff. Where counts are Poisson or
    negative binomial, thinned ones are, too, at ``depth`` times the mean (the source's theorem 1). Nothing is
    estimated, and each cell is made of a single training cell.

    Gerard, BMC Bioinformatics 21 (2020), 206.

    Parameters
    ----------
    depth
        Share of each cell's own library size that is left on average; above 0, at most 1.

    Raises
    ------
    GeneratorError
        If `depth` is not.
    """

    name = "thinning"
    paper = "doi:10.1186/s12859-020-3450-9"
    keeps_counts = True
    draws_from = "training cells"

    def __init__(self, *, depth: float = 0.8) -> None:
        if not 0 < depth <= 1:
            raise GeneratorError(f"depth is {depth}; give more than 0 and at most 1")
        self.depth = depth

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        return {}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        counts = self.cells.counts[rng.choice(self.cells.rows_by_type[cell_type], n_cells)]
        counts.data = rng.binomial(counts.data.astype(np.int64), self.depth).astype(np.float32)
        counts.eliminate_zeros()
        counts.sort_indices()
        return counts
