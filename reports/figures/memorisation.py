"""Memorisation: how near synthetic cells lie to training cells, beside unseen real cells."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.first_scores import GENERATORS, cells_of, first_scores
from reports.figures.style import REAL_COLOUR, STYLE, SYNTHETIC_COLOUR, VERMILION, grid, heading, legend_below
from reports.view import RunView, Score

SHARES = np.linspace(0, 1, 101)


class _Distance(NamedTuple):
    metric: str
    axis: str
    word: str


DISTANCES = (
    _Distance("near_share", "distance to the nearest training cell (PCs)", "near"),
    _Distance("copied_share", "… ÷ distance to the second nearest", "copied"),
)


@mpl.rc_context(STYLE)
def memorisation_figure(view: RunView) -> Figure | None:
    """Draw how near synthetic cells lie to training cells, beside test cells: two panels a generator.

    Left the distance itself, right in units of that to the second nearest training cell, where cells of low
    variance are told from copies. Shaded: what counts as near, or copied. None if no score kept its
    distances.
    """
    needs, roles = ("percentiles", "percentiles_test", "threshold"), (*GENERATORS, "cheat")
    found = {d: first_scores(view, d.metric, needs=needs, roles=roles) for d in DISTANCES}
    models = list(dict.fromkeys(model for scores in found.values() for model in scores))
    drawn = [(model, d, found[d][model]) for model in models for d in DISTANCES if model in found[d]]
    if not drawn:
        return None
    figure, panels = grid(len(drawn), columns=4, height=2.4, width=2.9)
    for axes, (model, distance, score) in zip(panels, drawn, strict=True):
        _draw(axes, score)
        share = score.values[distance.metric]
        axes.set_title(f"{model}\n{100 * share:.1f} % {distance.word}")
        axes.set_xlabel(distance.axis, fontsize=8)
    figure.supylabel("share of cells below", fontsize=9)
    what = "Does it copy its training cells? Copies pile up in the shaded area, where few test cells lie"
    figure.suptitle(heading(view, what, cells_of(score for _, _, score in drawn)))
    legend_below(figure, panels)
    return figure


def _draw(axes: Axes, score: Score) -> None:
    test, synthetic = (np.asarray(score.details[name]) for name in ("percentiles_test", "percentiles"))
    near = (-test.max(), score.details["threshold"])
    axes.axvspan(*near, color=VERMILION, alpha=0.2, linewidth=0, label="counts as near, or copied")
    axes.plot(test, SHARES, color=REAL_COLOUR, linewidth=1.6, label="test cells")
    axes.plot(
        synthetic, SHARES, color=SYNTHETIC_COLOUR, linestyle="dashed", linewidth=1.8, label="synthetic cells"
    )
    # A few cells far away shall not squeeze the rest.
    right = 1.05 * max(test[98], synthetic[98])
    axes.set(xlim=(-0.04 * right, right), ylim=(-0.02, 1.02))
    axes.tick_params(labelsize=8)
