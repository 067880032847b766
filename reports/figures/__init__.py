"""Figures of a run: what can be seen at a glance, and what lies behind a number."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from reports.figures.augmentation import augmentation_figure
from reports.figures.correlation import correlation_figure
from reports.figures.embedding import embedding_figure, stored_maps
from reports.figures.marginals import marginals_figure
from reports.figures.markers import markers_figure
from reports.figures.memorisation import memorisation_figure
from reports.figures.overview import overview_figure
from reports.figures.pareto import pareto_figure
from reports.figures.roc import roc_figure
from reports.figures.scale import scale_figure
from reports.figures.style import save
from reports.figures.training import curves_figure, training_curves
from reports.view import RunView

BY_PROTOCOL = {"overview": overview_figure, "pareto": pareto_figure, "scale": scale_figure, "roc": roc_figure}
UNDER_THE_FIRST = {
    "correlation": correlation_figure,
    "marginals": marginals_figure,
    "memorisation": memorisation_figure,
    "augmentation": augmentation_figure,
}


def save_figures(
    view: RunView, output: Path, *, begin: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Draw every figure that the run has data for.

    Parameters
    ----------
    view
        The run (see `reports`); training curves and maps are read from its folder.
    output
        Folder for the files; made if missing.
    begin
        Function that is called with the name of each figure before it is drawn.

    Returns
    -------
    list of Path
        Each as PNG and SVG: ``overview``, ``pareto``, ``scale`` and ``roc``, of a run under several protocols
        as ``overview-PROTOCOL`` and so on; under the first protocol ``correlation``, ``marginals``,
        ``memorisation``, ``augmentation``, an ``embedding-MODEL`` and a ``markers-MODEL`` for each generator
        whose maps are stored; ``curves-MODEL`` for each trained model.
    """
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    with warnings.catch_warnings():
        # A box stands for it, which says as much.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        for name, draw in _figures(view):
            begin(name)
            if (figure := draw()) is not None:
                # MLflow's pages read a plus in a name as a space.
                paths += save(figure, output, name.replace("+", "-"))
    return paths


def _figures(view: RunView) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    seen = view.each_protocol
    for under in seen:
        for name, draw in BY_PROTOCOL.items():
            suffix = f"-{under.protocol}" if len(seen) > 1 else ""
            yield name + suffix, partial(draw, under)
    first = seen[0]
    for name, draw in UNDER_THE_FIRST.items():
        yield name, partial(draw, first)
    for model, maps in stored_maps(first).items():
        yield f"embedding-{model}", partial(embedding_figure, first, model, maps)
        yield f"markers-{model}", partial(markers_figure, first, model, maps)
    for model, by_seed in training_curves(view).items():
        yield f"curves-{model}", partial(curves_figure, model, by_seed)
