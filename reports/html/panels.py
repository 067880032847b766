"""A panel for each metric: every value on one scale, and what the metric sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from reports.main_table import metrics_in
from reports.scale import CEILING
from reports.side_by_side import Block
from reports.table import ROLES, results_frame, rows_of, values_by_model
from reports.words import figure

MARGIN: Final = 3.0
PLACELESS: Final = ("ceiling", "floor")


class Sight(NamedTuple):
    """What a metric must see, and what it cannot, of the ways in which real cells are made worse."""

    sees: Sequence[str] = ()
    blind: Sequence[str] = ()


class Row(NamedTuple):
    """A generator's values; places on the scale are per cent of its width, None for what is missing.

    Attributes
    ----------
    model, run, role
        Which; `run` is empty where there is only one.
    value, interval, place, status
        In words; `status` says why there is no value.
    dots
        Of the single seeds.
    mean, low, high
        Of the mean, and of its 95 % t interval, cut at the ends of the scale.
    """

    model: str
    run: str
    role: str
    value: str
    interval: str
    place: str
    status: str
    dots: list[float]
    mean: float | None
    low: float | None
    high: float | None


class Panel(NamedTuple):
    """All values of one metric.

    Attributes
    ----------
    name, caption
        The metric; where its values come from.
    description, facts, sight
        From its declaration; what it must see and cannot.
    left, right
        Values at the ends of the scale.
    ideal
        Place of the ideal.
    band
        Left end and width of the band between the best floor and the ceiling; None without a scale.
    rows
        Models, baselines, controls.
    """

    name: str
    caption: str
    description: str
    facts: list[str]
    sight: Sight
    left: str
    right: str
    ideal: float
    band: tuple[float, float] | None
    rows: list[Row]


def panels(block: Block, sights: Mapping[str, Sight], *, named: bool) -> list[Panel]:
    """Return a panel for each metric of a block.

    Parameters
    ----------
    block
        Runs, protocol and which metrics.
    sights
        By metric name.
    named
        Whether rows carry the name of their run.
    """
    metrics = {metric["name"]: metric for run in block.runs for metric in metrics_in(run.view, block.shows)}
    return [_panel(block, metric, sights.get(name, Sight()), named=named) for name, metric in metrics.items()]


def _panel(block: Block, metric: Mapping[str, Any], sight: Sight, *, named: bool) -> Panel:
    name = metric["name"]
    found = [
        (run.name if named else "", row, values_by_model(run.view)[row["model"]].get(name, []))
        for run in block.runs
        for row in rows_of(results_frame(run.view))
    ]
    models = list(dict.fromkeys(row["model"] for _, row, _ in found))
    found.sort(key=lambda each: (ROLES.index(each[1]["role"]), models.index(each[1]["model"])))
    values = [metric["ideal"], *(value for _, _, singles in found for value in singles)]
    left, right = min(values), max(values)
    scale = _Scale(left, right)
    return Panel(
        name=name,
        caption=f"{name} · {block.title.partition(' · ')[2]}",
        description=metric["description"],
        facts=_facts(metric),
        sight=sight,
        left=figure(left),
        right=figure(right),
        ideal=scale.place(metric["ideal"]),
        band=_band(found, metric, scale),
        rows=[_row(run, row, singles, name, scale) for run, row, singles in found],
    )


class _Scale(NamedTuple):
    left: float
    right: float

    def place(self, value: float) -> float:
        """Return where a value lies, in per cent of the width; at an end if it lies beyond."""
        if self.left == self.right:
            return 50.0
        share = (value - self.left) / (self.right - self.left)
        return round(MARGIN + (100 - 2 * MARGIN) * min(1.0, max(0.0, share)), 2)


def _row(run: str, row: Mapping[str, Any], singles: Sequence[float], name: str, scale: _Scale) -> Row:
    mean, low, high = (row.get(name + end, math.nan) for end in ("", "_low", "_high"))
    position = row.get(f"{name}_position", math.nan)
    known = math.isfinite(mean)
    why = "not scored" if row["n_seeds"] else row["status"].replace("_", " ")
    placed = math.isfinite(position) and row["role"] not in PLACELESS
    return Row(
        model=row["model"],
        run=run,
        role=row["role"],
        value=figure(mean),
        interval=f"[{figure(low)}, {figure(high)}]" if math.isfinite(low) else "",
        place=f"{100 * position:.0f} %".replace("-", "−") if placed else "",
        status="" if known else why,
        dots=[scale.place(value) for value in singles] if len(singles) > 1 else [],
        mean=scale.place(mean) if known else None,
        low=scale.place(low) if math.isfinite(low) else None,
        high=scale.place(high) if math.isfinite(high) else None,
    )


def _band(
    found: Sequence[tuple[str, Mapping[str, Any], Sequence[float]]],
    metric: Mapping[str, Any],
    scale: _Scale,
) -> tuple[float, float] | None:
    """Return left end and width of the band of the first run that has a scale for the metric."""
    name = metric["name"]
    first = next((run for run, row, _ in found if f"{name}_position" in row), None)
    values = {row["model"]: row[name] for run, row, _ in found if run == first and math.isfinite(row[name])}
    floors = [values[floor] for floor in metric["floors"] if floor in values]
    if first is None or not floors or CEILING not in values:
        return None
    best = min(floors, key=lambda value: abs(value - metric["ideal"]))
    ends = sorted(map(scale.place, (best, values[CEILING])))
    return ends[0], round(ends[1] - ends[0], 2)


def _facts(metric: Mapping[str, Any]) -> list[str]:
    lines = [f"Ideal {metric['ideal']:g}; short of it, {metric['better']} is better."]
    if metric["floors"]:
        lines.append(f"Must be worse than real cells: {', '.join(metric['floors'])}.")
    if metric["alarm"] is not None:
        lines.append(f"From {metric['alarm']:g} on a model is reported as copying its training cells.")
    if metric["exempt"]:
        lines.append(f"Does not score {', '.join(metric['exempt'])}.")
    return [*lines, f"Defined in {metric['reference']}."]
