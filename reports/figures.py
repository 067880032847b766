"""Figures: headline metrics beside the controls, ROC curves, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reports import RunView
from reports.augmentation import augmentation_frame
from reports.curves import Curve, curves_file, read_curves, thin
from reports.table import (
    ROLES,
    headline_fraction,
    records_of,
    results_frame,
    rows_of,
    scored_metrics,
    scores_of,
    values_by_model,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Okabe & Ito (2008): told apart with every common colour vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
LINE_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
CEILING_STYLE = (GREEN, "solid")
CHEAT_STYLE = (PURPLE, "dotted")
FLOOR_STYLES = (
    (ORANGE, "dashed"),
    (VERMILION, "dashdot"),
    (SKY, (0, (5, 1, 1, 1, 1, 1))),
    (BLACK, (0, (1, 2))),
)
GREY = "#767676"
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.titlesize": 11,
    "font.size": 9,
    "legend.frameon": False,
    # Same input, same file: no random element ids.
    "svg.hashsalt": "bench",
}
CURVE_POINTS = 2000
LOG_SCALE_FROM = 50
PANEL_COLUMNS = 3
NO_AUGMENTATION = "no augmentation"


@mpl.rc_context(STYLE)
def save_figures(view: RunView, output: Path) -> list[Path]:
    """Draw every figure that the run has data for.

    Parameters
    ----------
    view
        The run (see `reports`); the curves are read from its folder.
    output
        Folder for the files; made if missing.

    Returns
    -------
    list of Path
        ``overview``, ``roc`` and one ``curves-MODEL`` for each trained model, each as PNG and SVG.
    """
    figures = {"overview": overview_figure(view), "roc": roc_figure(view)}
    for model, by_seed in training_curves(view).items():
        figures[f"curves-{model}"] = curves_figure(model, by_seed)
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths += [output / f"{name}.png", output / f"{name}.svg"]
            figure.savefig(paths[-2], dpi=150)
            figure.savefig(paths[-1], metadata={"Date": None})
    return paths


@mpl.rc_context(STYLE)
def overview_figure(view: RunView) -> Figure | None:
    """Draw the models' headline metrics, one panel each, the controls as reference lines.

    Dots are means over seeds, bars their 95 % t intervals (three seeds or more), small dots single seeds.
    None if nothing was scored.
    """
    frame, metrics = results_frame(view), scored_metrics(view)
    metrics = [metric for metric in metrics if frame[metric["name"]].notna().any()]
    models = frame[frame["role"] == "model"]
    if not metrics or models.empty:
        return None
    figure, panels = _grid(len(metrics), columns=2, height=1.2 + 0.32 * len(models), width=4.2)
    run, single = view["run"], values_by_model(view)
    styles = _control_styles(frame)
    for axes, metric in zip(panels, metrics, strict=True):
        name = metric["name"]
        axes.set_title(f"{name} → {metric['ideal']:g}")
        axes.axvline(metric["ideal"], color="#DDDDDD", linewidth=5, zorder=0, label="ideal")
        values = frame.set_index("model")[name].to_dict() | _without_augmentation(view, name)
        for control, (colour, dashes) in styles.items():
            if np.isfinite(value := values.get(control, np.nan)):
                axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.4, label=control, zorder=1)
        _dots(axes, models, name, [single[model].get(name, []) for model in models["model"]])
    figure.suptitle(f"{run['dataset']['name']} · {run['profile']} budgets · protocol {run['protocol']}")
    _legend_below(figure, panels)
    return figure


@mpl.rc_context(STYLE)
def roc_figure(view: RunView) -> Figure | None:
    """Draw how well the forest tells real from synthetic cells: a panel a generator, a line a fold.

    The first sample of the first seed is shown. None if no score kept its folds.
    """
    folds = _first_roc_details(view)
    if not folds:
        return None
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, panels = _grid(len(folds), columns=4, height=2.6, width=2.4)
    for axes, (model, details) in zip(panels, folds.items(), strict=True):
        labels, scores = np.asarray(details["labels"]), np.asarray(details["scores"])
        areas = []
        for number, fold in enumerate(np.unique(details["folds"])):
            members = np.asarray(details["folds"]) == fold
            false_positive, true_positive, _ = roc_curve(labels[members], scores[members])
            areas.append(roc_auc_score(labels[members], scores[members]))
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            axes.plot(false_positive, true_positive, color=colour, linewidth=1, label=f"fold {fold}")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="dotted", linewidth=1, label="chance")
        axes.set_title(f"{model}\nAUC {np.mean(areas):.3f}")
        axes.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal"
        )
    figure.suptitle("Real or synthetic? ROC of the forest, one line per fold; dotted: chance (the ideal)")
    figure.supxlabel("false positive rate", fontsize=9)
    figure.supylabel("true positive rate", fontsize=9)
    return figure


def training_curves(view: RunView) -> dict[str, dict[int, dict[str, Curve]]]:
    """Return model → seed → curve name → points, for every main Job that left curves."""
    found: dict[str, dict[int, dict[str, Curve]]] = {}
    for record in records_of(view, "main"):
        curves = read_curves(curves_file(Path(view["run"]["folder"]), record["key"]))
        if curves:
            found.setdefault(record["job"]["model"], {})[record["job"]["seed"]] = curves
    return found


@mpl.rc_context(STYLE)
def curves_figure(model: str, by_seed: Mapping[int, Mapping[str, Curve]]) -> Figure:
    """Draw a model's training curves: a panel for each quantity, a line for each seed.

    An axis is logarithmic where all values are positive and span a factor of 50.
    """
    names = list(dict.fromkeys(name for curves in by_seed.values() for name in curves))
    figure, panels = _grid(len(names), columns=PANEL_COLUMNS, height=2.3, width=3.2)
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
        # Two short lines fit a panel where one long one would not.
        axes.set_title(name.replace("/", "\n"))
        axes.set_xlabel("step")
        axes.margins(x=0.02)
    figure.suptitle(f"{model}: training curves")
    if len(by_seed) > 1:
        _legend_below(figure, panels)
    return figure


def _grid(n_panels: int, *, columns: int, height: float, width: float) -> tuple[Figure, list[Axes]]:
    columns = min(columns, n_panels)
    rows = -(-n_panels // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = list(grid.flat)
    for empty in panels[n_panels:]:
        empty.remove()
    return figure, panels[:n_panels]


def _control_styles(frame: pd.DataFrame) -> dict[str, tuple[str, Any]]:
    floors = iter(FLOOR_STYLES * len(frame))
    choose = {"ceiling": lambda: CEILING_STYLE, "cheat": lambda: CHEAT_STYLE, "floor": lambda: next(floors)}
    controls = frame[frame["role"] != "model"]
    styles = {row["model"]: choose[row["role"]]() for row in rows_of(controls)}
    return styles | {NO_AUGMENTATION: (GREY, "dashed")}


def _without_augmentation(view: RunView, metric: str) -> dict[str, float]:
    """Return what the augmentation experiment reaches with no cells added, at the headline fraction."""
    frame = augmentation_frame(view)
    if metric not in frame:
        return {}
    rows = frame[(frame["augmenter"] == "none") & (frame["fraction"] == headline_fraction(view))]
    return {} if rows.empty else {NO_AUGMENTATION: float(rows[metric].iloc[0])}


def _dots(axes: Axes, models: pd.DataFrame, name: str, single: Sequence[Sequence[float]]) -> None:
    positions = range(len(models))
    for position, values in zip(positions, single, strict=True):
        if len(values) > 1:
            axes.plot(values, [position] * len(values), "o", color=GREY, markersize=2.5, zorder=3)
    if f"{name}_low" in models:
        axes.hlines(
            positions, models[f"{name}_low"], models[f"{name}_high"], color=BLUE, linewidth=1.6, zorder=4
        )
    axes.plot(models[name], positions, "o", color=BLUE, markersize=6.5, zorder=5, label="_mean")
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
    for position, row in zip(positions, rows_of(models), strict=True):
        if np.isnan(row[name]):
            reason = "not scored" if row["n_seeds"] else row["status"].replace("_", " ")
            axes.text(0.5, position, reason, color=GREY, backgroundcolor="white", **place)
    axes.set_yticks(positions, models["model"])
    axes.set_ylim(len(models) - 0.4, -0.6)
    axes.grid(axis="y", color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)


def _legend_below(figure: Figure, panels: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=4)


def _first_roc_details(view: RunView) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for record in sorted(records_of(view, "main"), key=lambda record: ROLES.index(record["job"]["role"])):
        for score in scores_of(view, record):
            if score["metric"] == "rf_auc" and {"scores", "labels", "folds"} <= set(score["details"]):
                found.setdefault(record["job"]["model"], score["details"])
    return found
