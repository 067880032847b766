"""The tables of a run: what generators cost and how good their cells are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any, Final

import pandas as pd
from rich.text import Text

from reports import RunView
from reports.fitted_table import Column, FittedTable, Footnotes
from reports.remarks import remarks
from reports.suspicion import TRAINED_ROLES
from reports.table import (
    NOT_RUN,
    headline_fraction,
    records_of,
    results_frame,
    rows_of,
    scored_metrics,
    scores_of,
    summarise,
    values_by_model,
)
from reports.words import DASH, count, figure

METRIC_LABELS: Final = {"augmentation_f1": "augm. F1"}
MAIN: Final = "main"
"""The table of the default metrics; the others stand in those of their groups."""
GROUP_TITLES: Final = {
    "headline": "More on the headline",
    "memorisation": "Memorisation: does it copy its training cells?",
    "coverage": "Coverage: are all kinds of real cells there, and no others?",
    "marginals": "Marginals: has each gene, and each cell, the counts it should have?",
    "dependence": "Dependence: do genes, and cells, go together as they should?",
    "biology": "Biology: would the same genes be found?",
    "use": "Use: does what is learnt from synthetic cells hold for real ones?",
}
COSTS_TITLE: Final = "What it cost"
# Their places are 0 % and 100 % by definition, or nearly.
SCALE_ROLES: Final = ("ceiling", "floor")
LEAST_PLACE: Final = -9.99
NAME_WIDTH: Final = 15
HEADER_WIDTH: Final = 7


def main_table(view: RunView, notes: Footnotes) -> FittedTable:
    """Return the metrics of the default set, under the run's first protocol also the seconds that it took.

    Parameters
    ----------
    view
        The run, under one protocol.
    notes
        Gets what models warned of, and why a metric has no value.
    """
    frame = results_frame(view)
    first = view["run"]["protocol"] == view["run"]["protocols"][0]
    costs = _cost_columns(view, frame, ("training_seconds", "sample_seconds")) if first else []
    return _table(view, MAIN, notes, before=costs)


def costs_table(view: RunView) -> FittedTable:
    """Return what else generators cost: budget, steps a second, memory, and how dense their cells are."""
    frame = results_frame(view)
    rows = rows_of(frame)
    names = ("steps_per_second", "sample_density", "peak_rss_gib", "peak_device_gib")
    budgets = Column("budget", [Text(row["budget"] or DASH) for row in rows], left=True)
    return FittedTable(
        Column("model", [_bold_if_model(row["model"], row) for row in rows], left=True),
        [budgets, *_cost_columns(view, frame, names)],
        sections(rows),
    )


def group_tables(view: RunView) -> Iterator[tuple[str, FittedTable, Footnotes]]:
    """Yield title, table and footnotes of each further group of metrics that the run scored."""
    for group in scored_groups(view):
        notes = Footnotes()
        yield GROUP_TITLES[group], group_table(view, group, notes), notes


def scored_groups(view: RunView) -> list[str]:
    """Return the groups of which the run scored a metric that does not stand in the main table."""
    return [group for group in GROUP_TITLES if metrics_in(view, group)]


def metrics_in(view: RunView, table: str) -> list[Mapping[str, Any]]:
    """Return the declarations of the scored metrics that stand in a table: `MAIN`, or that of a group."""
    groups = list(GROUP_TITLES)
    found = [
        metric
        for metric in scored_metrics(view)
        if (table == MAIN if metric["default"] else table == metric["group"])
    ]
    return sorted(found, key=lambda metric: groups.index(metric["group"]))


def group_table(view: RunView, group: str, notes: Footnotes) -> FittedTable:
    """Return one group of metrics of every generator; `notes` gets what they noted."""
    return _table(view, group, notes, before=[])


def _table(view: RunView, table: str, notes: Footnotes, *, before: list[Column]) -> FittedTable:
    rows, metrics = rows_of(results_frame(view)), metrics_in(view, table)
    names = _names(view, rows, notes, metrics=metrics, warnings=table == MAIN)
    return FittedTable(names, [*before, *_metric_columns(view, rows, notes, metrics)], sections(rows))


def sections(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Draw a line after the models and one after the baselines."""
    roles = [row["role"] for row in rows]
    following = [*roles[1:], None]
    return [
        role in ("model", "baseline") and role != after for role, after in zip(roles, following, strict=True)
    ]


