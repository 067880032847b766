"""The density of a cell under negative binomials that a Gaussian copula couples.

Each gene has a negative binomial of its own mean and variance (a Poisson distribution where the variance is
no larger), and the normal scores of the counts a Gaussian of their shrunken correlations: the model of
scDesign2 (Sun et al. 2021, doi:10.1186/s13059-021-02367-2), here as a density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from metrics.arrays import Floats

PRIOR_COUNTS: Final = 0.1
"""Of a further cell: a gene that was never seen is rare, not impossible."""
MOST_EVEN: Final = 1e6
"""Size of a negative binomial that is a Poisson distribution to all that can be told."""
SHRINKAGE: Final = 0.1


@dataclass(frozen=True, eq=False)
class CopulaDensity:
    """Log-density of cells.

    Parameters
    ----------
    means, sizes
        Mean and size of the negative binomial of each gene; variance = mean + mean² / size.
    precision, log_determinant
        Inverse (genes × genes) and logarithm of the determinant of the correlations of the normal scores.
    """

    means: Floats
    sizes: Floats
    precision: Floats
    log_determinant: float

    @classmethod
    def fit(cls, counts: Floats) -> Self:
        """Fit by moments; correlations are drawn towards none by a tenth.

        Parameters
        ----------
        counts
            n_cells × n_genes, at least two cells.
        """
        n_cells = len(counts)
        means = (counts.sum(axis=0) + PRIOR_COUNTS) / (n_cells + 1)
        excess = counts.var(axis=0, ddof=1) - means
        sizes = np.clip(means**2 / np.maximum(excess, 1e-12), 1e-3, MOST_EVEN)
        _, scores = _marginals(counts, means, sizes)
        spread = scores.std(axis=0)
        spread[spread == 0] = 1.0
        scaled = (scores - scores.mean(axis=0)) / spread
        correlations = (1 - SHRINKAGE) * (scaled.T @ scaled / n_cells)
        np.fill_diagonal(correlations, 1.0)
        return cls(means, sizes, np.linalg.inv(correlations), float(np.linalg.slogdet(correlations)[1]))

    def log_density(self, counts: Floats) -> Floats:
        """Return the logarithm of the density of each cell.

        Parameters
        ----------
        counts
            n_cells × n_genes.
        """
        marginals, scores = _marginals(counts, self.means, self.sizes)
        coupled = np.einsum("cg,gh,ch->c", scores, self.precision, scores, optimize=True)
        copula = -0.5 * (self.log_determinant + coupled - (scores**2).sum(axis=1))
        return np.asarray(marginals.sum(axis=1) + copula)


def _marginals(counts: Floats, means: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Return the log-probability of each count, and its normal score: of the middle of its step."""
    from scipy.special import gammaln, ndtri

    wanted = counts.astype(np.int64)
    # Few different counts: what each comes to is looked up.
    steps = np.arange(wanted.max() + 1)[:, None]
    # Not scipy.stats.nbinom: its logarithm is infinite where the probability itself is too small.
    log_table = gammaln(steps + sizes) - gammaln(sizes) - gammaln(steps + 1)
    log_table += sizes * np.log(sizes / (sizes + means)) + steps * np.log(means / (sizes + means))
    table = np.exp(log_table)
    middle = np.clip(table.cumsum(axis=0) - table / 2, 1e-6, 1 - 1e-6)
    genes = np.arange(counts.shape[1])
    return log_table[wanted, genes], ndtri(middle)[wanted, genes]
