"""Gaussian mixtures, one for each cell type: what latent vectors and library sizes are drawn from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.threads import one_blas_thread

CELLS_PER_DIMENSION = 6
"""A component with a covariance of its own has at least so many cells for each dimension."""
PRIOR_CELLS = 2.0
"""Cells, for each dimension, that the covariance of the whole type counts for beside a component's own."""
MOST_CELLS = 10_000
"""Of a type: a mixture of a larger one is fitted to so many of its cells, drawn at random."""
LEAST_VARIANCE = 1e-4
"""Of each dimension's variance over the cells that are fitted to: no component is narrower."""


class TypeMixtures:
    """Mixtures of Gaussians with full covariances, one mixture for each type.

    Use `fit`; the constructor takes the tensors that `tensors` returned.

    Parameters
    ----------
    weights
        n_components, summing to 1 within a type.
    types
        n_components: the type (code) that each belongs to.
    means, factors
        n_components × n_dimensions, and n_components × n_dimensions × n_dimensions: lower triangular L with
        L Lᵀ the covariance.
    """

    def __init__(self, *, weights: Tensor, types: Tensor, means: Tensor, factors: Tensor) -> None:
        self.weights, self.types, self.means, self.factors = weights, types, means, factors

    @classmethod
    def fit(
        cls,
        points: NDArray[np.floating],
        types: NDArray[np.integer],
        *,
        n_types: int,
        most_components: int,
        seed: int,
    ) -> Self:
        """Fit by expectation-maximisation.

        A type of few cells borrows strength: with fewer components, and with each component's covariance
        drawn towards its type's, and that towards the pooled one within types.

        Parameters
        ----------
        points
            n_cells × n_dimensions.
        types
            n_cells codes in 0 … n_types - 1, each with a cell at least.
        most_components
            Largest number of components of a type.
        seed
            Seed of the first guesses, and of the cells of types that have more than `MOST_CELLS`.
        """
        chosen = _chosen(types, n_types, seed=seed)
        points, types = np.asarray(points[chosen], dtype=np.float64), types[chosen]
        floor = LEAST_VARIANCE * points.var(axis=0) + 1e-8
        centred = np.concatenate(
            [points[types == t] - points[types == t].mean(axis=0) for t in range(n_types)]
        )
        pooled = centred.T @ centred / len(points) + np.diag(floor)
        with one_blas_thread():
            parts = [
                part
                for code in range(n_types)
                for part in _components(points[types == code], code, pooled, floor, most_components, seed)
            ]
        weights, codes, means, factors = (np.array(part) for part in zip(*parts, strict=True))
        return cls(
            weights=torch.tensor(weights, dtype=torch.float32),
            types=torch.tensor(codes, dtype=torch.long),
            means=torch.tensor(means, dtype=torch.float32),
            factors=torch.tensor(factors, dtype=torch.float32),
        )

    def draw(self, types: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw a point for each cell of these types (codes), n_cells × n_dimensions, on the types' device."""
        device = types.device
        odds = self.weights.to(device) * (types[:, None] == self.types.to(device))
        chosen = torch.multinomial(odds, 1, generator=generator)[:, 0]
        noise = torch.randn((len(types), self.means.shape[1]), generator=generator, device=device)
        # A factor for each cell: n_cells × n_dimensions² for a moment, and one product in place of one a
        # component, each of them small, whose threads would wait for each other on a machine that is busy.
        factors, means = self.factors.to(device)[chosen], self.means.to(device)[chosen]
        return torch.baddbmm(means[:, :, None], factors, noise[:, :, None])[:, :, 0]

    def tensors(self) -> dict[str, Tensor]:
        """Return what the constructor takes."""
        return {"weights": self.weights, "types": self.types, "means": self.means, "factors": self.factors}


def _chosen(types: NDArray[np.integer], n_types: int, *, seed: int) -> NDArray[np.integer]:
    """Return the numbers of the cells that mixtures are fitted to, type by type."""
    rng = np.random.default_rng(seed)
    cells = (np.flatnonzero(types == code) for code in range(n_types))
    return np.concatenate(
        [of if len(of) <= MOST_CELLS else rng.choice(of, MOST_CELLS, replace=False) for of in cells]
    )


def _components(
    points: NDArray[np.float64],
    code: int,
    pooled: NDArray[np.float64],
    floor: NDArray[np.float64],
    most_components: int,
    seed: int,
) -> Iterator[tuple[float, int, NDArray[np.floating], NDArray[np.floating]]]:
    """Yield weight, type, mean and Cholesky factor of each component of a type."""
    n_components = len(points) // (CELLS_PER_DIMENSION * points.shape[1])
    n_components = int(np.clip(n_components, 1, most_components))
    shares = _responsibilities(points, n_components, floor=floor, seed=seed % 2**32)
    whole = _shrunk(points, np.ones(len(points)), pooled)
    prior = whole if shares.shape[1] > 1 else pooled
    for weight in shares.T:
        mean = weight @ points / weight.sum()
        factor = np.linalg.cholesky(_shrunk(points, weight, prior) + np.diag(floor))
        yield float(weight.sum() / len(points)), code, mean, factor


def _shrunk(
    points: NDArray[np.float64], weights: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted covariance of points with `prior` counted as so many further cells."""
    total, prior_cells = weights.sum(), PRIOR_CELLS * points.shape[1]
    centred = points - weights @ points / total
    products: NDArray[np.float64] = (centred * weights[:, None]).T @ centred
    return (products + prior_cells * prior) / (total + prior_cells)


def _responsibilities(
    points: NDArray[np.float64], n_components: int, *, floor: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return how far each point belongs to each component, n_points × n_components."""
    if n_components == 1:
        return np.ones((len(points), 1))
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        n_components, covariance_type="full", reg_covar=float(floor.max()), random_state=seed, max_iter=50
    )
    with warnings.catch_warnings():
        # Converged or not, every type gets the same iterations.
        warnings.simplefilter("ignore", ConvergenceWarning)
        shares: NDArray[np.float64] = mixture.fit(points).predict_proba(points)
    kept = shares.sum(axis=0) > 1
    return shares[:, kept] / shares[:, kept].sum(axis=1, keepdims=True)
