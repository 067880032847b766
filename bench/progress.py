"""Progress: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Stage:
    """One stretch of work with a known or unknown number of parts."""

    def __init__(self, console: Console, bars: Bars | None, name: str, total: int | None) -> None:
        self._console = console
        self._bars = bars
        if bars is not None:
            self._whole = bars.add_task(name, total=total)
            self._part = bars.add_task("", total=1.0, visible=False)

    def follow(self, part: dict[str, Any] | None) -> None:
        """Show what is running: ``title``, ``phase``, ``fraction``; when scoring ``done`` and ``total``."""
        if not part:
            return
        words = " · ".join(str(part[name]) for name in ("title", "phase") if part.get(name))
        if self._bars is None:
            return
        fraction = part.get("fraction")
        self._bars.update(
            self._part,
            description=words,
            completed=fraction or 0.0,
            total=None if fraction is None else 1.0,
            visible=True,
        )
        if "total" in part:
            self._bars.update(self._whole, total=part["total"], completed=part["done"])

    def done(self, title: str, words: str) -> None:
        """Close a part with a line of its own."""
        self._console.print(f"  {title}: {words}", highlight=False, markup=False)
        if self._bars is not None:
            self._bars.advance(self._whole)
            self._bars.update(self._part, visible=False)


class Progress:
    """Where a run tells how far it is.

    Parameters
    ----------
    console
        Where to write; bars appear only if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, words: str) -> None:
        """Write a line."""
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def transfers(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Give a function to call with what is being done, how far it is and how far it goes."""
        if not self.console.is_terminal:
            said: set[str] = set()

            def line(what: str, done: int, total: int | None) -> None:
                if what not in said:
                    said.add(what)
                    self.say(f"{what} …")

            yield line
            return
        tasks: dict[str, Any] = {}
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Bars(*columns, console=self.console, transient=True) as bars:

            def report(what: str, done: int, total: int | None) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done, total=total)

            yield report

    @contextmanager
    def stage(self, name: str, *, total: int | None) -> Iterator[Stage]:
        """Open a stage; its bar goes away with the block, its lines stay."""
        if not self.console.is_terminal:
            self.say(f"{name} …")
            yield Stage(self.console, None, name, total)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield Stage(self.console, bars, name, total)
