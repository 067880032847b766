"""When to stop timing, and what may be said then.

After 9, 15 and 25 pairs somebody looks. Each look has its own share of the errors, and the shares add up to
the error of the whole (Bonferroni: true whatever the looks have in common, which is nearly everything):

===========  ==================  =====================
pairs        false "regression"  false "no regression"
===========  ==================  =====================
9            0.2 %               1.0 %
15           0.3 %               1.5 %
25           0.5 %               2.5 %
together     1.0 %               5.0 %
===========  ==================  =====================

The first column is for a build whose base and head are equal: its measures (three a model) divide it among
them, once more by Bonferroni. The second is for one measure that is slower by the factor or more, and is not
divided: a build passes only if every measure does, the slower one included.

What is judged are paired ratios, their pseudo-median, and bounds without a normal law. Ratios are taken pair
by pair, because what disturbs a machine for longer than a pair lasts then hits both sides; their logarithms
are symmetric about 0 where base and head are the same program and the order within a pair is random, which is
all that the signed-rank test asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["regression", "no regression", "undecided"]
FACTOR: Final = 1.10
"""Slower than this is a regression."""


@dataclass(frozen=True)
class Look:
    """One look at the pairs so far.

    Attributes
    ----------
    n_pairs
        Number of pairs after which it is taken.
    regression_error, clearance_error
        Shares of the two errors that this look has.
    """

    n_pairs: int
    regression_error: float
    clearance_error: float


LOOKS: Final = (Look(9, 0.002, 0.010), Look(15, 0.003, 0.015), Look(25, 0.005, 0.025))
REGRESSION_ERROR: Final = sum(look.regression_error for look in LOOKS)
CLEARANCE_ERROR: Final = sum(look.clearance_error for look in LOOKS)


@dataclass(frozen=True)
class Judgement:
    """A verdict and the ratio it rests on."""

    verdict: Verdict
    ratio: Ratio


def judge(base: Sequence[float], head: Sequence[float], look: Look, *, factor: float = FACTOR) -> Judgement:
    """Say what a look allows to be said of paired timings.

    ``"regression"``: the median ratio has reached the factor and the lower bound lies above 1.
    ``"no regression"``: the upper bound lies below the factor, and so is a slowdown of that size ruled out.
    Neither: ``"undecided"``.

    Parameters
    ----------
    base, head
        Seconds of base and of head, pair by pair.
    look
        Look whose errors set the bounds.
    factor
        Smallest slowdown that is a regression; above 1.
    """
    ratio = paired_ratio(base, head, lower_error=look.regression_error, upper_error=look.clearance_error)
    if ratio.median >= factor and ratio.lower > 1:
        return Judgement("regression", ratio)
    return Judgement("no regression" if ratio.upper < factor else "undecided", ratio)


def looks_shared(n_measures: int) -> tuple[Look, ...]:
    """Return the looks at one of several measures of a build.

    A share too small for its number of pairs, so that not even all of them slower would do, goes to the next
    look.

    Parameters
    ----------
    n_measures
        Number of measures that divide the error of a false regression.
    """
    looks, left = [], 0.0
    for look in LOOKS:
        error = look.regression_error / n_measures + left
        left = 0.0 if outside(look.n_pairs, error) else error
        looks.append(replace(look, regression_error=error))
    return tuple(looks)


def judge_in_turns(
    base: Sequence[float], head: Sequence[float], *, factor: float = FACTOR, n_measures: int
) -> Judgement:
    """Go through the looks that there are pairs for; the first that decides has the say.

    Parameters
    ----------
    base, head
        Seconds of base and of head, pair by pair.
    factor
        Smallest slowdown that is a regression; above 1.
    n_measures
        Number of measures of the whole build, this one included.

    Raises
    ------
    ValueError
        If there are fewer pairs than the first look wants.
    """
    ready = [look for look in looks_shared(n_measures) if look.n_pairs <= len(base)]
    if not ready:
        raise ValueError(f"{len(base)} pairs: the first look is after {LOOKS[0].n_pairs}")
    for look in ready:
        judgement = judge(base[: look.n_pairs], head[: look.n_pairs], look, factor=factor)
        if judgement.verdict != "undecided":
            break
    return judgement


def judge_at_once(
    base: Sequence[float], head: Sequence[float], *, factor: float = FACTOR, n_measures: int
) -> Judgement:
    """Judge pairs that were all there before anybody looked: one look has the errors to itself.

    The parameters are those of `judge_in_turns`.
    """
    whole = Look(len(base), REGRESSION_ERROR / n_measures, CLEARANCE_ERROR)
    return judge(base, head, whole, factor=factor)


def fewest_pairs(n_measures: int) -> int:
    """Return how many pairs `judge_at_once` must have to find a regression in one of several measures."""
    error = REGRESSION_ERROR / n_measures
    return next(n_pairs for n_pairs in count(LOOKS[0].n_pairs) if outside(n_pairs, error))


@dataclass(frozen=True)
class Ratio:
    """How paired timings of head compare with those of base.

    Attributes
    ----------
    n_pairs
        Number of pairs that it is computed from.
    median
        Median of the ratios head/base; above 1 head is slower.
    pseudomedian
        Hodges–Lehmann estimate of the ratio: exp of the median of all means of two log ratios.
    lower, upper
        One-sided confidence bounds of the pseudo-median; 0 and infinity where there are too few pairs.
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
        Number of values.
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
        probabilities = (np.pad(probabilities, (0, rank)) + np.pad(probabilities, (rank, 0))) / 2
    return probabilities
