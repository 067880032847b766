"""The checklist as a table, and what to do about each line that is broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.promises.findings import Finding

MARKS: Final = {
    "kept": ("✓", "green"),
    "noted": ("✓", "green"),
    "broken": ("✗", "bold red"),
    "not asked": ("–", "dim"),
}


def print_checklist(name: str, findings: Sequence[Finding], console: Console) -> None:
    """Print a line for each promise, the remedies below, and how many are broken."""
    title = Text(f"{name}: promises of a generator")
    table = Table("", "promise", "what was seen", title=title, box=SIMPLE_HEAD, title_justify="left")
    for finding in findings:
        mark, style = MARKS[finding.status]
        told = Text(finding.told, style="dim" if finding.status == "not asked" else "")
        table.add_row(Text(mark, style=style), Text(finding.promise), told)
    console.print(table)
    broken = [finding for finding in findings if finding.status == "broken"]
    for finding in broken:
        console.print(Text.assemble(("✗ ", "bold red"), f"{finding.promise}: {finding.remedy}"))
    n_kept = sum(finding.status in ("kept", "noted") for finding in findings)
    console.print(f"{n_kept} kept, {len(broken)} broken, {len(findings) - n_kept - len(broken)} not asked")
