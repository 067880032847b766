"""The headline metrics of all generators, the controls as reference lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reports import RunView
from reports.augmentation import augmentation_frame
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
from reports.table import headline_fraction, results_frame, rows_of, scored_metrics, values_by_model

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CONTROL_STYLES = {"ceiling": (GREEN, "solid"), "null": (BLACK, (0, (1, 2))), "cheat": (PURPLE, "dotted")}
FLOOR_STYLES = ((ORANGE, "dashed"), (VERMILION, "dashdot"), (SKY, (0, (5, 1, 1, 1, 1, 1))))
NO_AUGMENTATION = "no augmentation"


@mpl.rc_context(STYLE)
def overview_figure(view: RunView) -> Figure | None:
    """Draw the headline metrics of models and baselines, one panel each, the controls as reference lines.

    Dots are means over seeds, bars their 95 % t intervals (three seeds or more), small dots single seeds.
    None if nothing was scored.
    """
    frame = results_frame(view)
    metrics = [
        metric
        for metric in scored_metrics(view)
        if metric["group"] == "headline" and frame[metric["name"]].notna().any()
    ]
    shown = frame[frame["role"].isin(GENERATORS)]
    if not metrics or shown.empty:
        return None
    figure, panels = grid(len(metrics), columns=2, height=1.1 + 0.28 * len(shown), width=4.4)
    single, styles = values_by_model(view), _control_styles(frame)
    for axes, metric in zip(panels, metrics, strict=True):
        name = metric["name"]
        axes.set_title(f"{name} → {metric['ideal']:g}")
        axes.axvline(metric["ideal"], color="#DDDDDD", linewidth=5, zorder=0, label="ideal")
        values = frame.set_index("model")[name].to_dict() | _without_augmentation(view, name)
        for control, (colour, dashes) in styles.items():
            if np.isfinite(value := values.get(control, np.nan)):
                axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.4, label=control, zorder=1)
        _dots(axes, shown, name, [single[model].get(name, []) for model in shown["model"]])
    what = "How far is each generator from the ideal, and from the controls?"
    figure.suptitle(f"{heading(view, what)} · n = {seeds_in_words(frame)}")
    legend_below(figure, panels)
    return figure


def _control_styles(frame: pd.DataFrame) -> dict[str, tuple[str, Any]]:
    floors = iter(FLOOR_STYLES * len(frame))
    controls = rows_of(frame[~frame["role"].isin(GENERATORS)])
    styles = {row["model"]: CONTROL_STYLES.get(row["role"]) or next(floors) for row in controls}
    return styles | {NO_AUGMENTATION: (GREY, "dashed")}


def _without_augmentation(view: RunView, metric: str) -> dict[str, float]:
    """Return what the augmentation experiment reaches with no cells added, at the headline fraction."""
    frame = augmentation_frame(view)
    if metric not in frame:
        return {}
    rows = frame[(frame["augmenter"] == "none") & (frame["fraction"] == headline_fraction(view))]
    return {} if rows.empty else {NO_AUGMENTATION: float(rows[metric].iloc[0])}


def _dots(axes: Axes, shown: pd.DataFrame, name: str, single: Sequence[Sequence[float]]) -> None:
    positions = range(len(shown))
    for position, values in zip(positions, single, strict=True):
        if len(values) > 1:
            axes.plot(values, [position] * len(values), "o", color=GREY, markersize=2.5, zorder=3)
    if f"{name}_low" in shown:
        axes.hlines(
            positions, shown[f"{name}_low"], shown[f"{name}_high"], color=BLUE, linewidth=1.6, zorder=4
        )
    axes.plot(shown[name], positions, "o", color=BLUE, markersize=6.5, zorder=5, label="_mean")
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
    for position, row in zip(positions, rows_of(shown), strict=True):
        if np.isnan(row[name]):
            reason = "not scored" if row["n_seeds"] else row["status"].replace("_", " ")
            axes.text(0.5, position, reason, color=GREY, backgroundcolor="white", **place)
    axes.set_yticks(positions, shown["model"])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="y", color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)
