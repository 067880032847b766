"""Training curves of each model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from reports.curves import Curve, curves_file, read_curves, thin
from reports.figures.style import LINE_COLOURS, STYLE, grid, legend_below
from reports.view import RunView

CURVE_POINTS = 2000
LOG_SCALE_FROM = 50
PANEL_COLUMNS = 3


def training_curves(view: RunView) -> dict[str, dict[int, dict[str, Curve]]]:
    """Return model → seed → curve name → points, for every main Job that left curves."""
    found: dict[str, dict[int, dict[str, Curve]]] = {}
    for record in view.records_of("main"):
        curves = read_curves(curves_file(Path(view.run.folder), record.key))
        if curves:
            found.setdefault(record.job.model, {})[record.job.seed] = curves
    return found


@mpl.rc_context(STYLE)
def curves_figure(model: str, by_seed: Mapping[int, Mapping[str, Curve]]) -> Figure:
    """Draw a model's training curves: a panel for each quantity, a line for each seed.

    An axis is logarithmic where all values are positive and span a factor of 50.
    """
    names = list(dict.fromkeys(name for curves in by_seed.values() for name in curves))
    figure, panels = grid(len(names), columns=PANEL_COLUMNS, height=2.3, width=3.2)
    for axes, name in zip(panels, names, strict=True):
        smallest, largest = np.inf, -np.inf
        for number, (seed, curves) in enumerate(by_seed.items()):
            if name not in curves:
                continue
            steps, values = zip(*thin(curves[name], limit=CURVE_POINTS), strict=True)
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            marker = "o" if len(steps) == 1 else ""
            axes.plot(steps, values, color=colour, linewidth=1.1, marker=marker, label=f"seed {seed}")
            smallest, largest = min(smallest, *values), max(largest, *values)
        if smallest > 0 and largest / smallest > LOG_SCALE_FROM:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
        # Two short lines fit a panel where one long one would not.
        axes.set_title(name.replace("/", "\n"))
        axes.set_xlabel("step")
        axes.margins(x=0.02)
    figure.suptitle(f"{model}: training curves, n = {len(by_seed)} seed{'s' * (len(by_seed) > 1)}")
    if len(by_seed) > 1:
        legend_below(figure, panels)
    return figure
