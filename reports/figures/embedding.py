"""Maps of test and synthetic cells together, by source, cell type and marker genes."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from reports.figures.first_scores import GENERATORS, main_records
from reports.figures.style import (
    BLUE,
    GREEN,
    PURPLE,
    REAL_COLOUR,
    SKY,
    STYLE,
    SYNTHETIC_COLOUR,
    VERMILION,
    YELLOW,
    heading,
)
from reports.view import RunView
from reports.words import count, short

Maps = Mapping[str, "NDArray[Any]"]

METHODS = {"umap": "UMAP", "tsne": "t-SNE"}
SOURCES = {"test cells": REAL_COLOUR, "synthetic cells": SYNTHETIC_COLOUR}
TYPE_COLOURS = (BLUE, GREEN, PURPLE, SKY, VERMILION, YELLOW)
# More types than colours: the next marker.
TYPE_MARKERS = "o^sDvP"
EXPRESSION = LinearSegmentedColormap.from_list("expression", ["#D9D9D9", SKY, BLUE, "#00203A"])
SPACE_LABELS = {"log_cp20k": "log(1 + CP20k)", "cp20k": "CP20k"}
PERCENTILE_OF_FULL_COLOUR = 99
MOST_VECTOR_POINTS = 600
ABOVE_POINTS = 1.5


def embedding_file(run_folder: Path, job_key: str, sample_seed: int) -> Path:
    """Return where the maps of a Job's sample lie."""
    return run_folder / "jobs" / job_key / f"embedding-{sample_seed}.npz"


def stored_maps(view: RunView) -> dict[str, dict[str, NDArray[Any]]]:
    """Return model → its first stored maps, for models, baselines and the ceiling.

    A file holds ``umap`` and ``tsne``, n × 2; ``is_synthetic`` and ``cell_type``, n; ``marker_genes`` with
    ``marker_types`` and their expression ``markers``, n × genes, in ``space``.
    """
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for record in main_records(view, (*GENERATORS, "ceiling")):
        file = embedding_file(Path(view.run.folder), record.key, record.job.sample_seeds[0])
        if record.job.model in found or not file.exists():
            continue
        try:
            with np.load(file, allow_pickle=False) as stored:
                found[record.job.model] = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            # Half a file, or none of ours: the next scoring writes it anew.
            continue
    return found


@mpl.rc_context(STYLE)
def embedding_figure(view: RunView, model: str, maps: Maps) -> Figure:
    """Draw UMAP and t-SNE of test and synthetic cells: left by source, right the two sides one above another.

    Above 600 cells the points are pixels in the SVG, too: thousands of paths would make it slow to open.
    """
    n_right = 1 + len(maps["marker_genes"]) if maps["cell_type"].size else 0
    figure = Figure(figsize=(4.2 + 2.1 * n_right, 9.6), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False).flat
    for part, (method, name) in zip(parts, METHODS.items(), strict=True):
        _draw_map(part, maps, method, name, n_right)
    handles = [_dot(*style, short(name)) for name, style in _type_styles(maps).items()]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8)
    n_real = int(np.sum(~maps["is_synthetic"]))
    what = f"{model}: left, colours should mix; right, the two rows should look alike"
    figure.suptitle(f"{heading(view, what)} · n = {count(n_real)} cells a side")
    return figure


def _draw_map(part: SubFigure, maps: Maps, method: str, name: str, n_right: int) -> None:
    sides = (~maps["is_synthetic"], maps["is_synthetic"])
    layout = part.add_gridspec(2, 2 + n_right)
    joint = part.add_subplot(layout[:, :2])
    _draw_sources(joint, maps, maps[method])
    joint.set_title(f"{name} by source")
    joint.set(xlabel=f"{name} 1", ylabel=f"{name} 2")
    sources = [_dot(colour, "o", label) for label, colour in SOURCES.items()]
    joint.legend(handles=sources, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    for column in range(n_right):
        panels = [part.add_subplot(layout[row, 2 + column], sharex=joint, sharey=joint) for row in (0, 1)]
        for axes, side, members in zip(panels, SOURCES, sides, strict=True):
            if column == 0:
                axes.set_ylabel(side, fontweight="bold")
                _draw_types(axes, maps, maps[method], members)
            else:
                points = _draw_gene(axes, maps, maps[method], members, column - 1)
        panels[0].set_title("called cell type" if column == 0 else _gene_title(maps, column - 1))
        if column > 0:
            bar = part.colorbar(points, ax=panels, location="bottom", aspect=20, pad=0.02)
            bar.set_label(SPACE_LABELS.get(str(maps["space"]), str(maps["space"])), fontsize=8)
            bar.ax.tick_params(labelsize=7)
    for axes in part.axes:
        if maps["is_synthetic"].size > MOST_VECTOR_POINTS:
            axes.set_rasterization_zorder(ABOVE_POINTS)
        if axes.get_subplotspec() is not None:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color="#BBBBBB")


def _draw_sources(axes: Axes, maps: Maps, points: NDArray[Any]) -> None:
    # In random order: neither side may hide the other.
    order = np.random.default_rng(0).permutation(len(points))
    colours = np.where(maps["is_synthetic"], SOURCES["synthetic cells"], SOURCES["test cells"])
    _scatter(axes, points[order], colours[order], size=9)


def _draw_types(axes: Axes, maps: Maps, points: NDArray[Any], members: NDArray[np.bool_]) -> None:
    for cell_type, (colour, marker) in _type_styles(maps).items():
        chosen = members & (maps["cell_type"] == cell_type)
        _scatter(axes, points[chosen], colour, size=6, marker=marker, label=cell_type)


def _draw_gene(
    axes: Axes, maps: Maps, points: NDArray[Any], members: NDArray[np.bool_], gene: int
) -> PathCollection:
    values = maps["markers"][:, gene]
    # The brightest on top, or few expressing cells would be hidden.
    order = np.flatnonzero(members)[np.argsort(values[members], kind="stable")]
    brightest = max(float(np.percentile(values, PERCENTILE_OF_FULL_COLOUR)), 1e-9)
    return _scatter(axes, points[order], values[order], size=6, vmin=0, vmax=brightest, cmap=EXPRESSION)


def _gene_title(maps: Maps, gene: int) -> str:
    gene_name, of_type = (short(maps[what][gene], most=18) for what in ("marker_genes", "marker_types"))
    return f"{gene_name}\n({of_type})"


def _type_styles(maps: Maps) -> dict[str, tuple[str, str]]:
    n_colours = len(TYPE_COLOURS)
    return {
        str(name): (TYPE_COLOURS[number % n_colours], TYPE_MARKERS[number // n_colours % len(TYPE_MARKERS)])
        for number, name in enumerate(np.unique(maps["cell_type"]))
    }


def _scatter(
    axes: Axes, points: NDArray[Any], colours: Any, *, size: float, **options: Any
) -> PathCollection:
    return axes.scatter(points[:, 0], points[:, 1], c=colours, s=size, linewidths=0, **options)


def _dot(colour: str, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=label)
