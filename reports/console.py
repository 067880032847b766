"""The results on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from reports.fitted_table import FittedTable, Footnotes
from reports.further_tables import (
    augmentation_tables,
    donors_tables,
    failures,
    intervals_tables,
    places_tables,
    published_tables,
)
from reports.main_table import COSTS_TITLE, GROUP_TITLES, MAIN, costs_table, key, quality_table, scored_groups
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
        Terminal that is printed to; None for standard output.
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
    blocks += titled(COSTS_TITLE, costs_table([NamedRun("", view)], Footnotes(), named=False))
    for table in (*augmentation_tables(view), *donors_tables(view), *published_tables(view)):
        blocks += titled(*table)
    return Group(*blocks, *failure_lines(view))


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
    size = sizes_in_words(view)
    protocol = Text.assemble("protocol ", (view.protocol, "bold"), f" · {size}" if size else "")
    blocks: list[RenderableType] = [Text(), protocol, *warnings(view), Text()]
    for shows in (MAIN, *scored_groups(view)):
        notes = Footnotes()
        table = quality_table([NamedRun("", view)], shows, notes, named=False)
        if shows == MAIN:
            blocks += [table, *_dim([*key(view, table), *notes.lines()])]
        else:
            blocks += titled(GROUP_TITLES[shows], table, notes.lines())
    for further in (*places_tables(view), *intervals_tables(view)):
        blocks += titled(*further)
    return blocks


def warnings(view: RunView) -> Iterator[RenderableType]:
    """Yield what `reports.suspicion` found under the view's protocol, framed in red."""
    found = results(view)
    for text, lines in (
        ("SUSPECT RUN: its controls do not bear out every metric", found.suspect),
        ("COPIES OF TRAINING CELLS: the other scores of these say nothing", found.copying),
    ):
        if lines:
            yield _banner("\n".join([text, *lines]), "red")


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


def titled(title: str, table: FittedTable, remarks: Iterable[str] = ()) -> list[RenderableType]:
    """Return a table below an empty line and its title, and above its remarks."""
    return [Text(), Text(title, style="bold"), table, *_dim(remarks)]


def _dim(lines: Iterable[str]) -> list[Text]:
    return [Text(line, style="dim") for line in lines]
