"""Speed against quality: what a better score costs, and who is beaten in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from reports import RunView
from reports.figures.first_scores import GENERATORS
from reports.figures.labels import Point, Segment, label_points
from reports.figures.style import (
    GREEN,
    GREY,
    LINE_COLOURS,
    STYLE,
    grid,
    heading,
    seeds_in_words,
)
from reports.table import results_frame, rows_of, scored_metrics
from reports.words import count

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

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
    frame = results_frame(view)
    metrics = [
        m for m in scored_metrics(view) if m["group"] == "headline" and f"{m['name']}_position" in frame
    ]
    shown = frame[frame["role"].isin(GENERATORS)]
    drawn = [
        (metric, cost, label)
        for metric in metrics
        for cost, label in _costs(shown).items()
        if not _points(shown, metric, cost).empty
    ]
    if not drawn:
        return None
    figure, panels = grid(len(drawn), columns=2, height=2.5, width=4.4)
    styles = dict(zip(shown["model"], cycle(LINE_COLOURS), strict=False))
    named = []
    for axes, (metric, cost, label) in zip(panels, drawn, strict=True):
        named.append(_draw(axes, _points(shown, metric, cost), cost, styles))
        axes.set_title(f"{metric['name']} → {metric['ideal']:g}")
        axes.set_xlabel(label)
    what = (
        "What does quality cost? Up and to the left is better; the line joins those that none beats in both"
    )
    missing = _missing(shown, [_points(shown, metric, cost) for metric, cost, _ in drawn])
    figure.suptitle(f"{heading(view, what)} · n = {seeds_in_words(frame)}{missing}")
    figure.supylabel("place between the best floor (0 %) and real cells (100 %)", fontsize=9)
    _legend(figure, panels)
    # Where names have room is known only when everything else has its place.
    figure.draw_without_rendering()
    for axes, (points, lines) in zip(panels, named, strict=True):
        label_points(axes, points, lines)
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


def _costs(frame: pd.DataFrame) -> dict[str, str]:
    """Return the costs that were measured; sampling counts where all drew as many cells."""
    costs = {"training_seconds": "training, seconds"}
    sizes = frame["sample_cells"].dropna().unique()
    if len(sizes) == 1:
        costs["sample_seconds"] = f"sampling {count(sizes[0])} cells, seconds"
    return costs


def _points(frame: pd.DataFrame, metric: Mapping[str, Any], cost: str) -> pd.DataFrame:
    points = frame.assign(cost=frame[cost], quality=frame[f"{metric['name']}_position"])
    # A cost of nothing has no place on a logarithmic axis.
    return points[np.isfinite(points["quality"]) & (points["cost"] > 0)]


def _draw(
    axes: Axes, points: pd.DataFrame, cost: str, styles: Mapping[str, str]
) -> tuple[list[Point], list[Segment]]:
    """Draw a panel without names; return what is to be named, and the lines in their way."""
    front = points[pareto_front(points["cost"], points["quality"])].sort_values("cost")
    named, lines = [], _steps(list(zip(front["cost"], front["quality"].clip(lower=LOWEST), strict=True)))
    axes.axhspan(0, 1, color=GREEN, alpha=0.08, linewidth=0, label="between the best floor and real cells")
    axes.plot(
        front["cost"],
        front["quality"].clip(lower=LOWEST),
        color=GREY,
        linewidth=1.2,
        drawstyle="steps-post",
        label="Pareto front",
        zorder=2,
    )
    for row in rows_of(points):
        below = row["quality"] < LOWEST
        on_front = row["model"] in set(front["model"])
        place = (row["cost"], max(row["quality"], LOWEST))
        axes.plot(
            *place,
            marker="v" if below else MARKERS[row["role"]],
            color=styles[row["model"]],
            markerfacecolor=styles[row["model"]] if on_front else "white",
            markersize=7,
            linestyle="none",
            zorder=3,
        )
        if f"{cost}_low" in row and np.isfinite(row[f"{cost}_low"]):
            ends = [max(row[f"{cost}_low"], row["cost"] / 10), row[f"{cost}_high"]]
            axes.plot(ends, [place[1]] * 2, color=styles[row["model"]], linewidth=1)
            lines.append(((ends[0], place[1]), (ends[1], place[1])))
        name = f"{row['model']} ({100 * row['quality']:.0f} %)" if below else row["model"]
        named.append(Point(*place, name, styles[row["model"]]))
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
    names = [*labels, *kinds]
    figure.legend([*handles, *dots], names, loc="outside lower center", ncols=3)


def _missing(shown: pd.DataFrame, drawn: Sequence[pd.DataFrame]) -> str:
    """Name those without a point in any panel, and why, on a line of its own."""
    there = {model for points in drawn for model in points["model"]}
    words = [
        f"{row['model']} ({'no score or cost' if row['status'] == 'ok' else row['status'].replace('_', ' ')})"
        for row in rows_of(shown)
        if row["model"] not in there
    ]
    return "\n" + fill(f"without a point: {', '.join(words)}", width=REMARK_WIDTH) if words else ""
