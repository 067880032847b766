"""Does the run contradict itself, and does a model copy? A broken metric shows in its controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.rows import Row, means
from reports.scale import CEILING, held_out_distance
from reports.view import MetricFacts

TRAINED_ROLES = ("model", "baseline")


def suspects(rows: Sequence[Row], metrics: Iterable[MetricFacts]) -> list[str]:
    """Return one line for each declared order that does not hold, or that lacks its ceiling.

    Every floor that a metric declares must lie farther from the metric's ideal than the control ``real``, or
    than held-out real cells where the metric does not score that control; a tie is broken order too. Every
    control that it declares to catch must reach its alarm. Controls that were not run or not scored are
    passed over.
    """
    return [line for metric in metrics for line in contradictions(rows, metric)]


def contradictions(rows: Sequence[Row], metric: MetricFacts) -> list[str]:
    """Return those lines of `suspects` that concern one metric."""
    values = means(rows, metric.name)
    broken = _broken_order(values, metric, rows)
    for control in metric.catches:
        if control in values and not _alarmed(values[control], metric):
            what = f"{control} {values[control]:.3g} did not reach the alarm {metric.alarm:g}"
            broken.append(f"{metric.name} (ideal {metric.ideal:g}): {what}")
    return broken


def copying(rows: Sequence[Row], metrics: Iterable[MetricFacts]) -> list[str]:
    """Return one line for each model or baseline whose cells set off a metric's alarm of copying.

    All cells together may, or the mean over types: a rare type that is copied whole is few of all cells, but
    reaches an alarm of 5 % where there are no more than 20 types.
    """
    return [
        f"{model}: {name} {value:.3g} (ideal {metric.ideal:g}, alarm {metric.alarm:g})"
        for metric in metrics
        for model, (name, value) in _copiers(rows, metric).items()
    ]


def copiers(rows: Sequence[Row], metrics: Iterable[MetricFacts]) -> set[str]:
    """Return the models and baselines that `copying` has a line for."""
    return {model for metric in metrics for model in _copiers(rows, metric)}


def _copiers(rows: Sequence[Row], metric: MetricFacts) -> dict[str, tuple[str, float]]:
    trained = [row for row in rows if row.role in TRAINED_ROLES]
    return {row.model: found for row in trained if (found := alarm_of(row, metric)) is not None}


def alarm_of(row: Row, metric: MetricFacts) -> tuple[str, float] | None:
    """Return what set off a metric's alarm, all cells or else the mean over types, and its value."""
    for name in (metric.name, f"{metric.name}_by_type"):
        if _alarmed(value := row.mean(name), metric):
            return name, value
    return None


def _broken_order(values: Mapping[str, float], metric: MetricFacts, rows: Sequence[Row]) -> list[str]:
    name, ideal = metric.name, metric.ideal
    floors = {floor: values[floor] for floor in metric.floors if floor in values}
    if CEILING in metric.exempt:
        distance, ceiling = held_out_distance(rows, metric), "held-out real cells"
    elif CEILING in values:
        distance, ceiling = abs(values[CEILING] - ideal), f"{CEILING} {values[CEILING]:.3g}"
    else:
        return [f"no ceiling: {CEILING} has no {name}"] if floors else []
    return [
        f"{name} (ideal {ideal:g}): {floor} {value:.3g} is not worse than {ceiling}"
        for floor, value in floors.items()
        if abs(value - ideal) <= distance
    ]


def _alarmed(value: float, metric: MetricFacts) -> bool:
    """Tell whether a value has gone from the ideal as far as the alarm, on the alarm's side."""
    if metric.alarm is None:
        return False
    return value <= metric.alarm if metric.alarm < metric.ideal else value >= metric.alarm
