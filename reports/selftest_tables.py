"""The result of ``bench test-metrics`` on a terminal: a table for each ladder, and the traps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.selftest_results import Ladder, SelfTest
from reports.words import count, figure

SILENT = ("none", "not applicable", "not asked")
MARKS = {True: "✓", False: "✗", None: ""}
STYLES = {True: "green", False: "bold red", None: ""}


def print_self_test(results: SelfTest, *, console: Console) -> None:
    """Print what `bench.scoring.selftest.run_self_test` found.

    Parameters
    ----------
    results
        The results of the self-test.
    console
        The terminal that they are printed to.
    """
    tables = [_ladder_table(results, ladder) for ladder in results.ladders]
    console.print(Group(Text(heading(results), style="bold"), *tables, _trap_table(results)))
    for line in failures(results):
        console.print(line, style="red", highlight=False, markup=False)
    words = "all as expected" if results.passed else "not all as expected"
    console.print(Text(words, style="green" if results.passed else "bold red"))


def heading(results: SelfTest) -> str:
    """Return on what was tested, in one line."""
    return (
        f"{results.dataset} · {results.n_cells} cells a side × {count(results.n_genes)} genes · "
        f"{results.protocol} · {results.draws} draws, seed {results.seed}"
    )


def failures(results: SelfTest) -> list[str]:
    """Return a line for each answer that is not as expected, and for each metric that failed."""
    lines = [
        f"{name}: must answer {ladder} with {found.expected!r}, answered {found.answer!r} "
        f"({along(found.values)}; tolerance {figure(report.tolerance)})"
        for name, report in results.metrics.items()
        for ladder, found in report.ladders.items()
        if found.passed is False
    ]
    lines += [f"trap {trap.name}: {trap.words}" for trap in results.traps if trap.passed is False]
    return lines + [
        f"{name} failed on {report.failure}" for name, report in results.metrics.items() if report.failure
    ]


def along(values: Sequence[float | None]) -> str:
    """Write the values of a ladder, rung by rung."""
    return " → ".join(map(figure, values))


def _ladder_table(results: SelfTest, ladder: Ladder) -> RenderableType:
    title = f"{ladder.name}: {ladder.description}"
    table = Table(title=Text(title), box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("metric", no_wrap=True)
    for rung in ladder.rungs:
        table.add_column(Text(rung), justify="right")
    for column in ("±", "answer", ""):
        table.add_column(column, justify="right" if column == "±" else "left")
    silent = []
    for name, report in results.metrics.items():
        found = report.ladders[ladder.name]
        if found.answer in SILENT and found.expected is None:
            silent.append(name if found.answer == "none" else f"{name} ({found.answer})")
            continue
        cells = [*map(figure, found.values), figure(report.tolerance), found.answer]
        table.add_row(*map(Text, [name, *cells]), MARKS[found.passed], style=STYLES[found.passed])
    note = Text(f"no answer: {', '.join(silent)}" if silent else "", style="dim")
    return Group(table, note)


def _trap_table(results: SelfTest) -> Table:
    table = Table(title="traps", box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for column in ("trap", "what was found", ""):
        table.add_column(column, overflow="fold")
    for trap in results.traps:
        words = f"{trap.description}\n{trap.words}"
        table.add_row(Text(trap.name), Text(words), MARKS[trap.passed], style=STYLES[trap.passed])
    return table
