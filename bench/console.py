"""The terminal, for words that others wrote: names of types, genes, files, and the text of errors."""

from __future__ import annotations

from rich.console import Console


def plain_console(*, quiet: bool = False, stderr: bool = False) -> Console:
    """Return a console that prints every text as it stands: ``[bold]`` and ``:cat:`` are names here."""
    return Console(markup=False, emoji=False, highlight=False, quiet=quiet, stderr=stderr)
