"""Is one generator better than another? Paired tests over training seeds, and when not to answer.

Folds are no replicates (their training parts overlap), and neither are cells of one sample; only training
seeds are. Both generators saw the same split under each seed, so differences are taken seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats

Verdict = Literal["A better", "B better", "not resolved"]
LEAST_SEEDS: Final = 3
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Effect:
    """How much farther from the ideal B is than A, over the seeds that both have.

    Attributes
    ----------
    n_seeds
        Common seeds.
    mean
        Mean over seeds of abs(B − ideal) − abs(A − ideal), in units of the quantity; below 0 where B is
        better. NaN without a common seed.
    low, high
        95 % t interval of the mean, of this effect by itself; NaN below three seeds.
    p_value
        Of the paired t test, two-sided; NaN below three seeds.
    """

    n_seeds: int
    mean: float
    low: float
    high: float
    p_value: float


def paired_effect(
    a: Mapping[int, float], b: Mapping[int, float], *, ideal: float, resolution: float
) -> Effect:
    """Compare two generators in one quantity.

    Shares of cells come in steps, so that few seeds often differ alike by chance: the differences are taken
    to scatter by at least one step.

    Parameters
    ----------
    a, b
        Values by training seed.
    ideal
        The value that is best.
    resolution
        Least standard deviation of the differences, above 0: what one cell makes in a share of the cells.
    """
    seeds = sorted(a.keys() & b.keys())
    differences = np.array([abs(b[seed] - ideal) - abs(a[seed] - ideal) for seed in seeds])
    n_seeds = len(seeds)
    mean = float(differences.mean()) if n_seeds else math.nan
    if n_seeds < LEAST_SEEDS:
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


def verdict(effect: Effect, adjusted_p: float) -> Verdict:
    """Say which is better at a family-wise error rate of 5 %, or that the seeds do not tell.

    Parameters
    ----------
    effect
        From `paired_effect`.
    adjusted_p
        Its p-value after `holm`, with those of all quantities that are judged together.
    """
    if math.isnan(adjusted_p) or adjusted_p >= 1 - CONFIDENCE:
        return "not resolved"
    return "B better" if effect.mean < 0 else "A better"
