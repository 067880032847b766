"""Negative-binomial Gaussian copula of each cell type: the idea of scDesign2 (Sun 2021)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

from models.base import GeneratorError, Monitor
from models.baselines.negative_binomial import Floats, Steps, draw_independent, fit_marginals
from models.baselines.shared import Baseline, Parameters
from models.controls.control import Integers, RememberedCells

LEAST_SHARE = 0.2
FEWEST_CELLS = 10
BLOCK_OF_SCORES = 2048
N_ORDERS = 8
N_HALVINGS = 16


class NbCopula(Baseline):
    """Negative-binomial genes, correlated within each type through a Gaussian copula.

    Each gene of each type is negative binomial (Poisson where its variance does not exceed its
    mean), fitted by maximum likelihood. The genes seen in more than a fifth of the type's cells
    follow a Gaussian copula, the others are independent, as are all genes of a type with fewer
    than 10 cells. There is no zero inflation and no library size beside the counts' own sum.

    Where scDesign2 draws a random normal value within the step of each count, the expected
    value is taken here; both have the same covariance, which understates the correlation of
    rarely seen genes. It is shrunk as Ledoit & Wolf (2004) propose, brought back to that of the
    normal values by Mehler's formula, and made positive semi-definite.

    Parameters
    ----------
    maximum_genes
        Largest number of genes of a type that are correlated: the most widely seen ones.

    Raises
    ------
    GeneratorError
        If `maximum_genes` is below 1.
    """

    name = "nb_copula"
    framework = "scipy"
    libraries: ClassVar[tuple[str, ...]] = ("scipy.stats",)
    paper = "doi:10.1186/s13059-021-02367-2"

    def __init__(self, *, maximum_genes: int = 1000) -> None:
        if maximum_genes < 1:
            raise GeneratorError(f"maximum_genes is {maximum_genes}; give at least 1")
        self.maximum_genes = maximum_genes
        self._steps: dict[str, Steps] = {}

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        parameters: Parameters = {}
        for code, rows in enumerate(cells.rows_by_type.values()):
            counts = cells.counts[rows]
            with monitor.phase("marginals"):
                means, sizes = fit_marginals(counts)
            with monitor.phase("copula"):
                genes = self._correlated_genes(counts)
                factor = copula_factor(counts[:, genes], Steps.of(means[genes], sizes[genes]))
            parts: Parameters = {"means": means, "sizes": sizes, "genes": genes, "factor": factor}
            parameters |= {f"{part}_{code}": values for part, values in parts.items()}
        self._steps = {}
        return parameters

    def _correlated_genes(self, counts: csr_matrix) -> Integers:
        """Return the genes that a type's copula holds, in the order of the columns."""
        n_cells = counts.shape[0]
        n_seen = np.asarray((counts > 0).sum(axis=0)).ravel()
        columns = counts.tocsc()
        # A gene with the same count in every cell has no correlation.
        is_constant = np.asarray((columns.max(axis=0) - columns.min(axis=0)).todense()).ravel() == 0
        candidates = np.flatnonzero((n_seen > LEAST_SHARE * n_cells) & ~is_constant)
        if n_cells < FEWEST_CELLS:
            return candidates[:0]
        widest_first = candidates[np.argsort(-n_seen[candidates], kind="stable")]
        return np.sort(widest_first[: self.maximum_genes])

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        code = list(self.cells.rows_by_type).index(cell_type)
        means, sizes, genes, factor = (
            self._parameters[f"{part}_{code}"] for part in ("means", "sizes", "genes", "factor")
        )
        apart = means.copy()
        apart[genes] = 0
        independent = draw_independent(apart, sizes, n_cells, rng)
        if cell_type not in self._steps:
            self._steps[cell_type] = Steps.of(means[genes], sizes[genes])
        noise = rng.standard_normal((n_cells, factor.shape[1]), dtype=np.float32)
        together = coo_matrix(self._steps[cell_type].counts(noise @ factor.T))
        placed = (together.data, (together.row, genes[together.col]))
        counts = csr_matrix(independent + csr_matrix(placed, shape=independent.shape))
        counts.sort_indices()
        return counts


