"""Nearest neighbours on principal components, with distances that are 0 for copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metrics.accelerator import nearest_rows
from metrics.arrays import Floats, Ints
from metrics.declaration import NotApplicable

BANDWIDTH_NEIGHBOURS = 25
"""Of each cell, for the bandwidth of the kernel of `metrics.mmd`."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest of some cells to each of n others.

    Parameters
    ----------
    distances
        Euclidean distance of each of the n cells to its nearest.
    rows
        Row of the nearest of each of the n cells among the cells that were searched.
    second_distances
        n distances to the second nearest; infinite where only one cell was searched.
    """

    distances: Floats
    rows: Ints
    second_distances: Floats


def nearest(points: Floats, among: Floats) -> Neighbours:
    """Find the nearest cell of `among` to each cell of `points`, and how far the second nearest is.

    Parameters
    ----------
    points, among
        n × n_components and m × n_components, m at least 1.
    """
    rows = nearest_rows(points, among, min(2, len(among)))
    # Brute force takes ‖a‖² + ‖b‖² − 2ab, which is not 0 for equal cells.
    distances = np.linalg.norm(points[:, None, :] - among[rows], axis=2)
    each, first = np.arange(len(points)), distances.argmin(axis=1)
    second = distances.max(axis=1) if len(among) > 1 else np.full(len(points), np.inf)
    return Neighbours(distances[each, first], rows[each, first], second)


def radii(points: Floats, k: int) -> Floats:
    """Distance from each cell to its k-th nearest other cell.

    Parameters
    ----------
    points
        n × n_components.
    k
        Number of the neighbour whose distance is the radius, counted from 1.

    Raises
    ------
    NotApplicable
        With no more than k cells.
    """
    if points.shape[0] <= k:
        raise NotApplicable(f"{points.shape[0]} cells; the {k} nearest others of a cell need {k + 1}")
    # One of them is the cell itself, or else so many are its duplicates.
    rows = nearest_rows(points, points, k + 1)
    distances = np.linalg.norm(points[:, None, :] - points[rows], axis=2)
    return np.asarray(distances.max(axis=1), dtype=np.float64)


def neighbour_bandwidth(cells: Floats, *, n_neighbours: int = BANDWIDTH_NEIGHBOURS) -> float:
    """Median of the distances from each cell to its nearest neighbours, itself excluded.

    The median runs over all n_cells · n_neighbours distances together.

    Parameters
    ----------
    cells
        n_cells × n_components, real cells.
    n_neighbours
        Number of neighbours of each cell, itself excluded.

    Raises
    ------
    NotApplicable
        With no more cells than neighbours, or where so many coincide that the median is 0.
    """
    from sklearn.neighbors import NearestNeighbors

    if cells.shape[0] <= n_neighbours:
        raise NotApplicable(f"{cells.shape[0]} test cells; the kernel's bandwidth needs {n_neighbours + 1}")
    distances, _ = NearestNeighbors(n_neighbors=n_neighbours).fit(cells).kneighbors()
    bandwidth = float(np.median(distances))
    if bandwidth == 0:
        raise NotApplicable("most test cells coincide with their neighbours: the kernel's bandwidth is 0")
    return bandwidth
