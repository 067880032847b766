"""Which generator is best by each headline metric, and whether the seeds resolve it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from reports import RunView
from reports.comparison import Side, effect_of
from reports.scale import mean_distance
from reports.suspicion import TRAINED_ROLES, contradictions, copiers
from reports.table import results_frame, scored_metrics, values_by_model
from reports.verdicts import holm, verdict

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
)


def best_frame(view: RunView) -> pd.DataFrame:
    """Return the model or baseline whose values are nearest to the ideal on average, by each headline metric.

    It is tested against each other one by a paired t test over common training seeds, with Holm's correction
    over all tests. Generators that copy their training cells do not take part.

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
        tell from it), ``suspect`` (whether the run's controls contradict the metric). A metric that no
        generator was scored with has no row.
    """
    frame, values = results_frame(view), values_by_model(view)
    every = scored_metrics(view)
    metrics = [metric for metric in every if metric["group"] == "headline"]
    takes_part = frame["role"].isin(TRAINED_ROLES) & ~frame["model"].isin(copiers(frame, every))
    found, tests = [], []
    for metric in metrics:
        scored = frame[takes_part & frame[metric["name"]].notna()]
        if scored.empty:
            continue
        distance = [mean_distance(values[model][metric["name"]], metric) for model in scored["model"]]
        row = scored.iloc[int(np.argmin(distance))].to_dict()
        found.append(_described(row, metric) | {"suspect": bool(contradictions(frame, metric))})
        tests += [(metric, row["model"], other) for other in scored["model"] if other != row["model"]]
    unresolved = _unresolved(view, tests)
    for row in found:
        names = [other for metric, _, other in tests if metric["name"] == row["metric"]]
        row |= {"others": len(names), "unresolved": [n for n in names if (row["metric"], n) in unresolved]}
    return pd.DataFrame(found, columns=list(COLUMNS))


def _described(row: Mapping[str, Any], metric: Mapping[str, Any]) -> dict[str, Any]:
    name = metric["name"]
    return {
        "metric": name,
        "ideal": metric["ideal"],
        "model": row["model"],
        "value": row[name],
        "low": row.get(f"{name}_low", math.nan),
        "high": row.get(f"{name}_high", math.nan),
        "position": row.get(f"{name}_position", math.nan),
        "n_seeds": row["n_seeds"],
    }


def _unresolved(view: RunView, tests: list[tuple[Mapping[str, Any], str, str]]) -> set[tuple[str, str]]:
    """Return metric and other generator of each test that does not find the best one better."""
    protocol = view["run"]["protocol"]
    effects = [
        effect_of(Side(view, best, best), Side(view, other, other), protocol, metric, ideal=metric["ideal"])
        for metric, best, other in tests
    ]
    adjusted = holm([effect.p_value for effect in effects])
    return {
        (metric["name"], other)
        for (metric, _, other), effect, p in zip(tests, effects, adjusted, strict=True)
        if verdict(effect, p) != "A better"
    }
