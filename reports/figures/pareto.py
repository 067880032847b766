"""Speed against quality: what a better score costs, and who is beaten in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from textwrap import fill
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from reports.figures.first_scores import GENERATORS
from reports.figures.labels import Point, Segment, label_points
from reports.figures.style import GREEN, GREY, LINE_COLOURS, STYLE, grid, heading, seeds_in_words
from reports.rows import Row, Summary
from reports.table import not_timed, results
from reports.view import RunView
from reports.words import count, percent

LOWEST: Final = -1.0
MARKERS: Final = {"model": "o", "baseline": "s"}
REMARK_WIDTH: Final = 100
MOST_OF_FINE_TICKS: Final = 100


@mpl.rc_context(STYLE)
def pareto_figure(view: RunView) -> Figure | None:
    """Draw seconds of training and of sampling against each headline metric's place on its scale.

    A row a metric that has a scale (0: the best floor, 1: real cells, see `reports.scale`), a column a cost.
    Models are dots, baselines squares; the line joins those that no other beats in both. Generators without
    a point are named below. None if the run has no such place and cost.
    """
    found = results(view)
    shown = found.of(GENERATORS)
    every = [
        (metric, label, points)
        for metric in found.headline
        for cost, label in _costs(shown).items()
        if (points := _points(shown, metric.name, cost))
    ]
    # A cost that was measured of one alone compares nothing, beside those of several.
    drawn = [panel for panel in every if len(panel[2]) > 1] or every
    if not drawn:
        return None
    figure, panels = grid(len(drawn), columns=2, height=2.5, width=4.4)
    styles = dict(zip((row.model for row in shown), cycle(LINE_COLOURS), strict=False))
    named = []
    for axes, (metric, label, points) in zip(panels, drawn, strict=True):
        named.append(_draw(axes, points, styles))
        axes.set_title(f"{metric.name} → {metric.ideal:g}")
        axes.set_xlabel(label)
    what = (
        "What does quality cost? Up and to the left is better; the line joins those that none beats in both"
    )
    there = {point.row.model for _, _, points in drawn for point in points}
    missing = _missing([row for row in shown if row.model not in there])
    unlike = "\nmade on unlike machines: seconds do not compare" if len(view.machines) > 1 else ""
    untimed = "".join(f"\n{words}" for words in [not_timed(view.records_of("main"))] if words)
    figure.suptitle(f"{heading(view, what)} · n = {seeds_in_words(view)}{unlike}{untimed}{missing}")
    figure.supylabel("place between the best floor (0 %) and real cells (100 %)", fontsize=9)
    _legend(figure, panels)
    # Where names have room is known only when everything else has its place.
    figure.draw_without_rendering()
    for axes, (labels, lines) in zip(panels, named, strict=True):
        label_points(axes, labels, lines)
    return figure


def pareto_front(costs: ArrayLike, qualities: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points no other beats: cheaper at no lower quality, or better at no higher cost.

    Parameters
    ----------
    costs, qualities
        n finite numbers each; less cost and more quality are better.

    Returns
    -------
    array of bool
        n; equal points are on the front together.
    """
    cost, quality = (np.asarray(values, dtype=float) for values in (costs, qualities))
    no_worse = (cost[:, None] <= cost) & (quality[:, None] >= quality)
    better = (cost[:, None] < cost) | (quality[:, None] > quality)
    return np.asarray(~(no_worse & better).any(axis=0), dtype=bool)


def _costs(rows: Sequence[Row]) -> dict[str, str]:
    """Return the costs that were measured; sampling counts where all drew as many cells."""
    costs = {"training_seconds": "training, seconds"}
    sizes = {row.mean("sample_cells") for row in rows if "sample_cells" in row.values}
    if len(sizes) == 1:
        costs["sample_seconds"] = f"sampling {count(sizes.pop())} cells, seconds"
    return costs


class _Place(NamedTuple):
    """A generator in a panel; below `LOWEST` it is drawn at the edge."""

    row: Row
    cost: Summary
    quality: float

    @property
    def drawn(self) -> tuple[float, float]:
        return self.cost.mean, max(self.quality, LOWEST)


def _points(rows: Sequence[Row], metric: str, cost: str) -> list[_Place]:
    points = [_Place(row, row.summary(cost), row.place(metric)) for row in rows]
    # A cost of nothing has no place on a logarithmic axis.
    return [point for point in points if np.isfinite(point.quality) and point.cost.mean > 0]


def _draw(
    axes: Axes, points: Sequence[_Place], styles: Mapping[str, str]
) -> tuple[list[Point], list[Segment]]:
    """Draw a panel without names; return what is to be named, and the lines in their way."""
    is_on_front = pareto_front([point.cost.mean for point in points], [point.quality for point in points])
    front = sorted(point.drawn for point, on_front in zip(points, is_on_front, strict=True) if on_front)
    named, lines = [], _steps(front)
    axes.axhspan(0, 1, color=GREEN, alpha=0.08, linewidth=0, label="between the best floor and real cells")
    axes.plot(
        *zip(*front, strict=True),
        color=GREY,
        linewidth=1.2,
        drawstyle="steps-post",
        label="Pareto front",
        zorder=2,
    )
    for point, on_front in zip(points, is_on_front, strict=True):
        row, place, colour = point.row, point.drawn, styles[point.row.model]
        below = point.quality < LOWEST
        axes.plot(
            *place,
            marker="v" if below else MARKERS[row.role],
            color=colour,
            markerfacecolor=colour if on_front else "white",
            markersize=7,
            linestyle="none",
            zorder=3,
        )
        if np.isfinite(point.cost.low):
            ends = [max(point.cost.low, point.cost.mean / 10), point.cost.high]
            axes.plot(ends, [place[1]] * 2, color=colour, linewidth=1)
            lines.append(((ends[0], place[1]), (ends[1], place[1])))
        name = f"{row.model} ({percent(point.quality)})" if below else row.model
        named.append(Point(*place, name, colour))
    _scale(axes)
    return named, lines


def _steps(front: Sequence[tuple[float, float]]) -> list[Segment]:
    corners = [(after[0], before[1]) for before, after in pairwise(front)]
    return [*zip(front, corners, strict=False), *zip(corners, front[1:], strict=True)]


def _scale(axes: Axes) -> None:
    axes.set_xscale("log")
    # Room for names at both sides.
    left, right = axes.get_xlim()
    room = (right / left) ** 0.15
    axes.set_xlim(left / room, right * room)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right / left < MOST_OF_FINE_TICKS else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_ylim(LOWEST - 0.15, 1.2)
    axes.grid(color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles, labels = panels[0].get_legend_handles_labels()
    kinds: dict[str, dict[str, Any]] = {
        "on the front": {"marker": "o", "markerfacecolor": GREY},
        "beaten in both": {"marker": "o", "markerfacecolor": "white"},
        "baseline": {"marker": "s", "markerfacecolor": "white"},
        "farther below": {"marker": "v", "markerfacecolor": "white"},
    }
    dots = [Line2D([], [], color=GREY, linestyle="none", **style) for style in kinds.values()]
    figure.legend([*handles, *dots], [*labels, *kinds], loc="outside lower center", ncols=3)


def _missing(rows: Sequence[Row]) -> str:
    """Name those without a point in any panel, and why, on a line of its own."""
    words = [
        f"{row.model} ({'no score or cost' if row.status == 'ok' else row.status.replace('_', ' ')})"
        for row in rows
    ]
    return "\n" + fill(f"without a point: {', '.join(words)}", width=REMARK_WIDTH) if words else ""
