"""The results on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from reports.fitted_table import FittedTable, Footnotes
from reports.further_tables import (
    AUGMENTATION_TITLE,
    DONORS_TITLE,
    INTERVALS_TITLE,
    PLACES_TITLE,
    augmentation_table,
    donors_remarks,
    donors_table,
    failures,
    intervals_table,
    places_table,
    published_tables,
)
from reports.main_table import (
    COSTS_TITLE,
    GROUP_TITLES,
    MAIN,
    costs_table,
    key,
    quality_table,
    scored_groups,
)
from reports.ranks import ties_in_words
from reports.table import results
from reports.view import SKIPPED, NamedRun, RunView
from reports.words import budgets_in_words, figure, machines_in_words, shape_in_words, sizes_in_words


def print_report(view: RunView, *, console: Console | None = None) -> None:
    """Print a run's results.

    Parameters
    ----------
    view
        The run, as `reports.view` describes it.
    console
        Where to; None prints to standard output.
    """
    (console or Console(markup=False, emoji=False)).print(report(view))


def report(view: RunView) -> RenderableType:
    """Return everything there is to say about a run as one Rich renderable.

    Heading; under each protocol its warnings, the main table with its footnotes, the further groups of
    metrics, places, intervals over the test cells; then costs, the augmentation experiment, the attack on
    donors, published figures, failures. Notes on the data, and what metrics remarked, stand on the page.
    """
    blocks = _heading(view)
    for seen in view.each_protocol:
        blocks += _under(seen)
    augmentation = _titled(AUGMENTATION_TITLE, augmentation_table(view))
    costs = _titled(COSTS_TITLE, costs_table([NamedRun("", view)], Footnotes(), named=False))
    remarks = (Text(line, style="dim") for line in donors_remarks(view))
    donors = _titled(DONORS_TITLE, donors_table(view), *remarks)
    return Group(*blocks, *costs, *augmentation, *donors, *beside_papers(view), *failure_lines(view))


def beside_papers(view: RunView) -> list[RenderableType]:
    """Return papers' figures beside the run's, a table for each paper; nothing where none has any."""
    return [
        block
        for title, table, remarks in published_tables(view)
        for block in _titled(title, table, *(Text(line, style="dim") for line in remarks))
    ]


def _heading(view: RunView) -> list[RenderableType]:
    run = view.run
    name, size = run.dataset.name, shape_in_words(run)
    blocks: list[RenderableType] = [
        Text.assemble((name, "bold"), " · ", size, f" · profile {run.profile}"),
        Text(machines_in_words(view), style="dim"),
    ]
    if budgets := budgets_in_words(view):
        blocks.append(Text(budgets, style="yellow"))
    if name.startswith("synthetic"):
        blocks.append(_banner("synthetic data: for speed and scale, never for quality claims", "yellow"))
    return blocks


def _under(view: RunView) -> list[RenderableType]:
    """Return what a run found under one protocol."""
    blocks: list[RenderableType] = [Text(), _protocol(view), *warnings(view), Text()]
    for shows in (MAIN, *scored_groups(view)):
        notes = Footnotes()
        table = quality_table([NamedRun("", view)], shows, notes, named=False)
        if shows == MAIN:
            blocks += [table, *(Text(line, style="dim") for line in key(view, table)), *notes.lines()]
        else:
            blocks += _titled(GROUP_TITLES[shows], table, *notes.lines())
    ties = (Text(line, style="dim") for line in ties_in_words(view))
    blocks += _titled(PLACES_TITLE, places_table(view), *ties)
    return [*blocks, *_titled(INTERVALS_TITLE, intervals_table(view))]


def _protocol(view: RunView) -> Text:
    size = sizes_in_words(view)
    return Text.assemble("protocol ", (view.protocol, "bold"), f" · {size}" if size else "")


def warnings(view: RunView) -> Iterator[RenderableType]:
    """Yield what `reports.suspicion` found under the view's protocol, framed in red."""
    found = results(view)
    if found.suspect:
        text = "SUSPECT RUN: its controls do not bear out every metric"
        yield _banner("\n".join([text, *found.suspect]), "red")
    if found.copying:
        text = "COPIES OF TRAINING CELLS: the other scores of these say nothing"
        yield _banner("\n".join([text, *found.copying]), "red")


def _banner(text: str, colour: str) -> Panel:
    return Panel(Text(text), border_style=colour, expand=False)


def failure_lines(view: RunView) -> list[RenderableType]:
    """Return what did not end well and why, below a heading; nothing where all did."""
    blocks: list[RenderableType] = []
    for failure in failures(view):
        place = f" in {failure.place}" if failure.place else ""
        time = "" if math.isnan(failure.seconds) else f" after {figure(failure.seconds)} s"
        line = f"{failure.job}: {failure.status.replace('_', ' ')}{place}{time}: {failure.reason}"
        blocks.append(Text(line, style="yellow" if failure.status == SKIPPED else "red"))
    return [Text(), Text("Not finished", style="bold"), *blocks] if blocks else []


def _titled(title: str, table: FittedTable | None, *remarks: RenderableType) -> list[RenderableType]:
    return [] if table is None else [Text(), Text(title, style="bold"), table, *remarks]
