"""How a metric answers a ladder: whether its value gets worse, rung by rung, by more than by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from metrics.arrays import Floats
from metrics.declaration import Metric

Answer = Literal["worse", "none", "better", "mixed", "not applicable", "not asked"]

ROUNDING = 1e-4
"""Relative: what float32 on the way through another space may change."""


def tolerance(clean: Sequence[float], *, share_drawn: float) -> float:
    """Return how far one draw of real cells may lie from another by chance.

    Half of the 95 % range of single draws around their mean: the t quantile times their standard deviation.

    Parameters
    ----------
    clean
        A metric's value for each draw of unchanged real cells; with fewer than two, nothing is known to vary.
    share_drawn
        Share of the cells to draw from that one draw takes. Draws overlap and so vary by √(1 − share) of what
        independent ones would.
    """
    from scipy.stats import t

    rounding = ROUNDING * max((abs(value) for value in clean), default=1.0)
    if len(clean) < 2:
        return rounding
    spread = np.std(clean, ddof=1) / np.sqrt(1 - share_drawn)
    return max(rounding, float(t.ppf(0.975, len(clean) - 1) * spread))


def distances(metric: Metric, values: Sequence[float]) -> Floats:
    """Return how bad values are: how far from the ideal, on whatever side.

    Where an ideal has two sides, real cells lie off it by chance alone, and no value is better than theirs.

    Parameters
    ----------
    metric
        The metric from whose ideal distances are taken.
    values
        Values of the metric, that of the unchanged cells first.
    """
    low, high = metric.bounds
    found = np.abs(np.asarray(values) - metric.ideal)
    return np.maximum(found, found[0]) if low < metric.ideal < high else found


def answer(metric: Metric, values: Sequence[float | None], *, tolerance: float) -> Answer:
    """Say how a metric answered.

    ``worse`` is the monotone answer: the last value is worse than the first by more than the tolerance, and
    no rung better than an earlier one by more than it. ``better`` likewise; ``none``: all values within the
    tolerance of the first; ``mixed``: anything else.

    Parameters
    ----------
    metric
        The metric from whose ideal distances are taken.
    values
        Value on each rung; None where the metric does not apply.
    tolerance
        The differences that chance makes, from `tolerance`.
    """
    if values[0] is None or all(value is None for value in values[1:]):
        return "not applicable"
    known = [value for value in values if value is not None]
    badness = distances(metric, known)
    if np.all(np.abs(badness - badness[0]) <= tolerance):
        return "none"
    falls = np.max(np.maximum.accumulate(badness) - badness)
    rises = np.max(badness - np.minimum.accumulate(badness))
    change = badness[-1] - badness[0]
    if change > tolerance and falls <= tolerance:
        return "worse"
    if -change > tolerance and rises <= tolerance:
        return "better"
    return "mixed"
