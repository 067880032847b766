"""How sure is a number? Bootstrap intervals over cells and p-values; seeded, no metric knows of another.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapters 13 and 15; Phipson & Smyth 2010
(doi:10.2202/1544-6115.1585) for permutation p-values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from metrics.arrays import Floats, Ints

REPLICATES = 1000
LEVEL = 0.95


def shifted_percentile_interval(replicates: ArrayLike, *, observed: float) -> tuple[float, float]:
    """Central 95 % of bootstrap replicates, moved so that their mean lies on the observed value.

    A resample repeats cells, and so lies farther from anything than the cells themselves: distances and
    discrepancies of resamples are biased upwards, often beyond the observed value. Without the shift
    their interval would be about something else. Without bias it is the plain percentile interval.

    Parameters
    ----------
    replicates
        The statistic of each resample.
    observed
        The statistic of the cells themselves.

    Returns
    -------
    tuple
        Interval of the statistic's expectation for samples of this size; not clipped to any bounds.
    """
    values = np.asarray(replicates, dtype=np.float64)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) + (observed - values.mean())
    return float(low), float(high)


def bootstrap_weights(
    n_cells: int, *, seed: int, replicates: int = REPLICATES, strata: Ints | None = None
) -> Floats:
    """How often each cell is in each resample with replacement.

    Parameters
    ----------
    n_cells
        Cells to draw from, and to draw.
    seed
        Everything random follows from it.
    replicates
        Number of resamples.
    strata
        Group of each cell, such as its fold: each group keeps its size. None: one group.

    Returns
    -------
    numpy.ndarray
        replicates × n_cells; each row sums to n_cells. ``weights @ values / n_cells`` are means of resamples.
    """
    rng = np.random.default_rng(seed)
    groups = np.zeros(n_cells, dtype=np.int64) if strata is None else np.asarray(strata)
    weights = np.empty((replicates, n_cells))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        drawn = rng.integers(rows.size, size=(replicates, rows.size))
        drawn += rows.size * np.arange(replicates)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=replicates * rows.size)
        weights[:, rows] = counts.reshape(replicates, rows.size)
    return weights


def bootstrap_interval(
    statistic: Callable[[Ints], float], n_cells: int, *, seed: int, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Bootstrap a 95 % interval of any statistic of cells; for a mean, `bootstrap_mean_interval` is faster.

    Parameters
    ----------
    statistic
        Function of n_cells row numbers from 0 to n_cells - 1, with repeats, that returns a number.
    n_cells
        Number of cells.
    seed
        Everything random follows from it.
    replicates
        Number of times that the statistic is computed; 200 will do where it is slow.

    Returns
    -------
    tuple
        See `shifted_percentile_interval`.
    """
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(n_cells, size=n_cells)) for _ in range(replicates)]
    return shifted_percentile_interval(values, observed=statistic(np.arange(n_cells)))


def bootstrap_mean_interval(
    values: ArrayLike, *, seed: int, replicates: int = REPLICATES, strata: Ints | None = None
) -> tuple[float, float]:
    """Bootstrap a 95 % interval of the mean of a value per cell; the order of cells does not matter.

    Parameters
    ----------
    values
        One number for each cell.
    seed, replicates, strata
        Seed and number of resamples; group of each cell, or None for one group: each group keeps its size.

    Returns
    -------
    tuple
        Lower and upper end.
    """
    each = np.asarray(values, dtype=np.float64)
    groups = np.zeros(each.size, dtype=np.int64) if strata is None else np.asarray(strata)
    order = np.lexsort((each, groups))
    weights = bootstrap_weights(each.size, seed=seed, replicates=replicates, strata=groups[order])
    return shifted_percentile_interval(weights @ each[order] / each.size, observed=float(each.mean()))


def permutation_p_value(observed: float, permuted: ArrayLike) -> float:
    """Share of permutations at least as large as the observed value, itself counted: (b + 1)/(m + 1).

    Parameters
    ----------
    observed
        The statistic; large values speak against the null hypothesis.
    permuted
        The same statistic for m random relabellings.
    """
    values = np.asarray(permuted, dtype=np.float64)
    return float((np.sum(values >= observed) + 1) / (values.size + 1))
