"""Nearest neighbours on principal components, with distances that are 0 for copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metrics.declaration import NotApplicable

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbours:
    """The nearest of some cells to each of n others.

    Parameters
    ----------
    distances
        n Euclidean distances.
    rows
        Which cell it is: n rows of the cells that were searched.
    """

    distances: NDArray[np.float64]
    rows: NDArray[np.int64]


def nearest(points: NDArray[np.float64], among: NDArray[np.float64]) -> Neighbours:
    """Find the nearest cell of `among` to each cell of `points`.

    Parameters
    ----------
    points, among
        n × n_components and m × n_components, m at least 1.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(among)
    rows = search.kneighbors(points, return_distance=False)[:, 0].astype(np.int64)
    # Brute force takes ‖a‖² + ‖b‖² − 2ab, which is not 0 for equal cells.
    return Neighbours(np.linalg.norm(points - among[rows], axis=1), rows)


def radii(points: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Distance from each cell to its k-th nearest other cell.

    Parameters
    ----------
    points
        n × n_components.
    k
        From 1 on.

    Raises
    ------
    NotApplicable
        With no more than k cells.
    """
    from sklearn.neighbors import NearestNeighbors

    if points.shape[0] <= k:
        raise NotApplicable(f"{points.shape[0]} cells; the {k} nearest others of a cell need {k + 1}")
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
    rows = search.kneighbors(return_distance=False)
    distances = np.linalg.norm(points[:, None, :] - points[rows], axis=2)
    return np.asarray(distances.max(axis=1), dtype=np.float64)
