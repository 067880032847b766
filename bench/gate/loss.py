"""How many optimiser steps until a logged loss has come down to a fixed value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

Point = Mapping[str, Any]
"""``phase``, ``steps`` done in it, ``values`` logged then."""

WINDOW: Final = 5
"""Points whose mean is watched: the loss of one batch says little."""
LEAST_FALL: Final = 0.2
"""Share of its first value by which a loss must have come down to be worth watching."""


def choose_target(curve: Sequence[Point]) -> dict[str, Any] | None:
    """Choose what to watch: of the longest phase, the value that falls most, half-way down.

    Only values that are never negative are losses that end at some point: a critic's, a difference of
    scores, may fall without bound, and does so where the training diverges.

    Parameters
    ----------
    curve
        As `bench.gate.counting.CountingMonitor` keeps it.

    Returns
    -------
    dict or None
        ``phase``, ``name`` and ``value``; None if no such loss is logged that falls and stays down.
    """
    if not curve:
        return None
    phase = max(curve, key=lambda point: point["steps"])["phase"]
    best, target = LEAST_FALL, None
    points = [point["values"] for point in curve if point["phase"] == phase]
    for name in points[0]:
        means = [mean for _, mean in smoothed(curve, phase, name)]
        is_loss = all(0 <= values[name] < math.inf for values in points if name in values)
        if not (is_loss and means and means[0]):
            continue
        fall, middle = (means[0] - means[-1]) / means[0], (means[0] + means[-1]) / 2
        down = [mean <= middle for mean in means]
        if fall >= best and down == sorted(down):
            best, target = fall, {"phase": phase, "name": name, "value": middle}
    return target


def steps_to(curve: Sequence[Point], target: Mapping[str, Any]) -> float | None:
    """Return the steps of the phase until the value is first reached, between two points in a straight line.

    Parameters
    ----------
    curve
        As in `choose_target`.
    target
        What that returned.

    Returns
    -------
    float or None
        None if it never is.
    """
    points, wanted = smoothed(curve, target["phase"], target["name"]), target["value"]
    if points and points[0][1] <= wanted:
        return points[0][0]
    for (steps, mean), (later, lower) in pairwise(points):
        if lower <= wanted:
            return steps + (mean - wanted) / (mean - lower) * (later - steps)
    return None


def smoothed(curve: Sequence[Point], phase: str, name: str) -> list[tuple[float, float]]:
    """Return the steps of each point of a phase from the fifth on, with the mean of the last five values."""
    points = [point for point in curve if point["phase"] == phase and name in point["values"]]
    values = [point["values"][name] for point in points]
    return [
        (float(points[last]["steps"]), sum(values[last + 1 - WINDOW : last + 1]) / WINDOW)
        for last in range(WINDOW - 1, len(points))
    ]
