"""Which generator is best by each headline metric, whether the seeds resolve it, and who cannot be it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reports.comparison import Side, effect_of, scores_of_real
from reports.judge import Effect, aimed_at, judge, mean_distance
from reports.rows import MISSING, Row
from reports.suspicion import TRAINED_ROLES, contradictions, copiers
from reports.table import results
from reports.view import MetricFacts, RunView, once

COPIES = "near-copies of training cells"
MADE_OF_CELLS = "made of training cells"
WORSE = "worse than the floor {}"
UNKNOWN = "what real cells score is not known"


class Best(NamedTuple):
    """The model or baseline whose values are nearest to what is aimed at, by one headline metric.

    Attributes
    ----------
    model
        None where nobody can be it.
    value, low, high
        Mean, and its 95 % t interval (NaN below three seeds).
    position
        Between the best floor (0) and real cells (1).
    others, unresolved
        How many it was tested against; those of them that the seeds do not tell from it.
    suspect
        Whether the run's controls contradict the metric.
    passed_over
        Reason → those that came no worse, but cannot be the best.
    """

    metric: str
    ideal: float
    model: str | None
    value: float
    low: float
    high: float
    position: float
    n_seeds: int
    others: int
    unresolved: list[str]
    suspect: bool
    passed_over: dict[str, list[str]]


@once
def best(view: RunView) -> list[Best]:
    """Return who is best by each headline metric that a generator was scored with.

    It is tested against each other one by a paired t test over common training seeds, with Holm's correction
    over all tests. Who copies training cells, by an alarm or by its make, and who is farther from the aim
    than a floor that the metric declares, is never the best.
    """
    found = results(view)
    copying = copying_models(view)
    bests, tests, effects = list[Best](), list[tuple[str, str]](), list[Effect]()
    for metric in found.headline:
        scored = {row.model: row for row in found.of(TRAINED_ROLES) if metric.name in row.values}
        if not scored:
            continue
        aim, distances = distances_to_aim(view, metric)
        ranked = sorted(scored, key=lambda model: distances[model])
        out = _worse_than_a_floor(ranked, distances, metric) | copying
        first = next((model for model in ranked if model not in out), None)
        nearer = ranked[: ranked.index(first)] if first is not None else ranked
        passed_over = {why: [m for m in nearer if out[m] == why] for why in map(out.__getitem__, nearer)}
        row = None if first is None else scored[first]
        bests.append(_described(row, metric, bool(contradictions(found.rows, metric)), passed_over))
        if first is not None:
            side = Side(view, first, first)
            rivals = [model for model in ranked if model != first and model not in copying]
            tests += [(metric.name, rival) for rival in rivals]
            effects += [effect_of(side, Side(view, rival, rival), metric, aim=aim) for rival in rivals]
    verdicts = [verdict for verdict, _ in judge(effects)]
    resolved = {test for test, verdict in zip(tests, verdicts, strict=True) if verdict == "A better"}
    return [_with_tests(one, tests, resolved) for one in bests]


def copying_models(view: RunView) -> dict[str, str]:
    """Return the generators that hand out training cells, and whether an alarm or their make says so.

    Who sets off an alarm under one protocol of the run copies under all.
    """
    every = [results(seen) for seen in view.each_protocol]
    alarmed = {model for found in every for model in copiers(found.rows, found.metrics)}
    made = {record.job.model for record in view.records_of("main") if record.job.draws_from != "model"}
    return dict.fromkeys(sorted(alarmed), COPIES) | dict.fromkeys(made, MADE_OF_CELLS)


def distances_to_aim(view: RunView, metric: MetricFacts) -> tuple[float, dict[str, float]]:
    """Return what a metric aims at and how far from it each generator's values lie on average."""
    values = {row.model: row.values[metric.name] for row in results(view).rows if metric.name in row.values}
    real = scores_of_real((Side(view, model, model) for model in values), metric)
    aim = aimed_at(metric.ideal, metric.judged_by, real)
    return aim, {model: mean_distance(of_model, aim) for model, of_model in values.items()}


def _worse_than_a_floor(
    models: Sequence[str], distances: Mapping[str, float], metric: MetricFacts
) -> dict[str, str]:
    """Return those that lie farther from the aim than the best declared floor, and that floor in words."""
    if any(math.isnan(distances[model]) for model in models):
        return dict.fromkeys(models, UNKNOWN)
    floors = {floor: distances[floor] for floor in metric.floors if floor in distances}
    if not floors:
        return {}
    nearest = min(floors, key=lambda floor: floors[floor])
    return {model: WORSE.format(nearest) for model in models if distances[model] > floors[nearest]}


def _described(
    row: Row | None, metric: MetricFacts, suspect: bool, passed_over: dict[str, list[str]]
) -> Best:
    mean, low, high = MISSING if row is None else row.summary(metric.name)
    return Best(
        metric=metric.name,
        ideal=metric.ideal,
        model=None if row is None else row.model,
        value=mean,
        low=low,
        high=high,
        position=math.nan if row is None else row.place(metric.name),
        n_seeds=0 if row is None else row.n_seeds,
        others=0,
        unresolved=[],
        suspect=suspect,
        passed_over=passed_over,
    )


def _with_tests(one: Best, tests: Sequence[tuple[str, str]], resolved: set[tuple[str, str]]) -> Best:
    """Add how many it was tested against, and whom the tests (metric and rival) do not tell from it."""
    of_metric = [test for test in tests if test[0] == one.metric]
    unresolved = [rival for metric, rival in of_metric if (metric, rival) not in resolved]
    return one._replace(others=len(of_metric), unresolved=unresolved)
