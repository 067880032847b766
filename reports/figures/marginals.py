"""Marginals: moments of genes, depth and breadth of cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.first_scores import GENERATORS, cells_of, first_scores
from reports.figures.style import REAL_COLOUR, STYLE, SYNTHETIC_COLOUR, heading, remark
from reports.view import RunView, Score


class _Column(NamedTuple):
    """One kind of panel: which metric's details it shows, and how; without a quantity, cumulative shares."""

    metric: str
    title: str
    x: str
    y: str
    quantity: str | None = None

    @property
    def needs(self) -> tuple[str, str]:
        return ("real", "synthetic") if self.quantity else ("percentiles", "percentiles_test")


MEAN, BELOW = "log10 mean expression", "share of cells below"
COLUMNS = (
    _Column("mean_variance_error", "variance of genes", MEAN, "log10 variance", "log10_variance"),
    _Column("zero_fraction_error", "zeros of genes", MEAN, "share of zeros", "zero_fraction"),
    _Column("library_size_wasserstein", "library size", "counts per cell", BELOW),
    _Column("genes_per_cell_wasserstein", "genes per cell", "expressed genes per cell", BELOW),
)
SIDES: dict[str, tuple[str, Any]] = {
    "test cells": (REAL_COLOUR, "solid"),
    "synthetic cells": (SYNTHETIC_COLOUR, "dashed"),
}


@mpl.rc_context(STYLE)
def marginals_figure(view: RunView) -> Figure | None:
    """Draw what single genes and single cells look like: a row a generator, the two sides as two lines.

    Variance and share of zeros of genes over their mean (medians of bins of genes), and the cumulative
    distributions of library size and of expressed genes per cell. None if no score kept these.
    """
    roles = (*GENERATORS, "ceiling")
    found = [first_scores(view, column.metric, needs=column.needs, roles=roles) for column in COLUMNS]
    models = list(dict.fromkeys(model for scores in found for model in scores))
    if not models:
        return None
    figure = Figure(figsize=(2.7 * len(COLUMNS), 1.9 * len(models) + 1.3), layout="constrained")
    grid = figure.subplots(len(models), len(COLUMNS), squeeze=False)
    for model, row in zip(models, grid, strict=True):
        row[0].annotate(
            model, (-0.42, 0.5), xycoords="axes fraction", rotation=90, va="center", fontweight="bold"
        )
        for axes, column, scores in zip(row, COLUMNS, found, strict=True):
            if model in scores:
                _draw(axes, column, scores[model])
            else:
                remark(axes, _reason(view, model, column.metric))
    for axes, column in zip(grid[0], COLUMNS, strict=True):
        axes.set_title(column.title)
    lines = [
        Line2D([], [], color=colour, linestyle=dashes, label=label)
        for label, (colour, dashes) in SIDES.items()
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2)
    sizes = {cells_of(scores.values()) for scores in found if scores}
    what = "Have genes, and cells, the counts they should have? The dashed line should lie on the solid one"
    figure.suptitle(heading(view, what, sizes.pop() if len(sizes) == 1 else None))
    return figure


def _draw(axes: Axes, column: _Column, score: Score) -> None:
    details = score.details
    if column.quantity is None:
        shares = np.linspace(0, 1, 101)
        lines = [(details["percentiles_test"], shares), (details["percentiles"], shares)]
        axes.set_ylim(0, 1)
    else:
        sides = [details[side] for side in column.needs]
        lines = [(side["log10_mean"], side[column.quantity]) for side in sides]
    for (x, y), (label, (colour, dashes)) in zip(lines, SIDES.items(), strict=True):
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.6, label=label)
    axes.set_xlabel(column.x, fontsize=8)
    axes.set_ylabel(column.y, fontsize=8)
    axes.tick_params(labelsize=8)


def _reason(view: RunView, model: str, metric: str) -> str:
    """Say why a generator has no such score."""
    for record in view.records:
        for score in view.scores.get(record.key, ()):
            if record.job.model == model and score.metric == metric and score.error:
                return score.error
    return "not scored"
