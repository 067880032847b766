"""What a metric's value is worth: where it lies between the floors and the ceiling of the same run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.judge import mean_distance
from reports.rows import Row, means
from reports.view import MetricFacts

CEILING = "real"


def held_out_distance(rows: Sequence[Row], metric: MetricFacts) -> float:
    """Return how far held-out real cells lie from the ideal of a metric that does not score the ceiling.

    Where ``judged_by`` is a column, that holds what the test cells score. Else they stand at the ideal.
    """
    scored = list(means(rows, metric.judged_by or "").values())
    return abs(float(np.mean(scored)) - metric.ideal) if scored else 0.0


def ends(rows: Sequence[Row], metric: MetricFacts) -> tuple[float, float]:
    """Return what the best declared floor and the ceiling score on average; NaN where there is none."""
    values = means(rows, metric.name)
    floors = [values[floor] for floor in metric.floors if floor in values]
    best = min(floors, key=lambda value: abs(value - metric.ideal), default=math.nan)
    return best, values.get(CEILING, math.nan)


def positions(rows: Sequence[Row], metric: MetricFacts) -> dict[str, float]:
    """Return where each generator lies between the best declared floor (0) and the ceiling (1).

    Distances are measured from the metric's ideal, seed by seed, so that a value beyond the ideal counts as
    one before it, and does not make up for it.
    A metric that does not score the ceiling, because copies of training cells are what it looks for, has that
    of held-out real cells. A generator that is worse than the best floor lies below 0; one that is nearer to
    the ideal than real cells happened to be lies above 1.

    Returns
    -------
    dict
        Model → place, NaN without a score; empty where the ceiling or every declared floor is missing, or
        where a floor is no worse than the ceiling, so that there is no scale (such a run is suspect).
    """
    distances = {row.model: mean_distance(row.values.get(metric.name, ()), metric.ideal) for row in rows}
    scored = {model: distance for model, distance in distances.items() if not math.isnan(distance)}
    floors = [scored[floor] for floor in metric.floors if floor in scored]
    if CEILING in metric.exempt:
        scored[CEILING] = held_out_distance(rows, metric)
    if not floors or CEILING not in scored or min(floors) <= scored[CEILING]:
        return {}
    best, ceiling = min(floors), scored[CEILING]
    return {model: (best - distance) / (best - ceiling) for model, distance in distances.items()}
