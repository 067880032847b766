"""How much slower is head than base? Paired ratios, their pseudo-median, and bounds without a normal law.

Pure functions of numbers. Ratios are taken pair by pair, because what disturbs a machine for longer than a
pair lasts then hits both sides; their logarithms are symmetric about 0 where base and head are the same
program and the order within a pair is random, which is all that the signed-rank test asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ratio:
    """How paired timings of head compare with those of base.

    Attributes
    ----------
    n_pairs
        Pairs it rests on.
    median
        Of the ratios head/base; above 1 head is slower.
    pseudomedian
        Hodges–Lehmann estimate of the ratio: exp of the median of all means of two log ratios.
    lower, upper
        One-sided confidence bounds of the latter; 0 and infinity where there are too few pairs for one.
    """

    n_pairs: int
    median: float
    pseudomedian: float
    lower: float
    upper: float


def paired_ratio(
    base: Sequence[float], head: Sequence[float], *, lower_error: float, upper_error: float
) -> Ratio:
    """Compare paired timings (Hodges & Lehmann 1963, Ann. Math. Statist. 34:598; bounds by Wilcoxon's test).

    Parameters
    ----------
    base, head
        Seconds, above 0; the same place is the same pair.
    lower_error, upper_error
        How often each bound may lie on the wrong side of the true ratio.

    Raises
    ------
    ValueError
        If there is no pair, the sides differ in length, or a number is not finite and above 0.
    """
    values = np.array([base, head], dtype=float)
    if values.ndim != 2 or values.shape[1] == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError("give equally many seconds of base and head, at least one, finite and above 0")
    logs = np.log(values[1] / values[0])
    means = walsh_averages(logs)
    below, above = outside(len(logs), lower_error), outside(len(logs), upper_error)
    return Ratio(
        n_pairs=len(logs),
        median=math.exp(float(np.median(logs))),
        pseudomedian=math.exp(float(np.median(means))),
        lower=math.exp(means[below - 1]) if below else 0.0,
        upper=math.exp(means[-above]) if above else math.inf,
    )


def walsh_averages(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of all pairs of values, each with itself included, sorted: n (n + 1) / 2 of them."""
    first, second = np.triu_indices(len(values))
    return np.sort((values[first] + values[second]) / 2)


def outside(n_pairs: int, error: float) -> int:
    """Return which Walsh average, counted from an end, bounds the pseudo-median on that side.

    Wilcoxon's statistic T+ is the number of Walsh averages above the supposed centre, so the k-th smallest
    is a lower bound with error P(T+ < k).

    Parameters
    ----------
    n_pairs
        Of values.
    error
        Largest error of the bound.

    Returns
    -------
    int
        Counted from 1; 0 if even the outermost has a larger error.
    """
    cumulative = np.cumsum(signed_rank_probabilities(n_pairs))
    # Sums of powers of two are exact; a bound that just meets its error must not be lost to the last digit.
    return int(np.searchsorted(cumulative, error * (1 + 1e-12), side="right"))


def signed_rank_probabilities(n_pairs: int) -> NDArray[np.float64]:
    """Return P(T+ = 0), P(T+ = 1), …: the exact null distribution of Wilcoxon's signed-rank statistic.

    Rank r belongs to a positive difference with probability ½, for each rank by itself.
    """
    probabilities = np.ones(1)
    for rank in range(1, n_pairs + 1):
        longer = np.zeros(len(probabilities) + rank)
        longer[: len(probabilities)] += probabilities / 2
        longer[rank:] += probabilities / 2
        probabilities = longer
    return probabilities
