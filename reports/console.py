"""The results on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from textwrap import fill
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reports import RunView
from reports.augmentation import augmentation_frame
from reports.published import NOTE, published_frame
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
from reports.words import DASH, count, figure, hardware_in_words, job_in_words

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
METRIC_LABELS = {"augmentation_f1": "augm.\nF1"}
AUGMENTER_LABELS = {
    "class_weights": "class weights",
    "smote": "SMOTE-like",
    "poisson_jitter": "Poisson jitter",
}


def print_report(view: RunView, *, console: Console | None = None) -> None:
    """Print a run's results.

    Parameters
    ----------
    view
        The run (see `reports`).
    console
        Where to; None prints to standard output.
    """
    (console or Console()).print(report(view))


def report(view: RunView) -> RenderableType:
    """Return everything there is to say about a run as one Rich renderable.

    Heading, warnings about the run as a whole, the main table (split in two where the terminal is narrow),
    footnotes, the augmentation experiment, published figures, failures.
    """
    notes = Footnotes()
    main = _main_table(view, notes)
    blocks = [*_heading(view), main, *_key(view, main), *notes.lines(), *_data_notes(view), *_failures(view)]
    blocks += [*_augmentation(view), *_published(view)]
    return Group(*blocks)


@dataclass
class Footnotes:
    """Numbered notes below a table; the same text has one number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, texts: Iterable[str]) -> str:
        """Return the superscripts that stand for `texts`."""
        numbers = []
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
            numbers.append(str(self.texts.index(text) + 1).translate(SUPERSCRIPTS))
        return " ".join(numbers)

    def lines(self) -> Iterator[Text]:
        """Yield the notes in order."""
        for number, text in enumerate(self.texts, start=1):
            yield Text(f"{number}".translate(SUPERSCRIPTS) + f" {text}", style="dim")


@dataclass
class Column:
    """A column of the main table: its heading and a cell for every row."""

    header: str
    cells: list[Text]
    left: bool = False


@dataclass
class FittedTable:
    """The main table: in one piece where it fits the terminal, else cost and quality in parts that do.

    Attributes
    ----------
    name, budget, status
        Columns that identify a row and tell how it ended.
    cost, quality
        What it took; what came out.
    sections
        Whether a line follows, row by row.
    """

    name: Column
    budget: Column
    cost: list[Column]
    quality: list[Column]
    status: Column
    sections: list[bool]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self._table([self.name, self.budget, *self.cost, *self.quality, self.status])

        def fits(table: Table) -> bool:
            return console.measure(table, options=options.update(width=10_000)).maximum <= options.max_width

        if fits(whole):
            yield whole
            return
        yield self._table([self.name, self.budget, *self.cost, self.status])
        parts: list[list[Column]] = [[]]
        for column in self.quality:
            if parts[-1] and not fits(self._table([self.name, *parts[-1], column])):
                parts.append([])
            parts[-1].append(column)
        for part in filter(None, parts):
            yield Text()
            yield self._table([self.name, *part])

    def _table(self, columns: Sequence[Column]) -> Table:
        table = _bare_table()
        for column in columns:
            table.add_column(column.header, justify="left" if column.left else "right", overflow="fold")
        for row, end_section in enumerate(self.sections):
            table.add_row(*(column.cells[row] for column in columns), end_section=end_section)
        return table


def _bare_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)


def _heading(view: RunView) -> list[RenderableType]:
    run = view["run"]
    dataset = run["dataset"]
    n_train, n_genes = run["train_shape"]
    size = f"{count(n_train)} training and {count(run['n_test'])} test cells × {count(n_genes)} genes"
    facts = [
        f"profile {run['profile']}",
        f"protocol {run['protocol']}",
        f"{count(run['n_cells'])} cells a side",
    ]
    facts += [f"space {run['space']}"] if "space" in run else []
    blocks: list[RenderableType] = [
        Text.assemble((str(dataset["name"]), "bold"), " · ", size),
        Text(" · ".join(facts)),
        Text(hardware_in_words(run["hardware"]), style="dim"),
    ]
    if budgets := _budgets_in_words(view):
        published = run["profile"] == "paper" and not run.get("own_budgets", False)
        blocks.append(Text(budgets if published else f"{budgets} · not the paper's", style="yellow"))
    if str(dataset["name"]).startswith("synthetic"):
        blocks.append(_banner("synthetic data: for speed and scale, never for quality claims", "yellow"))
    if broken := results_frame(view).attrs["suspect"]:
        text = "\n".join(["SUSPECT RUN: its controls do not bear out every metric", *broken])
        blocks.append(_banner(text, "red"))
    return [*blocks, Text()]


