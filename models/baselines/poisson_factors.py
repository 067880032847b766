"""Poisson factor model: counts as mixtures of a few profiles, fitted without a network.

Lee & Seung, Nature 401 (1999), 788, with the Kullback-Leibler loss, which is the Poisson
likelihood.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.base import GeneratorError, Monitor
from models.baselines.shared import BLOCK, Baseline, Parameters, reciprocal
from models.controls.control import RememberedCells

N_ITERATIONS = 100
N_LOADING_ITERATIONS = 30
MOST_CELLS_FACTORED = 5_000
MOST_COMPONENTS = 20
CELLS_PER_COMPONENT = 20
LEAST_VARIANCE = 1e-4
EPSILON, TINY = np.finfo(np.float32).eps, np.finfo(np.float64).eps


class PoissonFactors(Baseline):
    """Poisson counts whose proportions mix learned profiles; the mixture is redrawn for each cell.

    Profiles come from a non-negative factorisation of the counts (Kullback-Leibler loss,
    multiplicative updates, 100 iterations, at most 5 000 training cells);
    every training cell then gets its loadings (30 iterations), as shares that sum to 1. A
    Gaussian mixture with diagonal covariances is fitted to the square roots of the loadings of
    each type. A synthetic cell draws its loadings from that mixture, its library size from a
    training cell of the type, and Poisson counts.

    Parameters
    ----------
    n_factors
        Number of profiles; no more than there are training cells or genes are used.

    Raises
    ------
    GeneratorError
        If `n_factors` is below 1.
    """

    name = "poisson_factors"
    framework = "scikit-learn"
    libraries = ("sklearn.mixture",)
    paper = "doi:10.1038/44565"

    def __init__(self, *, n_factors: int = 60) -> None:
        if n_factors < 1:
            raise GeneratorError(f"n_factors is {n_factors}; give at least 1")
        self.n_factors = n_factors

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        seed = seed % 2**32
        with monitor.phase("nmf"):
            profiles, loadings = factorise(cells.counts, n_factors=self.n_factors, seed=seed)
        with monitor.phase("mixture"):
            roots = np.sqrt(loadings)
            mixtures = [gaussian_mixture(roots[rows], seed=seed) for rows in cells.rows_by_type.values()]
        component_types = np.repeat(list(cells.rows_by_type), [len(weights) for weights, _, _ in mixtures])
        weights, means, deviations = (np.concatenate(part) for part in zip(*mixtures, strict=True))
        return {
            "profiles": profiles,
            "component_types": component_types,
            "weights": weights,
            "means": means,
            "deviations": deviations,
        }

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        known = self._parameters
        components = np.flatnonzero(known["component_types"] == cell_type)
        chosen = rng.choice(components, n_cells, p=known["weights"][components])
        roots = rng.normal(known["means"][chosen], known["deviations"][chosen])
        loadings = shares(np.maximum(roots, 0) ** 2)
        sizes = rng.choice(known["library_sizes"][self.cells.rows_by_type[cell_type]], n_cells)
        rates = (sizes[:, None] * loadings) @ known["profiles"]
        return csr_matrix(rng.poisson(rates).astype(np.float32))


def factorise(
    counts: csr_matrix, *, n_factors: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factorise counts into profiles and loadings under the Kullback-Leibler loss.

    Start and updates are those of scikit-learn's NMF, which takes five times as long over them.

    Parameters
    ----------
    counts
        n_cells × n_genes, float32.
    n_factors
        Largest number of profiles.
    seed
        Seed of the first guess and of the cells that the profiles are learned on.

    Returns
    -------
    profiles, loadings
        n_factors × n_genes and n_cells × n_factors, rows summing to 1 (to 0 for a cell without counts).
    """
    n_cells, n_genes = counts.shape
    rows = np.random.default_rng(seed).choice(n_cells, min(n_cells, MOST_CELLS_FACTORED), replace=False)
    by_cell, by_gene = counts[rows], counts[rows].T.tocsr()
    n_factors = min(n_factors, rows.size, n_genes)
    size, random = np.sqrt(by_cell.mean() / n_factors), np.random.RandomState(seed)
    profiles, loadings = (
        np.abs(size * random.standard_normal(shape)).astype(np.float32)
        for shape in ((n_factors, n_genes), (rows.size, n_factors))
    )
    # No tolerance: all iterations are made, and every data set is fitted alike.
    for _ in range(N_ITERATIONS):
        loadings = updated(loadings, by_cell, profiles)
        profiles = updated(profiles.T, by_gene, loadings.T).T
    loadings = np.full((n_cells, n_factors), np.sqrt(counts.mean() / n_factors), dtype=np.float32)
    for _ in range(N_LOADING_ITERATIONS):
        loadings = updated(loadings, counts, profiles)
    scale = profiles.sum(axis=1, dtype=np.float64)
    return shares(profiles.astype(np.float64)), shares(loadings * scale)


def updated(
    loadings: NDArray[np.float32], counts: csr_matrix, profiles: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Make one multiplicative update of the loadings (Lee & Seung, NIPS 13 (2001), 556, eq. 5).

    Products are made dense, `BLOCK` rows at a time, and kept where there are counts: much sooner than one of
    them after the other.

    Parameters
    ----------
    loadings, counts, profiles
        n_rows × n_factors, n_rows × n_columns, n_factors × n_columns. With all three transposed it is the
        profiles that are updated.
    """
    expected = np.empty_like(counts.data)
    for start in range(0, len(loadings), BLOCK):
        block = loadings[start : start + BLOCK] @ profiles
        ends = counts.indptr[start : start + len(block) + 1]
        here = slice(ends[0], ends[-1])
        expected[here] = block[np.repeat(np.arange(len(block)), np.diff(ends)), counts.indices[here]]
    ratios = csr_matrix(
        (counts.data / np.maximum(expected, EPSILON), counts.indices, counts.indptr), counts.shape
    )
    totals = profiles.sum(axis=1)
    changed = loadings * (ratios @ profiles.T / np.where(totals > 0, totals, 1))
    # Values on their way to nothing would end as denormal numbers, which are slow.
    changed[changed < TINY] = 0
    return changed


def shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale each row to the sum 1; a row of zeros stays one."""
    return values * reciprocal(values.sum(axis=1, dtype=np.float64))[:, None]


def gaussian_mixture(
    points: NDArray[np.float64], *, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fit Gaussians with diagonal covariances: one for every 20 points, at most 20.

    Parameters
    ----------
    points
        n_points × n_dimensions.
    seed
        Seed of the first guess.

    Returns
    -------
    weights, means, deviations
        n_components; n_components × n_dimensions each. A single point is its own mean and does not vary.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(points) == 1:
        return np.ones(1), points, np.zeros_like(points)
    n_components = int(np.clip(len(points) // CELLS_PER_COMPONENT, 1, MOST_COMPONENTS))
    mixture = GaussianMixture(
        n_components, covariance_type="diag", reg_covar=LEAST_VARIANCE, random_state=seed
    )
    with warnings.catch_warnings():
        # 100 iterations are what every type gets, converged or not; and points may be few and alike.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(points)
    return mixture.weights_, mixture.means_, np.sqrt(mixture.covariances_)
