"""Correlations of marker genes: real above the diagonal, synthetic below."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from reports.figures.first_scores import GENERATORS, cells_of, first_scores
from reports.figures.style import STYLE, grid, heading, spans
from reports.view import RunView, Score
from reports.words import figure as rounded
from reports.words import short

PANEL_COLUMNS = 3
LABEL_POINTS = 250


@mpl.rc_context(STYLE)
def correlation_figure(view: RunView) -> Figure | None:
    """Draw the correlations between the marker genes of each type, a panel a generator.

    Above the diagonal stand the test cells', below it the synthetic cells': a generator that keeps them has
    a panel that mirrors itself. None if no score kept its correlations.
    """
    found = first_scores(view, "cd", needs=("genes", "real", "synthetic"), roles=(*GENERATORS, "ceiling"))
    if not found:
        return None
    matrices = {
        model: real_above_synthetic(score.details["real"], score.details["synthetic"])
        for model, score in found.items()
    }
    limit = max(np.nanmax(np.abs(matrix)) for matrix in matrices.values())
    figure, panels = grid(len(found), columns=PANEL_COLUMNS, height=4.1, width=4.6)
    # Square panels, side by side.
    figure.set_layout_engine("compressed")
    for number, (axes, (model, matrix)) in enumerate(zip(panels, matrices.items(), strict=True)):
        image = axes.imshow(
            matrix,
            cmap=mpl.colormaps["RdBu_r"].with_extremes(bad="#BBBBBB"),
            vmin=-limit,
            vmax=limit,
            interpolation="none",
        )
        axes.set_title(f"{model}   cd {rounded(found[model].values['cd'])}")
        column, last = number % PANEL_COLUMNS, min(PANEL_COLUMNS, len(found)) - 1
        _name_genes(axes, found[model], genes=column == 0, types=column == last)
        axes.text(0.98, 0.96, "real", ha="right", va="top", fontweight="bold", transform=axes.transAxes)
        axes.text(0.02, 0.04, "synthetic", fontweight="bold", transform=axes.transAxes)
    bar = figure.colorbar(image, ax=panels, shrink=0.4, aspect=30, location="bottom", pad=0.02)
    bar.set_label("Pearson correlation of two genes over cells")
    what = "Do marker genes go together as in real cells? A faithful panel mirrors itself at its diagonal"
    figure.suptitle(heading(view, what, cells_of(found.values())))
    return figure


def real_above_synthetic(real: ArrayLike, synthetic: ArrayLike) -> NDArray[np.float64]:
    """Return one matrix of two, n_genes × n_genes: real above the diagonal, synthetic below, NaN on it."""
    matrix = np.triu(np.asarray(real), k=1) + np.tril(np.asarray(synthetic), k=-1)
    np.fill_diagonal(matrix, np.nan)
    return matrix


def _name_genes(axes: Axes, score: Score, *, genes: bool, types: bool) -> None:
    """Name genes at the left and types at the right where wanted, and draw lines between types."""
    names: Sequence[str] = score.details["genes"]
    axes.spines[:].set_visible(False)
    axes.set_yticks(range(len(names)) if genes else [], names if genes else [])
    axes.tick_params(axis="y", labelsize=min(8.0, LABEL_POINTS / len(names)))
    axes.tick_params(length=0, pad=1)
    axes.set_xticks([])
    found = list(spans(score.details.get("types", [""] * len(names))))
    for _, edge, _ in found[1:]:
        axes.axhline(edge, color="#999999", linewidth=0.4)
        axes.axvline(edge, color="#999999", linewidth=0.4)
    for cell_type, _, middle in found if types else ():
        axes.text(len(names), middle, short(cell_type), fontsize=7, va="center")