def _budgets_in_words(view: RunView) -> str:
    """Name the budget that each trained generator got: nobody shall mistake a quick run for the paper's."""
    budgets = {record["job"]["model"]: record["job"]["budget"] for record in view["records"]}
    named = ", ".join(f"{model} {budget}" for model, budget in budgets.items() if budget is not None)
    return f"budgets: {named}" if named else ""


def _banner(text: str, colour: str) -> Panel:
    return Panel(Text(text), border_style=colour, expand=False)


def _main_table(view: RunView, notes: Footnotes) -> FittedTable:
    frame = results_frame(view)
    rows = rows_of(frame)
    n_models = sum(row["role"] == "model" for row in rows)
    remarks, n_seeds = _remarks(view), _n_seeds(frame)
    names = [_with_n(_name(row, remarks, notes), row["n_seeds"], usual=n_seeds) for row in rows]
    return FittedTable(
        name=Column("model", names, left=True),
        budget=Column("budget", [_budget(row) for row in rows], left=True),
        cost=_cost_columns(view, frame),
        quality=_metric_columns(view, rows, notes),
        status=Column("status", [_status(row["status"]) for row in rows], left=True),
        sections=[number == n_models for number in range(1, len(rows) + 1)],
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


def _name(row: Mapping[str, Any], remarks: Mapping[str, Sequence[str]], notes: Footnotes) -> Text:
    mine = [text for text, models in remarks.items() if row["model"] in models]
    return Text(row["model"] + notes.mark(mine), style="bold" if row["role"] == "model" else "")


def _remarks(view: RunView) -> dict[str, list[str]]:
    """Return what models warned of and metrics noted, each once, with the generators that it concerns."""
    said: dict[str, list[str]] = {}
    for model, records in groupby(view["records"], key=lambda record: record["job"]["model"]):
        metrics: dict[str, dict[str, None]] = {}
        for record in records:
            metrics |= {warning: {} for warning in record["warnings"]}
            for score in scores_of(view, record):
                for note in score["notes"]:
                    metrics.setdefault(note, {})[score["metric"]] = None
        for note, names in metrics.items():
            # What several metrics note concerns the cells, not the metric.
            text = f"{next(iter(names))}: {note}" if len(names) == 1 else note
            said.setdefault(text, []).append(model)
    return said


def _budget(row: Mapping[str, Any]) -> Text:
    if row["role"] != "model":
        return Text(row["role"], style="italic")
    return Text(row["budget"] or DASH)


def _status(status: str) -> Text:
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
        columns.append(Column(headers[name], cells))
    return columns


def _cost_cell(name: str, row: Mapping[str, Any], timed: float) -> Text:
    if name == "sample_density":
        share = row[name]
        return Text(DASH if math.isnan(share) else f"{100 * share:.{0 if share >= 0.1 else 1}f} %")
    other_size = name == "sample_seconds" and row["sample_cells"] < timed
    return Text(figure(row[name]) + (f" ({count(row['sample_cells'])})" if other_size else ""))


def _metric_columns(view: RunView, rows: Sequence[Mapping[str, Any]], notes: Footnotes) -> list[Column]:
    single, n_subsamples = values_by_model(view), _n_subsamples(view)
    columns = []
    for metric in scored_metrics(view):
        name, main = metric["name"], metric["experiment"] == "main"
        label = METRIC_LABELS.get(name) or fill(name.replace("_", "_ "), width=10).replace("_ ", "_")
        cells = []
        for row in rows:
            values = single[row["model"]].get(name, [])
            cell = _metric_cell(name, row, values)
            cell.append(notes.mark(_errors(view, row["model"], name)), style="dim")
            cells.append(_with_n(cell, len(values), usual=row["n_seeds"] if main else n_subsamples))
        columns.append(Column(f"{label}\n→ {metric['ideal']:g}", cells))
    return columns


def _metric_cell(name: str, row: Mapping[str, Any], values: Sequence[float]) -> Text:
    if len(values) == 2:
        return Text("\n".join(figure(value) for value in values))
    cell = _mean_cell(name, row)
    if len(values) == 1 and math.isfinite(deviation := row.get(f"{name}_sd", math.nan)):
        cell.append(f" ±{deviation:.3f}".replace("0.", "."), style="dim")
    return cell


def _mean_cell(name: str, row: Mapping[str, Any]) -> Text:
    cell = Text(figure(row[name]))
    if math.isfinite(low := row.get(f"{name}_low", math.nan)):
        cell.append(f"\n[{figure(low)}, {figure(row[f'{name}_high'])}]", style="dim")
    return cell


def _errors(view: RunView, model: str, metric: str) -> list[str]:
    """Return why a metric has no value, each reason once."""
    records = [record for record in view["records"] if record["job"]["model"] == model]
    scores = [score for record in records for score in scores_of(view, record) if score["metric"] == metric]
    return list(dict.fromkeys(f"{metric}: {score['error']}" for score in scores if score["error"]))


def _key(view: RunView, table: FittedTable) -> list[RenderableType]:
    """Say what the figures of the main table are, and which seeds their n counts."""
    n_seeds = _n_seeds(results_frame(view))
    lines = [f"n = {_seeds(n_seeds)}"] if n_seeds else []
    shown = [cell.plain for column in (table.name, *table.cost, *table.quality) for cell in column.cells]
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


def _data_notes(view: RunView) -> list[RenderableType]:
    return [Text(f"data: {note}", style="dim") for note in view["run"]["dataset"]["notes"]]


def _failures(view: RunView) -> list[RenderableType]:
    blocks: list[RenderableType] = []
    for record in view["records"]:
        if record["status"] in ("ok", NOT_RUN):
            continue
        place = f" in {record['failed_phase']}" if record["failed_phase"] else ""
        after = record["seconds_to_failure"]
        time = "" if after is None else f" after {figure(after)} s"
        status = record["status"].replace("_", " ")
        line = f"{job_in_words(record['job'])}: {status}{place}{time}: {record['reason']}"
        blocks.append(Text(line, style="yellow" if record["status"] == "skipped" else "red"))
    return [Text(), Text("Not finished", style="bold"), *blocks] if blocks else []


def _augmentation(view: RunView) -> list[RenderableType]:
    frame = augmentation_frame(view)
    if frame.empty:
        return []
    table = _bare_table()
    for header in ("kept", "added cells", "F1\n→ 1", "average\nprecision", "n", "status"):
        table.add_column(header, justify="left" if header in ("kept", "added cells", "status") else "right")
    for (cell_type, fraction), rows in groupby(
        rows_of(frame), key=lambda row: (row["cell_type"], row["fraction"])
    ):
        place = f"{100 * fraction:g} % of {cell_type}"
        for row in rows:
            kept = "" if math.isnan(row["kept_cells"]) else f", {count(row['kept_cells'])} cells"
            table.add_row(
                place and place + kept,
                AUGMENTER_LABELS.get(row["augmenter"], row["augmenter"]),
                _mean_cell("augmentation_f1", row),
                _mean_cell("average_precision", row),
                str(row["n_subsamples"]),
                _status(row["status"]),
            )
            place = ""
        table.add_section()
    return [Text(), Text("Augmentation experiment, n subsampling seeds", style="bold"), table]


def _published(view: RunView) -> list[RenderableType]:
    frame = published_frame(view)
    if frame.empty:
        return []
    table = _bare_table()
    for header in ("quantity", "model", "here", "published"):
        table.add_column(header, justify="left" if header in ("quantity", "model") else "right")
    for row in rows_of(frame):
        deviation = "" if math.isnan(row["published_sd"]) else f" ±{row['published_sd']:g}"
        published = figure(row["published"]) + deviation
        table.add_row(row["quantity"], row["model"], figure(row["measured"]), published)
    return [Text(), Text("Beside the paper", style="bold"), table, Text(NOTE, style="dim")]
