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
from reports.table import (
    NOT_RUN,
    headline_fraction,
    records_of,
    results_frame,
    rows_of,
    scored_metrics,
    scores_of,
    values_by_model,
)
from reports.words import DASH, count, figure

METRIC_LABELS: Final = {"augmentation_f1": "augm. F1"}
GROUP_TITLES: Final = {
    "memorisation": "Memorisation: does it copy its training cells?",
    "coverage": "Coverage: are all kinds of real cells there, and no others?",
    "marginals": "Marginals: has each gene, and each cell, the counts it should have?",
    "dependence": "Dependence: do genes, and cells, go together as they should?",
    "biology": "Biology: would the same genes be found?",
    "use": "Use: does what is learnt from synthetic cells hold for real ones?",
}
# Their places are 0 % and 100 % by definition, or nearly.
SCALE_ROLES: Final = ("ceiling", "floor")
LEAST_PLACE: Final = -9.99


def main_table(view: RunView, notes: Footnotes) -> FittedTable:
    """Return the headline metrics of every generator, under the run's first protocol also what it cost.

    Parameters
    ----------
    view
        The run, under one protocol.
    notes
        Gets what models warned of and the metrics noted.
    """
    frame = results_frame(view)
    rows = rows_of(frame)
    lead, tail = [], []
    if view["run"]["protocol"] == view["run"]["protocols"][0]:
        lead = [Column("budget", [_budget(row) for row in rows], left=True), *_cost_columns(view, frame)]
        tail = [Column("status", [status_text(row["status"]) for row in rows], left=True)]
    return FittedTable(
        name=_names(view, rows, notes, group="headline"),
        lead=lead,
        quality=_metric_columns(view, rows, notes, group="headline"),
        tail=tail,
        sections=sections(rows),
    )


def group_tables(view: RunView) -> Iterator[tuple[str, FittedTable, Footnotes]]:
    """Yield title, table and footnotes of each further group of metrics that the run scored."""
    for group in scored_groups(view):
        notes = Footnotes()
        yield GROUP_TITLES[group], group_table(view, group, notes), notes


def scored_groups(view: RunView) -> list[str]:
    """Return the groups beside the headline of which the run scored a metric."""
    scored = {metric["group"] for metric in scored_metrics(view)}
    return [group for group in GROUP_TITLES if group in scored]


def group_table(view: RunView, group: str, notes: Footnotes) -> FittedTable:
    """Return one group of metrics of every generator; `notes` gets what they noted."""
    rows = rows_of(results_frame(view))
    names = _names(view, rows, notes, group=group)
    return FittedTable(names, [], _metric_columns(view, rows, notes, group=group), [], sections(rows))


