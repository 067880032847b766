"""Violins of marker genes in each type, test cells beside synthetic ones.

After the supplement of Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), figure S12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reports.figures.embedding import SOURCES, SPACE_LABELS, Maps
from reports.figures.style import STYLE, heading
from reports.view import RunView
from reports.words import count, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

LEAST_CELLS = 3
"""Of a type on one side: fewer are drawn as points, since they have no shape."""


@mpl.rc_context(STYLE)
def markers_figure(view: RunView, model: str, maps: Maps) -> Figure | None:
    """Draw a panel for each marker gene, in each called type test cells to the left, synthetic to the right.

    Parameters
    ----------
    view, model
        The run, and the name of the generator.
    maps
        Maps of one model, from `reports.figures.embedding.stored_maps`.

    Returns
    -------
    Figure or None
        None where no types are known.
    """
    types, genes = np.unique(maps["cell_type"]), maps["marker_genes"]
    if not types.size or not genes.size:
        return None
    figure = Figure(figsize=(2.5 + 0.7 * len(types), 1 + 2.1 * len(genes)), layout="constrained")
    panels = figure.subplots(len(genes), 1, sharex=True, squeeze=False)[:, 0]
    for gene, axes in enumerate(panels):
        _draw_gene(axes, maps, types, gene)
        of_type = short(maps["marker_types"][gene], most=40)
        axes.set_title(f"{short(genes[gene], most=18)}, a marker of {of_type}")
        axes.set_ylabel(SPACE_LABELS.get(str(maps["space"]), str(maps["space"])), fontsize=8)
    labels = [short(name, most=24) for name in types]
    panels[-1].set_xticks(range(len(types)), labels, rotation=30, ha="right")
    handles = [Patch(facecolor=colour, alpha=0.6, label=label) for label, colour in SOURCES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    n_real = int(np.sum(~maps["is_synthetic"]))
    what = f"{model}: both halves of each violin should look alike"
    figure.suptitle(f"{heading(view, what)} · n = {count(n_real)} cells a side", fontsize=9)
    return figure


def _draw_gene(axes: Axes, maps: Maps, types: NDArray[Any], gene: int) -> None:
    sides: tuple[Literal["low", "high"], ...] = ("low", "high")
    halves = (~maps["is_synthetic"], maps["is_synthetic"])
    for side, members, colour in zip(sides, halves, SOURCES.values(), strict=True):
        for place, name in enumerate(types):
            values = maps["markers"][members & (maps["cell_type"] == name), gene]
            if values.size < LEAST_CELLS or np.ptp(values) == 0:
                shift = -0.1 if side == "low" else 0.1
                axes.plot(np.full(values.size, place + shift), values, ".", color=colour, markersize=4)
                continue
            drawn: Any = axes.violinplot([values], [place], side=side, widths=0.85, showextrema=False)
            for body in drawn["bodies"]:
                body.set(facecolor=colour, alpha=0.6, linewidth=0)
            # The median as a short line on its own side.
            edges = (place - 0.2, place) if side == "low" else (place, place + 0.2)
            axes.hlines(np.median(values), *edges, color=colour, linewidth=1.5)
