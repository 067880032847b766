"""The headline metrics of all generators, the controls as reference lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.augmentation import augmentation
from reports.figures.first_scores import GENERATORS
from reports.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    grid,
    heading,
    legend_below,
    seeds_in_words,
)
from reports.rows import Row, means
from reports.table import Results, results
from reports.view import RunView

CONTROL_STYLES = {"ceiling": (GREEN, "solid"), "null": (BLACK, (0, (1, 2))), "cheat": (PURPLE, "dotted")}
FLOOR_STYLES = ((ORANGE, "dashed"), (VERMILION, "dashdot"), (SKY, (0, (5, 1, 1, 1, 1, 1))))
NO_AUGMENTATION = "no augmentation"


@mpl.rc_context(STYLE)
def overview_figure(view: RunView) -> Figure | None:
    """Draw the headline metrics of models and baselines, one panel each, the controls as reference lines.

    Dots are means over seeds, bars their 95 % t intervals (three seeds or more), small dots single seeds.
    None if nothing was scored.
    """
    found = results(view)
    metrics = [metric for metric in found.headline if any(metric.name in row.values for row in found.rows)]
    shown = found.of(GENERATORS)
    if not metrics or not shown:
        return None
    figure, panels = grid(len(metrics), columns=2, height=1.1 + 0.28 * len(shown), width=4.4)
    styles = _control_styles(found)
    for axes, metric in zip(panels, metrics, strict=True):
        name = metric.name
        axes.set_title(f"{name} → {metric.ideal:g}")
        axes.axvline(metric.ideal, color="#DDDDDD", linewidth=5, zorder=0, label="ideal")
        values = means(found.rows, name) | _without_augmentation(view, name)
        for control, (colour, dashes) in styles.items():
            if control in values:
                axes.axvline(
                    values[control], color=colour, linestyle=dashes, linewidth=1.4, label=control, zorder=1
                )
        _dots(axes, shown, name)
    what = "How far is each generator from the ideal, and from the controls?"
    figure.suptitle(f"{heading(view, what)} · n = {seeds_in_words(view)}")
    legend_below(figure, panels)
    return figure


def _control_styles(found: Results) -> dict[str, tuple[str, Any]]:
    floors = iter(FLOOR_STYLES * len(found.rows))
    controls = [row for row in found.rows if row.role not in GENERATORS]
    styles = {row.model: CONTROL_STYLES.get(row.role) or next(floors) for row in controls}
    return styles | {NO_AUGMENTATION: (GREY, "dashed")}


def _without_augmentation(view: RunView, metric: str) -> dict[str, float]:
    """Return what the augmentation experiment reaches with no cells added, at the headline fraction."""
    for row in augmentation(view):
        if row.augmenter == "none" and row.fraction == view.headline_fraction and metric in row.values:
            return {NO_AUGMENTATION: row.summary(metric).mean}
    return {}


def _dots(axes: Axes, shown: Sequence[Row], name: str) -> None:
    positions = range(len(shown))
    for position, row in zip(positions, shown, strict=True):
        if len(values := row.values.get(name, ())) > 1:
            axes.plot(values, [position] * len(values), "o", color=GREY, markersize=2.5, zorder=3)
    means_of, low, high = zip(*(row.summary(name) for row in shown), strict=True)
    if any(map(np.isfinite, low)):
        axes.hlines(positions, low, high, color=BLUE, linewidth=1.6, zorder=4)
    axes.plot(means_of, positions, "o", color=BLUE, markersize=6.5, zorder=5, label="_mean")
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
    for position, row in zip(positions, shown, strict=True):
        if name not in row.values:
            axes.text(0.5, position, row.why_empty, color=GREY, backgroundcolor="white", **place)
    axes.set_yticks(positions, [row.model for row in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="y", color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)
