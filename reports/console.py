"""The results on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from reports import RunView
from reports.fitted_table import FittedTable, Footnotes
from reports.further_tables import (
    AUGMENTATION_TITLE,
    INTERVALS_TITLE,
    PUBLISHED_TITLE,
    augmentation_table,
    failures_frame,
    intervals_table,
    place_of,
    published_table,
)
from reports.main_table import COSTS_TITLE, costs_table, group_tables, key, main_table
from reports.published import NOTES
from reports.table import results_frame, rows_of, snapshot, under_protocol
from reports.words import budgets_in_words, figure, hardware_in_words, shape_in_words, sizes_in_words


def print_report(view: RunView, *, console: Console | None = None) -> None:
    """Print a run's results.

    Parameters
    ----------
    view
        The run (see `reports`).
    console
        Where to; None prints to standard output.
    """
    (console or Console(markup=False, emoji=False)).print(report(view))


def report(view: RunView) -> RenderableType:
    """Return everything there is to say about a run as one Rich renderable.

    Heading; under each protocol its warnings, the main table with its footnotes, the further groups of
    metrics, intervals over the test cells, published figures; then costs, the augmentation experiment,
    failures. Notes on the data, and what metrics remarked, stand on the page.
    """
    view = snapshot(view)
    blocks = _heading(view)
    for protocol in view["run"]["protocols"]:
        blocks += _under(under_protocol(view, protocol))
    augmentation = _titled(AUGMENTATION_TITLE, augmentation_table(view))
    costs = _titled(COSTS_TITLE, costs_table(view))
    return Group(*blocks, *costs, *augmentation, *failures(view))


def _heading(view: RunView) -> list[RenderableType]:
    run = view["run"]
    name, size = str(run["dataset"]["name"]), shape_in_words(run)
    blocks: list[RenderableType] = [
        Text.assemble((name, "bold"), " · ", size, f" · profile {run['profile']}"),
        Text(hardware_in_words(run["hardware"]), style="dim"),
    ]
    if budgets := budgets_in_words(view):
        blocks.append(Text(budgets, style="yellow"))
    if name.startswith("synthetic"):
        blocks.append(_banner("synthetic data: for speed and scale, never for quality claims", "yellow"))
    return blocks


def _under(view: RunView) -> list[RenderableType]:
    """Return what a run found under one protocol."""
    notes = Footnotes()
    main = main_table(view, notes)
    blocks: list[RenderableType] = [Text(), _protocol(view), *warnings(view), Text(), main]
    blocks += [*key(view, main), *notes.lines()]
    for title, table, remarks in group_tables(view):
        blocks += [Text(), Text(title, style="bold"), table, *remarks.lines()]
    blocks += _titled(INTERVALS_TITLE, intervals_table(view))
    note = NOTES.get(view["run"]["protocol"], "")
    return [*blocks, *_titled(PUBLISHED_TITLE, published_table(view), Text(note, style="dim"))]


def _protocol(view: RunView) -> Text:
    size = sizes_in_words(view)
    protocol = view["run"]["protocol"]
    return Text.assemble("protocol ", (protocol, "bold"), f" · {size}" if size else "")


def warnings(view: RunView) -> Iterator[RenderableType]:
    """Yield what `reports.suspicion` found under the view's protocol, framed in red."""
    found = results_frame(view).attrs
    if found["suspect"]:
        text = "SUSPECT RUN: its controls do not bear out every metric"
        yield _banner("\n".join([text, *found["suspect"]]), "red")
    if found["copying"]:
        text = "COPIES OF TRAINING CELLS: the other scores of these say nothing"
        yield _banner("\n".join([text, *found["copying"]]), "red")


def _banner(text: str, colour: str) -> Panel:
    return Panel(Text(text), border_style=colour, expand=False)


def failures(view: RunView) -> list[RenderableType]:
    """Return what did not end well and why, below a heading; nothing where all did."""
    rows = rows_of(failures_frame(view))
    blocks: list[RenderableType] = []
    for row in rows:
        place = f" in {place}" if (place := place_of(row)) else ""
        time = "" if math.isnan(row["seconds"]) else f" after {figure(row['seconds'])} s"
        status = row["status"].replace("_", " ")
        line = f"{row['job']}: {status}{place}{time}: {row['reason']}"
        blocks.append(Text(line, style="yellow" if row["status"] == "skipped" else "red"))
    return [Text(), Text("Not finished", style="bold"), *blocks] if blocks else []


def _titled(title: str, table: FittedTable | None, *remarks: RenderableType) -> list[RenderableType]:
    return [] if table is None else [Text(), Text(title, style="bold"), table, *remarks]
