"""Which generator is best by each headline metric, whether the seeds resolve it, and who cannot be it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reports import RunView
from reports.comparison import Side, effect_of, scores_of_real
from reports.judge import aimed_at, judge, mean_distance
from reports.suspicion import TRAINED_ROLES, contradictions, copiers
from reports.table import records_of, results_frame, rows_of, scored_metrics, values_by_model

COLUMNS = (
    "metric",
    "ideal",
    "model",
    "value",
    "low",
    "high",
    "position",
    "n_seeds",
    "others",
    "unresolved",
    "suspect",
    "passed_over",
)
COPIES = "near-copies of training cells"
MADE_OF_CELLS = "made of training cells"
WORSE = "worse than the floor {}"
UNKNOWN = "what real cells score is not known"


def best_frame(view: RunView) -> pd.DataFrame:
    """Return the model or baseline whose values are nearest to what is aimed at, by each headline metric.

    It is tested against each other one by a paired t test over common training seeds, with Holm's correction
    over all tests. Who copies training cells, by an alarm or by its make, and who is farther from the aim
    than a floor that the metric declares, is never the best; where that leaves nobody, ``model`` is None.

    Parameters
    ----------
    view
        The run, under one protocol.

    Returns
    -------
    pandas.DataFrame
        ``metric``, ``ideal``, ``model``, ``value`` (mean) with its 95 % t interval ``low`` to ``high`` (NaN
        below three seeds), ``position`` between the best floor (0) and real cells (1), ``n_seeds``,
        ``others`` (how many it was tested against), ``unresolved`` (list of those that the seeds do not
        tell from it), ``suspect`` (whether the run's controls contradict the metric), ``passed_over`` (reason
        → list of those that came no worse, but cannot be the best). A metric that no generator was scored
        with has no row.
    """
    frame, metrics = results_frame(view), scored_metrics(view)
    made = {record["job"]["model"] for record in records_of(view, "main") if record["job"].get("copies")}
    copying = dict.fromkeys(copiers(frame, metrics), COPIES) | dict.fromkeys(made, MADE_OF_CELLS)
    found, tests = [], []
    for metric in metrics:
        scored = frame[frame["role"].isin(TRAINED_ROLES) & frame[metric["name"]].notna()]
        if metric["group"] != "headline" or scored.empty:
            continue
        aim, distances = _distances(view, metric)
        ranked = sorted(scored["model"], key=lambda model: distances[model])
        out = _worse_than_a_floor(ranked, distances, metric) | copying
        best = next((model for model in ranked if model not in out), None)
        nearer = ranked[: ranked.index(best)] if best is not None else ranked
        passed_over = {why: [m for m in nearer if out[m] == why] for why in map(out.__getitem__, nearer)}
        row = _described(rows_of(scored[scored["model"] == best]), metric)
        found.append(row | {"suspect": bool(contradictions(frame, metric)), "passed_over": passed_over})
        if best is not None:
            rivals = (model for model in ranked if model != best and model not in copying)
            tests += [(metric, aim, best, other) for other in rivals]
    unresolved = _unresolved(view, tests)
    for row in found:
        names = [other for metric, _, _, other in tests if metric["name"] == row["metric"]]
        row |= {"others": len(names), "unresolved": [n for n in names if (row["metric"], n) in unresolved]}
    return pd.DataFrame(found, columns=list(COLUMNS))


def _distances(view: RunView, metric: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
    """Return what a metric aims at and how far from it each generator's values lie on average."""
    values = {
        model: columns[metric["name"]]
        for model, columns in values_by_model(view).items()
        if metric["name"] in columns
    }
    real = scores_of_real((Side(view, model, model) for model in values), view["run"]["protocol"], metric)
    aim = aimed_at(metric, real)
    return aim, {model: mean_distance(of_model, aim) for model, of_model in values.items()}


def _worse_than_a_floor(
    models: Sequence[str], distances: Mapping[str, float], metric: Mapping[str, Any]
) -> dict[str, str]:
    """Return those that lie farther from the aim than the best declared floor, and that floor in words."""
    if any(math.isnan(distances[model]) for model in models):
        return dict.fromkeys(models, UNKNOWN)
    floors = {floor: distances[floor] for floor in metric["floors"] if floor in distances}
    if not floors:
        return {}
    nearest = min(floors, key=lambda floor: floors[floor])
    return {model: WORSE.format(nearest) for model in models if distances[model] > floors[nearest]}


def _described(rows: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> dict[str, Any]:
    name, row = metric["name"], rows[0] if rows else {}
    return {
        "metric": name,
        "ideal": metric["ideal"],
        "model": row.get("model"),
        "value": row.get(name, math.nan),
        "low": row.get(f"{name}_low", math.nan),
        "high": row.get(f"{name}_high", math.nan),
        "position": row.get(f"{name}_position", math.nan),
        "n_seeds": row.get("n_seeds", 0),
    }


def _unresolved(
    view: RunView, tests: Sequence[tuple[Mapping[str, Any], float, str, str]]
) -> set[tuple[str, str]]:
    """Return metric and other generator of each test that does not find the best one better."""
    protocol = view["run"]["protocol"]
    effects = [
        effect_of(Side(view, best, best), Side(view, other, other), protocol, metric, aim=aim)
        for metric, aim, best, other in tests
    ]
    return {
        (metric["name"], other)
        for (metric, _, _, other), (verdict, _) in zip(tests, judge(effects), strict=True)
        if verdict != "A better"
    }
