"""Negative-binomial counts with a size that follows the mean: Polyester (Frazee 2015), down to the counts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix

from models.baselines.shared import Parameters, library_sizes
from models.simulators.shared import (
    Simulator,
    draw_sizes,
    excess_variance,
    learn_sizes,
    mean_shares,
    poisson_cells,
)

MEAN_PER_SIZE = 3


class Polyester(Simulator):
    """Independent negative-binomial genes of each type, at library sizes of the training cells' distribution.

    A gene's mean in a cell is its share of the type's counts times the cell's library size; its size r
    (variance m + m²/r) is a third of its mean over the type, the default of Polyester's
    ``simulate_experiment``, so that the variance of a cell of mean size is four times the mean. Polyester
    multiplies drawn counts by library-size factors, which leaves no whole numbers; here it is the means that
    are multiplied. Reads, fragments, errors and positional bias, for which the source was written, are out of
    scope: this is its model of counts.

    Frazee et al., Bioinformatics 31 (2015), 2778, section 2.

    Parameters
    ----------
    dispersion
        ``"default"``, or ``"fitted"``: r of each gene by the method of moments, as the source's
        ``get_params``, given the library sizes. Genes that vary no more than Poisson counts are Poisson then.
    """

    name = "polyester"
    paper = "doi:10.1093/bioinformatics/btv272"

    def __init__(self, *, dispersion: Literal["default", "fitted"] = "default") -> None:
        self.dispersion = dispersion

    def _learn_type(self, counts: csr_matrix, rng: np.random.Generator) -> Parameters:
        shares, sizes = mean_shares(counts), library_sizes(counts)
        if self.dispersion == "default":
            dispersions = shares * sizes.mean() / MEAN_PER_SIZE
        else:
            excess = excess_variance(counts, shares)
            dispersions = np.full_like(shares, np.inf)
            np.divide(shares**2 * (sizes @ sizes), excess, out=dispersions, where=excess > 0)
        return learn_sizes(counts) | {"shares": shares, "dispersions": dispersions}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        known = self._known(cell_type)
        rates = np.outer(draw_sizes(known, n_cells, rng), known["shares"])
        varies = np.flatnonzero(np.isfinite(known["dispersions"]) & (known["shares"] > 0))
        sizes = known["dispersions"][varies]
        rates[:, varies] *= rng.gamma(sizes, 1 / sizes, (n_cells, varies.size))
        return poisson_cells(rates, rng)
