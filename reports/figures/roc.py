"""ROC curves of the forest that tells synthetic from real cells."""

from __future__ import annotations

from itertools import cycle

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reports.figures.first_scores import cells_of, first_scores
from reports.figures.style import GREY, LINE_COLOURS, STYLE, grid, heading, legend_below
from reports.view import RunView

COLUMNS = 5


@mpl.rc_context(STYLE)
def roc_figure(view: RunView) -> Figure | None:
    """Draw how well the forest tells real from synthetic cells: a panel a generator, a line a fold.

    The first sample of the first seed is shown. None if no score kept its folds.
    """
    found = first_scores(view, "rf_auc", needs=("labels", "scores", "folds"))
    if not found:
        return None
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, panels = grid(len(found), columns=COLUMNS, height=2.75, width=2.3)
    for number, (axes, (model, score)) in enumerate(zip(panels, found.items(), strict=True)):
        labels, scores, folds = (np.asarray(score.details[name]) for name in ("labels", "scores", "folds"))
        areas = []
        for fold, colour in zip(np.unique(folds), cycle(LINE_COLOURS), strict=False):
            members = folds == fold
            false_positive, true_positive, _ = roc_curve(labels[members], scores[members])
            areas.append(roc_auc_score(labels[members], scores[members]))
            axes.plot(false_positive, true_positive, color=colour, linewidth=1, label=f"fold {fold}")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="dotted", linewidth=1.2, label="chance")
        axes.set_title(f"{model}\nAUC {np.mean(areas):.3f}")
        axes.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal"
        )
        if number + COLUMNS >= len(found):
            axes.set_xlabel("share of real called synthetic", fontsize=8)
        if number % COLUMNS == 0:
            axes.set_ylabel("share of synthetic called so", fontsize=8)
    what = "Real or synthetic? ROC of the forest: the nearer to the chance line, the better"
    figure.suptitle(heading(view, what, cells_of(found.values())))
    legend_below(figure, panels, columns=6)
    return figure
