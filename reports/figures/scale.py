"""All metrics of all generators at a glance: where each value lies between floor and ceiling."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reports.figures.style import STYLE, heading, seeds_in_words, spans
from reports.rows import Row
from reports.table import results
from reports.view import MetricFacts, RunView
from reports.words import figure as rounded

NO_SCALE = "#E4E4E4"
DARK_FROM = 0.65


@mpl.rc_context(STYLE)
def scale_figure(view: RunView) -> Figure | None:
    """Draw a table of all values, each coloured by its place between the best floor and the ceiling.

    Blue is as good as real cells, white no better than the best of the metric's floors, red as far beyond
    it. Grey: the metric declares no floor, or the run has no scale for it. None if nothing was scored.
    """
    rows = results(view).rows
    metrics = [metric for metric in _by_group(view) if any(metric.name in row.values for row in rows)]
    if not metrics:
        return None
    size = (3.2 + 0.78 * len(rows), 2.0 + 0.25 * len(metrics))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    places = np.array([[row.place(metric.name) for row in rows] for metric in metrics])
    colours = mpl.colormaps["RdBu"].with_extremes(bad=NO_SCALE)
    image = axes.imshow(
        np.clip(places, -1, 1), cmap=colours, vmin=-1, vmax=1, aspect="auto", interpolation="none"
    )
    _write_values(axes, rows, metrics, places)
    _label(axes, rows, metrics)
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=40, pad=0.02)
    bar.set_ticks([-1, 0, 1], labels=["as far beyond it", "the best floor", "real cells"])
    what = "Which properties of real cells does each generator keep? Blue: as real cells; grey: no scale"
    figure.suptitle(f"{heading(view, what)} · n = {seeds_in_words(view)}")
    return figure


def _by_group(view: RunView) -> list[MetricFacts]:
    metrics = results(view).metrics
    groups = list(dict.fromkeys(metric.group for metric in metrics))
    return sorted(metrics, key=lambda metric: groups.index(metric.group))


def _write_values(
    axes: Axes, rows: Sequence[Row], metrics: Sequence[MetricFacts], places: NDArray[np.float64]
) -> None:
    for line, metric in enumerate(metrics):
        for column, row in enumerate(rows):
            colour = "white" if abs(np.clip(places[line, column], -1, 1)) > DARK_FROM else "black"
            value = rounded(row.mean(metric.name))
            axes.text(column, line, value, color=colour, fontsize=7, ha="center", va="center")


def _label(axes: Axes, rows: Sequence[Row], metrics: Sequence[MetricFacts]) -> None:
    names = [row.model for row in rows]
    axes.set_xticks(range(len(rows)), names, rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(metrics)), [f"{m.name} → {m.ideal:g}" for m in metrics])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for group, edge, middle in spans(metric.group for metric in metrics):
        axes.axhline(edge, color="black", linewidth=1)
        axes.text(len(rows) - 0.4, middle, group, rotation=0, va="center", fontsize=8, fontweight="bold")
    for position in range(1, len(rows)):
        if rows[position].role != rows[position - 1].role:
            axes.axvline(position - 0.5, color="white", linewidth=4)
