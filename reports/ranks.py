"""The place of each generator by each headline metric, with an interval, and with whom it is tied.

All pairs of generators are compared by paired t tests over common training seeds, with Holm's correction over
the pairs of one metric (`reports.judge`). A place is at least one more than the number of those found better,
and at most the number of all less those found worse. With 95 %, no pair of equally good generators is told
apart, and none the wrong way round; then every interval holds the true place, for all generators of a metric
at once, after Mogstad, Romano, Shaikh & Wilhelm 2024 (doi:10.1093/restud/rdad006). A test simulates it.

Below three seeds there are no intervals, and places are those of the means alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from reports.best import copying_models, distances_to_aim
from reports.comparison import Side, effect_of
from reports.judge import LEAST_SEEDS, Effect, judge
from reports.suspicion import TRAINED_ROLES, contradictions
from reports.table import results
from reports.view import RunView, grouped, once


class Place(NamedTuple):
    """A generator's place by a metric.

    Attributes
    ----------
    metric, model
        Names of both.
    place
        Rank by the mean distance from what is aimed at; 1 is the nearest.
    low, high
        Between which places it is, with 95 % for all generators of the metric at once; None below three
        common seeds.
    tied
        Generators that the seeds do not tell from it; None where there are no bounds.
    of
        Generators that have a place. Copies of training cells have none.
    """

    metric: str
    model: str
    place: int
    low: int | None
    high: int | None
    tied: list[str] | None
    of: int


@once
def places(view: RunView) -> list[Place]:
    """Return the places of models and baselines by each headline metric, the first first."""
    found, copying = results(view), copying_models(view)
    rows: list[Place] = []
    for metric in found.headline:
        scored = [row.model for row in found.of(TRAINED_ROLES) if metric.name in row.values]
        models = [model for model in scored if model not in copying]
        aim, distances = distances_to_aim(view, metric)
        if len(models) < 2 or any(math.isnan(distances[model]) for model in models):
            continue

        def effect(a: str, b: str) -> Effect:
            return effect_of(Side(view, a, a), Side(view, b, b), metric, aim=aim)  # noqa: B023 - used at once

        ordered = sorted(models, key=lambda model: distances[model])
        bounds = bounds_of(ordered, effect)
        for place, model in enumerate(ordered, start=1):
            low, high, tied = bounds.get(model, (None, None, None))
            rows.append(Place(metric.name, model, place, low, high, tied, len(ordered)))
    return rows


def bounds_of(
    models: Sequence[str], effect: Callable[[str, str], Effect]
) -> Mapping[str, tuple[int, int, list[str]]]:
    """Return between which places each generator is, and with whom it is tied.

    Parameters
    ----------
    models
        Names of the generators.
    effect
        How much farther from the aim the second of two is.

    Returns
    -------
    Mapping
        A pair of fewer than three common seeds is not told apart. Empty where no pair has as many.
    """
    pairs = list(combinations(models, 2))
    effects = [effect(a, b) for a, b in pairs]
    if all(one.n_seeds < LEAST_SEEDS for one in effects):
        return {}
    verdicts = dict(zip(pairs, (verdict for verdict, _ in judge(effects)), strict=True))
    beats = {(a, b) for (a, b), verdict in verdicts.items() if verdict == "A better"}
    beats |= {(b, a) for (a, b), verdict in verdicts.items() if verdict == "B better"}
    bounds = {}
    for model in models:
        better = {first for first, second in beats if second == model}
        worse = {second for first, second in beats if first == model}
        tied = [other for other in models if other not in better | worse | {model}]
        bounds[model] = (1 + len(better), len(models) - len(worse), tied)
    return bounds


def in_words(place: Place) -> str:
    """Return a place in words: ``2nd``, or ``2nd to 4th``; without an interval in brackets."""
    if place.low is None or place.high is None:
        return f"({_ordinal(place.place)})"
    if place.low == place.high:
        return _ordinal(place.low)
    return f"{_ordinal(place.low)} to {_ordinal(place.high)}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def ties_in_words(view: RunView) -> list[str]:
    """Return for each metric who shares the first places, or that one has it alone."""
    lines = []
    suspect = {metric.name for metric in results(view).headline if contradictions(results(view).rows, metric)}
    for metric, rows in grouped((row.metric, row) for row in places(view)).items():
        first = rows[0]
        if first.tied is None:
            lines.append(f"{metric}: places by means alone; an interval takes {LEAST_SEEDS} seeds")
        elif first.tied:
            lines.append(f"{metric}: {first.model} is {in_words(first)}, tied with {', '.join(first.tied)}")
        else:
            lines.append(f"{metric}: {first.model} is 1st, tied with nobody")
        if metric in suspect:
            lines[-1] += "; the controls contradict this metric"
    return lines