def copula_factor(counts: csr_matrix, steps: Steps) -> NDArray[np.float32]:
    """Return F with unit rows such that F Fᵀ correlates the normal values behind the counts.

    Parameters
    ----------
    counts
        n_cells × n_genes, no gene constant.
    steps
        The genes' marginals.

    Returns
    -------
    numpy.ndarray
        n_genes × n_genes, float32.
    """
    table, starts = steps.normal_scores(), steps.starts
    of_zero = table[starts[:-1]]
    last = np.diff(starts) - 1
    place = starts[counts.indices] + np.minimum(counts.data.astype(np.int64), last[counts.indices])
    # Covariances do not mind that the score of a zero is taken off everywhere.
    scores = csr_matrix((table[place] - of_zero[counts.indices], counts.indices, counts.indptr), counts.shape)
    correlations, deviations = shrunk_correlations(scores)
    covariances = correlations * np.outer(deviations, deviations)
    latent = latent_correlations(covariances, steps.hermite_coefficients(N_ORDERS))
    values, vectors = np.linalg.eigh(latent)
    factor = vectors * np.sqrt(np.maximum(values, 0))
    return (factor / np.linalg.norm(factor, axis=1, keepdims=True)).astype(np.float32)


def latent_correlations(covariances: Floats, coefficients: Floats) -> Floats:
    """Return the correlations ρ of normal values whose expected scores have the given covariances.

    Parameters
    ----------
    covariances
        n_genes × n_genes.
    coefficients
        n_orders × n_genes, of the scores: covariance = Σₖ cₖ dₖ ρᵏ, solved by bisection.

    Returns
    -------
    numpy.ndarray
        n_genes × n_genes, between -1 and 1, 1 on the diagonal.
    """
    low, high = np.full_like(covariances, -1), np.ones_like(covariances)
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        reached = np.zeros_like(middle)
        for of_order in coefficients[::-1]:
            reached = (reached + np.outer(of_order, of_order)) * middle
        is_above = reached > covariances
        low, high = np.where(is_above, low, middle), np.where(is_above, middle, high)
    correlations = (low + high) / 2
    np.fill_diagonal(correlations, 1)
    return correlations


def shrunk_correlations(scores: csr_matrix) -> tuple[Floats, Floats]:
    """Correlate columns, shrunk towards none as far as the number of rows asks for.

    Ledoit & Wolf, J. Multivariate Analysis 88 (2004), 365, on standardised columns. Rows are made
    dense a block at a time.

    Parameters
    ----------
    scores
        n_cells × n_genes, no column constant.

    Returns
    -------
    correlations, deviations
        n_genes × n_genes; the standard deviation of each column.
    """
    n_cells, n_genes = scores.shape
    means = np.asarray(scores.mean(axis=0)).ravel()
    squares = np.asarray(scores.multiply(scores).mean(axis=0)).ravel()
    deviations = np.sqrt(squares - means**2)
    products, fourth_powers = np.zeros((n_genes, n_genes)), 0.0
    for start in range(0, n_cells, BLOCK_OF_SCORES):
        block = (scores[start : start + BLOCK_OF_SCORES].toarray() - means) / deviations
        products += block.T @ block
        fourth_powers += float((np.square(block).sum(axis=1) ** 2).sum())
    correlations = products / n_cells
    total = float(np.square(correlations).sum())
    noise, spread = (fourth_powers / n_cells - total) / n_cells, total - n_genes
    shrinkage = min(1.0, noise / spread) if spread > 0 else 0.0
    correlations *= 1 - shrinkage
    np.fill_diagonal(correlations, 1)
    return correlations, deviations
