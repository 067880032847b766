"""What several commands print."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from bench.console import plain_console

if TYPE_CHECKING:
    from bench.results.run_folder import RunFolder


def show(folder: RunFolder, console: Console) -> None:
    """Print a run's table, and where everything lies."""
    from bench.tracking import ui_command
    from reports.console import print_report

    print_report(folder.view(), console=console)
    console.print(f"Run folder  {folder.path}", soft_wrap=True)
    console.print(f"MLflow      {ui_command(folder.path.parent)}", soft_wrap=True)


def folded_table(names: Iterable[str], *, title: str | None = None, whole: Collection[str] = ()) -> Table:
    """Return a table of columns with these names; long words are folded but in those that are kept whole."""
    columns = [Column(name, overflow="fold", no_wrap=name in whole) for name in names]
    return Table(*columns, box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")


def show_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print facts by name."""
    table = Table(title=title, show_header=False)
    for name, value in facts.items():
        table.add_row(name, cell_text(value))
    plain_console().print(table)


def cell_text(value: Any) -> str:
    """Write a value as a table's cell: nested ones a line for each part."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {cell_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(cell_text, value)) or "none"
    words = {True: "yes", False: "no", None: "–", "": "–"}
    return words[value] if isinstance(value, bool | str | None) and value in words else str(value)
