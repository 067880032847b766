"""The augmentation experiment: what added cells are worth, beside cheap augmenters."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.augmentation import augmentation_frame
from reports.figures.style import GREY, LINE_COLOURS, STYLE, grid, heading
from reports.further_tables import AUGMENTER_LABELS
from reports.view import RunView
from reports.words import count, short

CHEAP_MARKERS = {"none": "x", "class_weights": "s", "duplication": "^", "smote": "v", "poisson_jitter": "D"}
SPREAD = 0.7


@mpl.rc_context(STYLE)
def augmentation_figure(view: RunView) -> Figure | None:
    """Draw F1 of the rare type over the kept share of its cells, a panel a type, a line an augmenter.

    Cheap augmenters are grey, models coloured; bars are 95 % t intervals over subsampling seeds (three or
    more). None if the experiment did not run.
    """
    frame = augmentation_frame(view)
    if frame.empty or frame["augmentation_f1"].notna().sum() == 0:
        return None
    cell_types = list(dict.fromkeys(frame["cell_type"]))
    n_fractions = frame["fraction"].nunique()
    figure, panels = grid(len(cell_types), columns=2, height=3.4, width=max(6.6, 3.6 + 1.3 * n_fractions))
    for axes, cell_type in zip(panels, cell_types, strict=True):
        _draw(axes, frame[frame["cell_type"] == cell_type])
        axes.set_title(short(cell_type))
    figure.supylabel("F1 of the type among the test cells", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    n = int(frame["n_subsamples"].max())
    what = "Do added cells help to find a rare type? Models should lie above the grey marks"
    figure.suptitle(heading(view, what) + f" · n = {n} subsampling seed{'s' * (n > 1)}")
    return figure


def _draw(axes: Axes, frame: pd.DataFrame) -> None:
    fractions = sorted(frame["fraction"].unique(), reverse=True)
    augmenters = list(dict.fromkeys(frame["augmenter"]))
    colours = iter(LINE_COLOURS * len(augmenters))
    for number, augmenter in enumerate(augmenters):
        rows = frame[frame["augmenter"] == augmenter].set_index("fraction").reindex(fractions)
        cheap = augmenter in CHEAP_MARKERS
        shift = SPREAD * ((number + 0.5) / len(augmenters) - 0.5)
        places, means = np.arange(len(fractions)) + shift, rows["augmentation_f1"].to_numpy()
        errors = None
        if "augmentation_f1_low" in rows:
            errors = np.array([means - rows["augmentation_f1_low"], rows["augmentation_f1_high"] - means])
        axes.errorbar(
            places,
            means,
            yerr=errors,
            color=GREY if cheap else next(colours),
            marker=CHEAP_MARKERS.get(augmenter, "o"),
            markersize=5 if cheap else 7,
            linewidth=0.8 if cheap else 1.6,
            linestyle="dotted" if cheap else "solid",
            elinewidth=1,
            label=_label(augmenter, frame),
        )
    kept = frame.groupby("fraction")["kept_cells"].max()
    labels = [f"{100 * fraction:g} %\n{count(kept[fraction])} cells" for fraction in fractions]
    axes.set_xticks(range(len(fractions)), labels)
    axes.set_xlim(-0.5, len(fractions) - 0.5)
    axes.set_xlabel("training cells of the type that are kept")
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)


def _label(augmenter: str, frame: pd.DataFrame) -> str:
    """Name an augmenter; where it has no point at all, say why."""
    rows, label = frame[frame["augmenter"] == augmenter], AUGMENTER_LABELS.get(augmenter, augmenter)
    if rows["augmentation_f1"].notna().any():
        return label
    return f"{label} ({', '.join(rows['status'].str.replace('_', ' ').unique())})"
