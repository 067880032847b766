"""Distances and correlations on a GPU where there is one, elsewhere by SciPy, NumPy and scikit-learn.

Double precision either way, and no shortcut that loses digits: the numbers are the same but for rounding.
"""

from __future__ import annotations

from ctypes.util import find_library
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from metrics.arrays import Floats, Ints

if TYPE_CHECKING:
    import torch

BLOCK = 1024
PLAIN = "plain"


@cache
def best_device() -> str:
    """Return ``"cuda"`` where PyTorch finds a GPU, else ``"plain"``: no PyTorch at all."""
    # Importing it takes seconds, so not before there is a driver.
    if find_library("cuda") is None:
        return PLAIN
    import torch

    return "cuda" if torch.cuda.is_available() else PLAIN


def squared_distances(left: Floats, right: Floats, *, device: str | None = None) -> Floats:
    """Squared Euclidean distances between all points of two sets.

    Parameters
    ----------
    left, right
        n × n_dimensions and m × n_dimensions.
    device
        ``"plain"`` or a device of PyTorch; None for `best_device`.

    Returns
    -------
    numpy.ndarray
        n × m.
    """
    device = device or best_device()
    if device == PLAIN:
        from scipy.spatial.distance import cdist

        return np.asarray(cdist(left, right, "sqeuclidean"))
    return np.asarray(_distances(_tensor(left, device), _tensor(right, device)).square().cpu().numpy())


def nearest_rows(points: Floats, among: Floats, k: int, *, device: str | None = None) -> Ints:
    """Rows of the k nearest of some points to each of others, nearest first.

    Parameters
    ----------
    points, among
        n × n_dimensions and m × n_dimensions, m at least k.
    k
        Number of rows to find for each point.
    device
        ``"plain"`` or a device of PyTorch; None for `best_device`.

    Returns
    -------
    numpy.ndarray
        n × k.
    """
    device = device or best_device()
    if device == PLAIN:
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(among)
        return np.asarray(search.kneighbors(points, return_distance=False), dtype=np.int64)
    there = _tensor(among, device)
    # Block by block: all distances to 60 000 cells would fill a GPU.
    blocks = (_tensor(points[start : start + BLOCK], device) for start in range(0, len(points), BLOCK))
    found = [_distances(block, there).topk(k, dim=1, largest=False).indices.cpu().numpy() for block in blocks]
    return np.concatenate(found)


def products_of_columns(values: Floats, *, device: str | None = None) -> Floats:
    """Scalar products of all columns: valuesᵀ · values.

    Parameters
    ----------
    values
        Matrix of n rows and m columns.
    device
        ``"plain"`` or a device of PyTorch; None for `best_device`.

    Returns
    -------
    numpy.ndarray
        m × m.
    """
    device = device or best_device()
    if device == PLAIN:
        return np.asarray(values.T @ values)
    there = _tensor(values, device)
    return np.asarray((there.T @ there).cpu().numpy())


def _tensor(values: Floats, device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)).to(device)


def _distances(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    import torch

    # By way of products, equal points would not be at distance 0.
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
