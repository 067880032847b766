"""A panel for each metric: every value on one scale, and what the metric sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from reports.main_table import SCALE_ROLES, Entry, entries, metrics_in
from reports.rows import Row
from reports.scale import ends
from reports.side_by_side import Block
from reports.table import results
from reports.view import MetricFacts
from reports.words import figure, interval_in_words, percent

MARGIN: Final = 3.0


class Sight(NamedTuple):
    """What a metric must see, and what it cannot, of the ways in which real cells are made worse."""

    sees: Sequence[str] = ()
    blind: Sequence[str] = ()


class Strip(NamedTuple):
    """A generator's values; places on the scale are per cent of its width, None for what is missing.

    Attributes
    ----------
    model, run, role
        Names of all three; `run` is empty where there is only one.
    value, interval, place, status
        Texts that are shown; `status` says why there is no value.
    dots
        Places of the values of single seeds.
    mean, low, high
        Places of the mean and of the ends of its 95 % t interval, cut at the ends of the scale.
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
        What the metric declares; what it must see and cannot.
    left, right
        Values at the ends of the scale.
    ideal
        Place of the ideal on the axis.
    band
        Left end and width of the band between the best floor and the ceiling; None without a scale.
    rows
        One strip for each model, baseline and control.
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
    rows: list[Strip]


def panels(block: Block, sights: Mapping[str, Sight], *, named: bool) -> list[Panel]:
    """Return a panel for each metric of a block.

    Parameters
    ----------
    block
        Runs, protocol and which metrics.
    sights
        What the self-test says of each metric, by its name.
    named
        Whether rows carry the name of their run.
    """
    metrics = {metric.name: metric for run in block.runs for metric in metrics_in(run.view, block.shows)}
    return [_panel(block, metric, sights.get(name, Sight()), named=named) for name, metric in metrics.items()]


def _panel(block: Block, metric: MetricFacts, sight: Sight, *, named: bool) -> Panel:
    name, every = metric.name, entries(block.runs)
    values = [metric.ideal, *(value for _, row in every for value in row.values.get(name, ()))]
    scale = _Scale(min(values), max(values))
    return Panel(
        name=name,
        caption=f"{name} · {block.title.partition(' · ')[2]}",
        description=metric.description,
        facts=_facts(metric),
        sight=sight,
        left=figure(scale.left),
        right=figure(scale.right),
        ideal=scale.place(metric.ideal),
        band=_band(every, metric, scale),
        rows=[_row(run.name if named else "", row, name, scale) for run, row in every],
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


def _row(run: str, row: Row, name: str, scale: _Scale) -> Strip:
    (mean, low, high), position = row.summary(name), row.place(name)
    values = row.values.get(name, ())
    placed = math.isfinite(position) and row.role not in SCALE_ROLES
    has_interval = math.isfinite(low)
    return Strip(
        model=row.model,
        run=run,
        role=row.role,
        value=figure(mean),
        interval=interval_in_words(low, high),
        place=percent(position) if placed else "",
        status="" if values else row.why_empty,
        dots=[scale.place(value) for value in values] if len(values) > 1 else [],
        mean=scale.place(mean) if values else None,
        low=scale.place(low) if has_interval else None,
        high=scale.place(high) if has_interval else None,
    )


def _band(every: Sequence[Entry], metric: MetricFacts, scale: _Scale) -> tuple[float, float] | None:
    """Return left end and width of the band of the first run that has a scale for the metric."""
    first = next((run for run, row in every if metric.name in row.places), None)
    if first is None:
        return None
    both = ends(results(first.view).rows, metric)
    if any(map(math.isnan, both)):
        return None
    left, right = sorted(map(scale.place, both))
    return left, round(right - left, 2)


def _facts(metric: MetricFacts) -> list[str]:
    lines = [f"Ideal {metric.ideal:g}; short of it, {metric.better} is better."]
    if metric.floors:
        lines.append(f"Must be worse than real cells: {', '.join(metric.floors)}.")
    if metric.alarm is not None:
        lines.append(f"From {metric.alarm:g} on a model is reported as copying its training cells.")
    if metric.exempt:
        lines.append(f"Does not score {', '.join(metric.exempt)}.")
    return [*lines, f"Defined in {metric.reference}."]
