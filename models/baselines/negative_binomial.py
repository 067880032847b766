"""Negative-binomial marginals: maximum likelihood for many genes at once, draws that follow the counts.

Everywhere ``mean`` m and ``size`` r: variance m + m²/r; an infinite size is the Poisson limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.special import betainc, eval_hermitenorm, factorial, gammaincc, ndtri, psi

from models.controls.control import Integers

Floats = NDArray[np.float64]
SIZE_LIMITS = 1e-4, 1e6
N_HALVINGS = 50
NEGLIGIBLE = 1e-9
TINY = float(np.finfo(np.float64).tiny)


def fit_marginals(counts: csr_matrix) -> tuple[Floats, Floats]:
    """Fit a negative binomial to each gene by maximum likelihood.

    The mean is the sample mean; the size is where the derivative of the likelihood vanishes,
    Σᵢ [ψ(xᵢ + r) − ψ(r)] = n ln(1 + m/r), which happens once if the variance exceeds the mean,
    and never otherwise: such genes are Poisson. Zeros add nothing to the sum, so memory follows
    the non-zeros.

    Parameters
    ----------
    counts
        n_cells × n_genes, whole numbers.

    Returns
    -------
    means, sizes
        n_genes each; sizes of Poisson genes are infinite.
    """
    n_cells, n_genes = counts.shape
    means = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel() / n_cells
    squares = np.asarray(counts.multiply(counts).sum(axis=0, dtype=np.float64)).ravel() / n_cells
    overdispersed = squares - means**2 > means * (1 + NEGLIGIBLE)
    pairs = np.stack([counts.indices, counts.data.astype(np.int64)])[:, overdispersed[counts.indices]]
    (genes, values), times = np.unique(pairs, axis=1, return_counts=True)
    low, high = (np.full(n_genes, np.log(limit)) for limit in SIZE_LIMITS)
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        size = np.exp(middle)
        terms = times * (psi(values + size[genes]) - psi(size[genes]))
        slope = np.bincount(genes, terms, minlength=n_genes) / n_cells - np.log1p(means / size)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return means, np.where(overdispersed, np.exp((low + high) / 2), np.inf)


def draw_independent(means: Floats, sizes: Floats, n_cells: int, rng: np.random.Generator) -> csr_matrix:
    """Draw independent counts, n_cells × n_genes, in time that follows the counts drawn.

    A negative-binomial count is a Poisson number of clusters, r ln(1 + m/r) on average, each of
    logarithmic size (Quenouille, Biometrics 5 (1949), 162); all clusters of a gene are drawn at
    once and thrown on random cells.
    """
    is_poisson = np.isinf(sizes)
    finite = np.where(is_poisson, 1.0, sizes)
    clusters_per_cell = np.where(is_poisson, means, finite * np.log1p(means / finite))
    n_clusters = rng.poisson(n_cells * clusters_per_cell)
    genes = np.repeat(np.arange(len(means)), n_clusters)
    values = np.ones(len(genes), dtype=np.float32)
    clustered = ~is_poisson[genes]
    shape = (means / (finite + means))[genes[clustered]]
    values[clustered] = rng.logseries(shape)
    cells = rng.integers(n_cells, size=len(genes))
    return coo_matrix((values, (cells, genes)), shape=(n_cells, len(means))).tocsr()


@dataclass(frozen=True)
class Steps:
    """Distribution functions of several genes as tables, one after the other.

    Attributes
    ----------
    starts
        n_genes + 1; gene g owns the entries from ``starts[g]`` to ``starts[g + 1]``, for the counts 0, 1, 2…
    upper
        P(count ≤ k); 1 at each gene's last entry, beyond which lies less than 1e-9.
    """

    starts: Integers
    upper: Floats

    @classmethod
    def of(cls, means: Floats, sizes: Floats) -> Steps:
        """Tabulate genes with means above 0."""
        from scipy import stats

        is_poisson = np.isinf(sizes)
        finite = np.where(is_poisson, 1.0, sizes)
        last = np.where(
            is_poisson,
            stats.poisson.isf(NEGLIGIBLE, means),
            stats.nbinom.isf(NEGLIGIBLE, finite, finite / (finite + means)),
        ).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(last + 1)])
        gene = np.repeat(np.arange(len(means)), last + 1)
        count = np.arange(starts[-1]) - starts[gene]
        upper = np.where(
            is_poisson[gene],
            gammaincc(count + 1, means[gene]),
            betainc(finite[gene], count + 1, (finite / (finite + means))[gene]),
        )
        upper[starts[1:] - 1] = 1.0
        return cls(starts, upper)

    def normal_scores(self) -> Floats:
        """Return E[Z | count] of the standard normal Z that each count stands for, entry by entry."""
        below, above = self._bounds()
        probability = np.maximum(self.upper - self._lower(), TINY)
        return np.clip((_density(below) - _density(above)) / probability, below, above)

    def hermite_coefficients(self, n_orders: int) -> Floats:
        """Expand each gene's normal scores in normalised Hermite polynomials of Z.

        Returns
        -------
        numpy.ndarray
            n_orders × n_genes, from the first order on. Two genes whose Z correlate by ρ have scores with the
            covariance Σₖ cₖ dₖ ρᵏ (Mehler).
        """
        (below, above), scores = self._bounds(), self.normal_scores()
        coefficients = np.empty((n_orders, len(self.starts) - 1))
        for order in range(1, n_orders + 1):
            at_bounds = [eval_hermitenorm(order - 1, bound) * _density(bound) for bound in (below, above)]
            terms = scores * (at_bounds[0] - at_bounds[1]) / np.sqrt(factorial(order))
            coefficients[order - 1] = np.add.reduceat(terms, self.starts[:-1])
        return coefficients

    def counts(self, normal: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the counts, n_cells × n_genes, that standard normal values of that shape stand for."""
        steps = ndtri(self.upper)
        counts = np.empty(normal.shape, dtype=np.float32)
        for gene, (start, stop) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            counts[:, gene] = np.searchsorted(steps[start:stop], normal[:, gene])
        return counts

    def _lower(self) -> Floats:
        lower = np.roll(self.upper, 1)
        lower[self.starts[:-1]] = 0.0
        return lower

    def _bounds(self) -> tuple[Floats, Floats]:
        """Return between which normal values each count lies; finite, and as good as infinite at the ends."""
        lower, upper = (ndtri(np.maximum(side, TINY)) for side in (self._lower(), self.upper))
        return lower, np.minimum(upper, -ndtri(TINY))


def _density(normal: Floats) -> Floats:
    return np.exp(-(normal**2) / 2) / np.sqrt(2 * np.pi)
