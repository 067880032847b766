"""Metrics as MLflow takes them: single values, and curves of which only what is new is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.tracking.naming import allowed
from reports.curves import Curve, thin

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

# More than a chart is wide adds only to what every page must load.
CURVE_POINTS = 200


def scalar_points(named: Mapping[str, float], run: Run, *, now: int) -> list[Metric]:
    """Return the values that a run does not have yet, at step 0.

    Parameters
    ----------
    named
        Values by the name of the metric in MLflow.
    run
        The run as MLflow knows it.
    now
        The time of the points, in milliseconds since 1970.
    """
    from mlflow.entities import Metric

    known = run.data.metrics
    return [Metric(name, value, now, 0) for name, value in named.items() if known.get(name) != value]


def curve_points(
    curves: Mapping[str, Curve], run: Run, client: MlflowClient, *, group: str, since: int, pace: int = 0
) -> list[Metric]:
    """Return the points of curves behind the last that a run has.

    Of each they are at most `CURVE_POINTS`; a series by the clock is whole, a thousand seconds being a call
    or two.

    Parameters
    ----------
    curves
        Name → steps and values.
    run
        The run as MLflow knows it; `client` is asked for the steps of its curves.
    group
        Word that the names begin with.
    since
        Milliseconds since 1970 at step 0.
    pace
        Milliseconds a step of a series by the clock; 0 where steps are those of a training.
    """
    from mlflow.entities import Metric

    points = []
    for name, curve in curves.items():
        key, logged = allowed(f"{group}/{name}"), -1
        if key in run.data.metrics:
            logged = max(point.step for point in client.get_metric_history(run.info.run_id, key))
        new = [(step, value) for step, value in curve if step > logged]
        shown = new if pace else thin(new, limit=CURVE_POINTS)
        points += [Metric(key, value, since + pace * step, step) for step, value in shown]
    return points
