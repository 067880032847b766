"""Is one generator better than another, or a new run worse than an old one? The one judge of all that ask.

`bench compare`, the best generator of a run and the gate take what is aimed at, distances from it, the test
and its verdict from here.

Folds are no replicates (their training parts overlap), and neither are cells of one sample; only training
seeds are. Both generators saw the same split under each seed, so differences are taken seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats

NEEDS_CONTROL: Final = "not resolved: needs the control"
Verdict = Literal["A better", "B better", "not resolved", "not resolved: needs the control"]
LEAST_SEEDS: Final = 3
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Effect:
    """How much farther from what is aimed at B is than A, over the seeds that both have.

    Attributes
    ----------
    n_seeds
        Number of seeds that both sides have.
    mean
        Mean over seeds of abs(B − aim) − abs(A − aim), in units of the quantity; below 0 where B is better.
        NaN without a common seed, or where the aim is not known.
    low, high
        95 % t interval of the mean, of this effect by itself; NaN below three seeds.
    p_value
        Two-sided p-value of the paired t test; NaN below three seeds.
    """

    n_seeds: int
    mean: float
    low: float
    high: float
    p_value: float


def aimed_at(ideal: float, judged_by: str | None, of_real: Iterable[float]) -> float:
    """Return the value that distances are taken from: the ideal, or what real cells score.

    Parameters
    ----------
    ideal, judged_by
        The metric's ideal, and what tells how real cells score, as declared.
    of_real
        What real cells score, for a metric that declares ``judged_by``; no matter otherwise.

    Returns
    -------
    float
        NaN where a metric declares ``judged_by`` and there is nothing of it.
    """
    if judged_by is None:
        return ideal
    found = list(of_real)
    return sum(found) / len(found) if found else math.nan


def mean_distance(values: Sequence[float], aim: float) -> float:
    """Return how far values lie from what is aimed at on average; NaN where there are none.

    A mean of values on both sides of it would look better than any of them.
    """
    return float(np.abs(np.asarray(values) - aim).mean()) if len(values) else math.nan


def paired_effect(a: Mapping[int, float], b: Mapping[int, float], *, aim: float, resolution: float) -> Effect:
    """Compare two generators in one quantity.

    Shares of cells come in steps, so that few seeds often differ alike by chance: the differences are taken
    to scatter by at least one step.

    Parameters
    ----------
    a, b
        Values by training seed.
    aim
        The value that distances are taken from, by `aimed_at`.
    resolution
        Least standard deviation of the differences, above 0: what one cell makes in a share of the cells.
    """
    seeds = sorted(a.keys() & b.keys())
    differences = np.array([abs(b[seed] - aim) - abs(a[seed] - aim) for seed in seeds])
    n_seeds = len(seeds)
    mean = float(differences.mean()) if n_seeds else math.nan
    if n_seeds < LEAST_SEEDS or math.isnan(mean):
        return Effect(n_seeds, mean, math.nan, math.nan, math.nan)
    error = max(float(differences.std(ddof=1)), resolution) / math.sqrt(n_seeds)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n_seeds - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, n_seeds - 1))
    return Effect(n_seeds, mean, mean - half, mean + half, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979, Scand. J. Statist. 6:65); NaN stays, uncounted."""
    adjusted = [math.nan] * len(p_values)
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = largest
    return adjusted


def judge(effects: Sequence[Effect]) -> list[tuple[Verdict, float]]:
    """Say of each effect which is better, at an error rate of 5 % for all that are judged together.

    Parameters
    ----------
    effects
        All effects that one reader is shown at once, from `paired_effect`.

    Returns
    -------
    list
        For each its verdict and its p-value after `holm`: ``not resolved`` where the seeds do not tell.
    """
    adjusted = holm([effect.p_value for effect in effects])
    return [(_verdict(effect, p), p) for effect, p in zip(effects, adjusted, strict=True)]


def _verdict(effect: Effect, adjusted_p: float) -> Verdict:
    if effect.n_seeds and math.isnan(effect.mean):
        return NEEDS_CONTROL
    if math.isnan(adjusted_p) or adjusted_p >= 1 - CONFIDENCE:
        return "not resolved"
    return "B better" if effect.mean < 0 else "A better"