def sections(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Draw a line after the models and one after the baselines."""
    roles = [row["role"] for row in rows]
    following = [*roles[1:], None]
    return [
        role in ("model", "baseline") and role != after for role, after in zip(roles, following, strict=True)
    ]


def _names(view: RunView, rows: Sequence[Mapping[str, Any]], notes: Footnotes, *, group: str) -> Column:
    said = remarks(view, group, metrics=_names_in(view, group))
    n_seeds = max((row["n_seeds"] for row in rows), default=0)
    names = [_with_n(_name(row, said, notes), row["n_seeds"], usual=n_seeds) for row in rows]
    return Column("model", names, left=True)


def _n_seeds(frame: pd.DataFrame) -> int:
    return 0 if frame.empty else int(frame["n_seeds"].max())


def _n_subsamples(view: RunView) -> int:
    experiments = [record["job"]["experiment"] for record in records_of(view, "augmentation")]
    fraction = headline_fraction(view)
    return len({e["subsample_seed"] for e in experiments if e["fraction"] == fraction})


def _with_n(cell: Text, n: int, *, usual: int) -> Text:
    """Say below a cell how many values it rests on, where that is not what the reader expects."""
    return cell if n in (0, usual) else cell.append(f"\nn={n}", style="dim")


def _name(row: Mapping[str, Any], said: Mapping[str, Sequence[str]], notes: Footnotes) -> Text:
    mine = [text for text, models in said.items() if row["model"] in models]
    return Text(row["model"] + notes.mark(mine), style="bold" if row["role"] == "model" else "")


def _names_in(view: RunView, group: str) -> Collection[str]:
    return [metric["name"] for metric in view["metrics"] if metric["group"] == group]


def _budget(row: Mapping[str, Any]) -> Text:
    if row["role"] != "model":
        return Text(row["role"], style="italic")
    return Text(row["budget"] or DASH)


def status_text(status: str) -> Text:
    """Return how a Job ended, in the colour it deserves."""
    style = {"ok": "green", "skipped": "yellow", NOT_RUN: "yellow"}.get(status, "bold red")
    return Text(fill(status.replace("_", " "), width=10), style=style)


def _cost_columns(view: RunView, frame: pd.DataFrame) -> list[Column]:
    timed, rows, single = frame["sample_cells"].max(), rows_of(frame), values_by_model(view)
    headers = {"training_seconds": "training\nseconds", "steps_per_second": "steps\n/s"}
    # Nothing was timed in a run of the ceiling alone, or where everything failed.
    if not math.isnan(timed):
        headers |= {"sample_seconds": f"sampling\n{count(timed)}\ncells, s", "sample_density": "non-\nzero"}
    headers |= {"peak_rss_gib": "peak\nGiB", "peak_device_gib": "device\nGiB"}
    columns = []
    for name in (name for name in headers if name in frame):
        cells = [
            _with_n(
                _cost_cell(name, row, timed),
                len(single[row["model"]].get(name, ())),
                usual=row["n_seeds"],
            )
            for row in rows
        ]
        columns.append(Column(headers[name], cells, whole=headers[name].replace("-\n", "-")))
    return columns


def _cost_cell(name: str, row: Mapping[str, Any], timed: float) -> Text:
    if name == "sample_density":
        share = row[name]
        return Text(DASH if math.isnan(share) else f"{100 * share:.{0 if share >= 0.1 else 1}f} %")
    other_size = name == "sample_seconds" and row["sample_cells"] < timed
    return Text(figure(row[name]) + (f" ({count(row['sample_cells'])})" if other_size else ""))


def _metric_columns(
    view: RunView, rows: Sequence[Mapping[str, Any]], notes: Footnotes, *, group: str
) -> list[Column]:
    single, n_subsamples = values_by_model(view), _n_subsamples(view)
    reasons = _reasons(view, group)
    columns = []
    for metric in (metric for metric in scored_metrics(view) if metric["group"] == group):
        name, main = metric["name"], metric["experiment"] == "main"
        whole = METRIC_LABELS.get(name) or name
        label = fill(whole.replace("_", "_ "), width=10).replace("_ ", "_")
        cells = []
        for row in rows:
            values = single[row["model"]].get(name, [])
            cell = _metric_cell(name, row, values)
            first, *rest = cell.split("\n")
            first.append(notes.mark(reasons.get((row["model"], name), ())), style="dim")
            cell = Text("\n").join([first, *rest]).append(_place(name, row), style="dim")
            cells.append(_with_n(cell, len(values), usual=row["n_seeds"] if main else n_subsamples))
        below = f"\n{view['run']['protocol']}\n→ {metric['ideal']:g}"
        columns.append(Column(label + below, cells, whole=whole + below))
    return columns


def _place(name: str, row: Mapping[str, Any]) -> str:
    """Say where a value lies between the best declared floor and the ceiling, on a line of its own."""
    place = row.get(f"{name}_position", math.nan)
    if row["role"] in SCALE_ROLES or not math.isfinite(place):
        return ""
    return f"\n{100 * place:.0f} %" if place > LEAST_PLACE else "\n≪ 0 %"


def _metric_cell(name: str, row: Mapping[str, Any], values: Sequence[float]) -> Text:
    if len(values) == 2:
        return Text("\n".join(figure(value) for value in values))
    cell = mean_cell(name, row)
    if len(values) == 1 and math.isfinite(deviation := row.get(f"{name}_sd", math.nan)):
        cell.append(f" ±{deviation:.3f}".replace("0.", "."), style="dim")
    return cell


def mean_cell(name: str, row: Mapping[str, Any]) -> Text:
    """Return a mean and, below it, its interval where there is one."""
    cell = Text(figure(row[name]))
    if math.isfinite(low := row.get(f"{name}_low", math.nan)):
        cell.append(f"\n[{figure(low)}, {figure(row[f'{name}_high'])}]", style="dim")
    return cell


def _reasons(view: RunView, group: str) -> dict[tuple[str, str], list[str]]:
    """Return why metrics of a group have no value, by model and metric, each reason once."""
    wanted = _names_in(view, group)
    failed = {
        (record["job"]["model"], score["metric"], score["error"]): None
        for record in view["records"]
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
    if any(" %" in cell.plain.partition("\n")[2] for column in table.quality for cell in column.cells):
        lines.append(
            "% below a score: its place between the best of the metric's floors (0 %) and real (100 %)"
        )
    if any("\nn=" in cell for cell in shown):
        lines.append(
            "n=… below a name or a figure: it rests on so many values; two of a metric are both shown"
        )
    if any("±" in cell for cell in shown):
        lines.append("±: standard deviation over folds, no interval")
    if (fraction := headline_fraction(view)) is not None:
        seeds = _seeds(_n_subsamples(view), "subsampling ")
        lines.append(f"augm. F1 (augmentation_f1): over {seeds}, {100 * fraction:g} % of the type kept")
    return [Text(line, style="dim") for line in lines]


def _seeds(n: int, kind: str = "") -> str:
    shown = {1: "", 2: ", both values of a metric, the mean of the rest"}
    return f"{n} {kind}seed{'s' * (n > 1)}" + shown.get(n, ", mean and [95 % t interval]")