def _names(
    view: RunView,
    rows: Sequence[Mapping[str, Any]],
    notes: Footnotes,
    *,
    metrics: Sequence[Mapping[str, Any]],
    warnings: bool,
) -> Column:
    """Return the column that names the generators."""
    noting = {metric["name"] for metric in metrics} if notes.everything else ()
    said = remarks(view, metrics=noting, warnings=warnings)
    marks = [notes.mark(text for text, models in said.items() if row["model"] in models) for row in rows]
    n_seeds = max((row["n_seeds"] for row in rows), default=0)
    cells, narrow = (
        [
            _with_n(_name(row, mark, width=width), row["n_seeds"], usual=n_seeds)
            for row, mark in zip(rows, marks, strict=True)
        ]
        for width in (10 * NAME_WIDTH, NAME_WIDTH)
    )
    # Where room is short the protocol stands here, else above every score.
    protocol = view["run"]["protocol"]
    return Column(
        "model",
        cells,
        left=True,
        narrow_header="\n+".join(protocol.split("+")) + "\nmodel",
        narrow_cells=narrow,
    )


def _n_seeds(frame: pd.DataFrame) -> int:
    return 0 if frame.empty else int(frame["n_seeds"].max())


def _n_subsamples(view: RunView) -> int:
    experiments = [record["job"]["experiment"] for record in records_of(view, "augmentation")]
    fraction = headline_fraction(view)
    return len({e["subsample_seed"] for e in experiments if e["fraction"] == fraction})


def _with_n(cell: Text, n: int, *, usual: int) -> Text:
    """Say below a cell how many values it rests on, where that is not what the reader expects."""
    return cell if n in (0, usual) else cell.append(f"\nn={n}", style="dim")


def _name(row: Mapping[str, Any], marks: str, *, width: int) -> Text:
    """Name a generator; on lines of their own say its role, and how it ended, where that is not well."""
    lines = [_bold_if_model(_broken(row["model"] + marks, width), row)]
    if row["role"] != "model":
        lines.append(Text(f"  {row['role']}", style="not bold italic dim"))
    if row["status"] != "ok":
        lines += [Text("  ").append(line) for line in status_text(row["status"], width=width - 2).split("\n")]
    return Text("\n").join(lines)


def _bold_if_model(name: str, row: Mapping[str, Any]) -> Text:
    return Text(name, style="bold" if row["role"] == "model" else "")


def _broken(name: str, width: int) -> str:
    """Return a name in lines, broken behind underscores alone."""
    return fill(name.replace("_", "_ "), width=width, break_long_words=False).replace("_ ", "_")


def status_text(status: str, *, width: int = 10) -> Text:
    """Return how a Job ended, in the colour it deserves."""
    style = {"ok": "green", "skipped": "yellow", NOT_RUN: "yellow"}.get(status, "bold red")
    return Text(fill(status.replace("_", " "), width=width), style=style)


def _cost_columns(view: RunView, frame: pd.DataFrame, wanted: Sequence[str]) -> list[Column]:
    timed, rows, single = frame["sample_cells"].max(), rows_of(frame), values_by_model(view)
    headers = {
        "training_seconds": "training\nseconds",
        "steps_per_second": "steps/s",
        "sample_seconds": f"sampling\n{count(timed)}\ncells, s",
        "sample_density": "non-zero",
        "peak_rss_gib": "peak\nGiB",
        "peak_device_gib": "device\nGiB",
    }
    # Nothing was timed in a run of the ceiling alone, or where everything failed.
    unknown = ("sample_seconds", "sample_density") if math.isnan(timed) else ()
    columns = []
    for name in (name for name in wanted if name in frame and name not in unknown):
        cells = [
            _with_n(
                _cost_cell(name, row, timed),
                len(single[row["model"]].get(name, ())),
                usual=row["n_seeds"],
            )
            for row in rows
        ]
        columns.append(Column(headers[name], cells))
    return columns


def _cost_cell(name: str, row: Mapping[str, Any], timed: float) -> Text:
    if name == "sample_density":
        share = row[name]
        return Text(DASH if math.isnan(share) else f"{100 * share:.{0 if share >= 0.1 else 1}f} %")
    other_size = name == "sample_seconds" and row["sample_cells"] < timed
    return Text(figure(row[name]) + (f"\n({count(row['sample_cells'])})" if other_size else ""))


def _metric_columns(
    view: RunView,
    rows: Sequence[Mapping[str, Any]],
    notes: Footnotes,
    metrics: Sequence[Mapping[str, Any]],
) -> list[Column]:
    single, n_subsamples = values_by_model(view), _n_subsamples(view)
    reasons = _reasons(view, {metric["name"] for metric in metrics}, everything=notes.everything)
    columns = []
    for metric in metrics:
        name, main = metric["name"], metric["experiment"] == "main"
        label, ideal = METRIC_LABELS.get(name) or name, f"\n→ {metric['ideal']:g}"
        cells, narrow = list[Text](), list[Text]()
        for row in rows:
            values = single[row["model"]].get(name, [])
            mark = Text(notes.mark(reasons.get((row["model"], name), ())), style="dim")
            usual = row["n_seeds"] if main else n_subsamples
            for column, cell in (
                (cells, _metric_cell(name, row, values)),
                (narrow, _narrow_cell(name, row, values)),
            ):
                first, *rest = cell.split("\n")
                cell = Text("\n").join([first.append_text(mark), *rest])
                column.append(_with_n(cell.append(_place(name, row), style="dim"), len(values), usual=usual))
        header, short = f"{label}\n{view['run']['protocol']}{ideal}", _broken(label, HEADER_WIDTH) + ideal
        columns.append(Column(header, cells, narrow_header=short, narrow_cells=narrow))
    return columns


