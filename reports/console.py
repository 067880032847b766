"""The results on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from reports import RunView
from reports.augmentation import augmentation_frame
from reports.fitted_table import Footnotes, bare_table
from reports.intervals import intervals_frame
from reports.main_table import group_tables, key, main_table, mean_cell, status_text
from reports.published import NOTES, published_frame
from reports.table import NOT_RUN, results_frame, rows_of, scores_of, under_protocol
from reports.words import DASH, count, figure, hardware_in_words, job_in_words

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

    Heading; under each protocol its warnings, the main table with its footnotes, the further groups of
    metrics, intervals over the test cells, published figures; then what the data lack, the augmentation
    experiment, failures.
    """
    blocks = _heading(view)
    for protocol in view["run"]["protocols"]:
        blocks += _under(under_protocol(view, protocol))
    return Group(*blocks, *_data_notes(view), *_augmentation(view), *_failures(view))


def _heading(view: RunView) -> list[RenderableType]:
    run = view["run"]
    n_train, n_genes = run["train_shape"]
    size = f"{count(n_train)} training and {count(run['n_test'])} test cells × {count(n_genes)} genes"
    name = str(run["dataset"]["name"])
    blocks: list[RenderableType] = [
        Text.assemble((name, "bold"), " · ", size, f" · profile {run['profile']}"),
        Text(hardware_in_words(run["hardware"]), style="dim"),
    ]
    if budgets := _budgets_in_words(view):
        published = run["profile"] == "paper" and not run.get("own_budgets", False)
        blocks.append(Text(budgets if published else f"{budgets} · not the paper's", style="yellow"))
    if name.startswith("synthetic"):
        blocks.append(_banner("synthetic data: for speed and scale, never for quality claims", "yellow"))
    return blocks


def _under(view: RunView) -> list[RenderableType]:
    """Return what a run found under one protocol."""
    notes = Footnotes()
    main = main_table(view, notes)
    blocks: list[RenderableType] = [Text(), _protocol(view), *_warnings(view), Text(), main]
    blocks += [*key(view, main), *notes.lines()]
    for title, table, remarks in group_tables(view):
        blocks += [Text(), Text(title, style="bold"), table, *remarks.lines()]
    return [*blocks, *_intervals(view), *_published(view)]


def _protocol(view: RunView) -> Text:
    scores = [score for record in view["records"] for score in scores_of(view, record)]
    sizes = sorted({score["n_cells"] for score in scores if score["metric"] != "augmentation_f1"})
    size = " or ".join(count(size) for size in sizes)
    protocol = view["run"]["protocol"]
    return Text.assemble("protocol ", (protocol, "bold"), f" · {size} cells a side" if size else "")


def _warnings(view: RunView) -> Iterator[RenderableType]:
    found = results_frame(view).attrs
    if found["suspect"]:
        text = "SUSPECT RUN: its controls do not bear out every metric"
        yield _banner("\n".join([text, *found["suspect"]]), "red")
    if found["copying"]:
        text = "COPIES OF TRAINING CELLS: the other scores of these say nothing"
        yield _banner("\n".join([text, *found["copying"]]), "red")


def _budgets_in_words(view: RunView) -> str:
    """Name the budget that each trained generator got: nobody shall mistake a quick run for the paper's."""
    budgets = {record["job"]["model"]: record["job"]["budget"] for record in view["records"]}
    named = ", ".join(f"{model} {budget}" for model, budget in budgets.items() if budget is not None)
    return f"budgets: {named}" if named else ""


def _banner(text: str, colour: str) -> Panel:
    return Panel(Text(text), border_style=colour, expand=False)


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
    table = bare_table()
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
                mean_cell("augmentation_f1", row),
                mean_cell("average_precision", row),
                str(row["n_subsamples"]),
                status_text(row["status"]),
            )
            place = ""
        table.add_section()
    return [Text(), Text("Augmentation experiment, n subsampling seeds", style="bold"), table]


def _intervals(view: RunView) -> list[RenderableType]:
    """Return how sure the test cells make one sample's scores: another question than that over seeds."""
    frame = intervals_frame(view)
    if frame.empty:
        return []
    table = bare_table()
    for header in ("model", "metric", "value", "95 % over test cells", "p"):
        table.add_column(header, justify="left" if header in ("model", "metric") else "right")
    for model, rows in groupby(rows_of(frame), key=lambda row: row["model"]):
        for number, row in enumerate(rows):
            known = not math.isnan(row["low"])
            interval = f"[{figure(row['low'])}, {figure(row['high'])}]" if known else DASH
            p_value = DASH if math.isnan(row["p_value"]) else f"{row['p_value']:.2g}"
            table.add_row("" if number else model, row["metric"], figure(row["value"]), interval, p_value)
        table.add_section()
    title = "One sample: bootstrap of the test cells; p: synthetic and test cells from one distribution"
    return [Text(), Text(title, style="bold"), table]


def _published(view: RunView) -> list[RenderableType]:
    frame = published_frame(view)
    if frame.empty:
        return []
    table = bare_table()
    for header in ("quantity", "model", "here", "published"):
        table.add_column(header, justify="left" if header in ("quantity", "model") else "right")
    for row in rows_of(frame):
        deviation = "" if math.isnan(row["published_sd"]) else f" ±{row['published_sd']:g}"
        published = figure(row["published"]) + deviation
        table.add_row(row["quantity"], row["model"], figure(row["measured"]), published)
    note = NOTES[frame.attrs["source"]]
    return [Text(), Text("Beside the paper", style="bold"), table, Text(note, style="dim")]