def _place(name: str, row: Mapping[str, Any]) -> str:
    """Say where a value lies between the best declared floor and the ceiling, on a line of its own."""
    place = row.get(f"{name}_position", math.nan)
    if row["role"] in SCALE_ROLES or not math.isfinite(place):
        return ""
    return f"\n{100 * place:.0f} %" if place > LEAST_PLACE else "\n≪ 0 %"


def _metric_cell(name: str, row: Mapping[str, Any], values: Sequence[float]) -> Text:
    return Text("\n".join(map(figure, values))) if len(values) == 2 else mean_cell(name, row)


def _narrow_cell(name: str, row: Mapping[str, Any], values: Sequence[float]) -> Text:
    """Return what `_metric_cell` does, of an interval only its half, to the decimals of the mean."""
    if len(values) < 3:
        return _metric_cell(name, row, values)
    mean, _, high = summarise(values)
    shown = figure(mean)
    half = figure(high - mean) if "e" in shown else f"{high - mean:.{len(shown.partition('.')[2])}f}"
    return Text(shown).append(f"\n±{half}", style="dim")


def mean_cell(name: str, row: Mapping[str, Any]) -> Text:
    """Return a mean and, below it, its interval where there is one."""
    cell = Text(figure(row[name]))
    if math.isfinite(low := row.get(f"{name}_low", math.nan)):
        cell.append(f"\n[{figure(low)}, {figure(row[f'{name}_high'])}]", style="dim")
    return cell


def _reasons(view: RunView, wanted: Collection[str], *, everything: bool) -> dict[tuple[str, str], list[str]]:
    """Return why metrics have no value, by model and metric, each reason once; of controls if asked for."""
    failed = {
        (record["job"]["model"], score["metric"], score["error"]): None
        for record in view["records"]
        if everything or record["job"]["role"] in TRAINED_ROLES
        for score in scores_of(view, record)
        if score["error"] and score["metric"] in wanted
    }
    metrics: dict[str, set[str]] = {}
    for _, metric, error in failed:
        metrics.setdefault(error, set()).add(metric)
    reasons: dict[tuple[str, str], list[str]] = {}
    for model, metric, error in failed:
        # What keeps several metrics from a value needs one footnote, not one for each.
        text = f"{metric}: {error}" if len(metrics[error]) == 1 else error
        reasons.setdefault((model, metric), []).append(text)
    return reasons


def key(view: RunView, table: FittedTable) -> list[Text]:
    """Say what the figures of the main table are, and which seeds their n counts."""
    n_seeds = _n_seeds(results_frame(view))
    lines = [f"n = {_seeds(n_seeds)}"] if n_seeds else []
    shown = [cell.plain for column in table.columns for cell in column.cells]
    if any(" %" in cell.partition("\n")[2] for cell in shown):
        lines.append(
            "% below a score: its place between the best of the metric's floors (0 %) and real (100 %)"
        )
    if any("\nn=" in cell for cell in shown):
        lines.append(
            "n=… below a name or a figure: it rests on so many values; two of a metric are both shown"
        )
    fraction = headline_fraction(view)
    if fraction is not None and any(m["experiment"] == "augmentation" for m in metrics_in(view, MAIN)):
        seeds = _seeds(_n_subsamples(view), "subsampling ")
        lines.append(f"augm. F1 (augmentation_f1): over {seeds}, {100 * fraction:g} % of the type kept")
    lines += _settled(view)
    return [Text(line, style="dim") for line in lines]


def _settled(view: RunView) -> list[str]:
    """Say what models left to the machine, and why it was settled so."""
    said: dict[str, dict[str, None]] = {}
    for job in (record["job"] for record in view["records"]):
        # Records of earlier versions know of no such settings.
        for name, reason in job.get("settled", {}).items():
            said.setdefault(f"{name} {job['hyperparameters'][name]}: {reason}", {})[job["model"]] = None
    return [f"{', '.join(models)}: {text}" for text, models in said.items()]


def _seeds(n: int, kind: str = "") -> str:
    shown = {1: "", 2: ", both values of a metric, the mean of the rest"}
    intervals = ", mean and its 95 % t interval, [low, high] or ± half of it"
    return f"{n} {kind}seed{'s' * (n > 1)}" + shown.get(n, intervals)
