"""Progress: bars on a terminal; elsewhere plain lines, one at least every half minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, RLock, Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

SILENCE_SECONDS = 25.0
"""After so long a silence a line says how far it is: with the time to notice, less than every 30 seconds."""
BEAT_SECONDS = 1.0


class Stage:
    """One stretch of work with a known or unknown number of parts, of which several may go on at once."""

    def __init__(self, progress: Progress, bars: Bars | None, name: str, total: int | None) -> None:
        self._progress = progress
        self._bars = bars
        self._name = name
        self._done, self._total = 0, total
        self._parts: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, TaskID] = {}
        self._run_left = ""
        # Parts that go on at once are shown by threads of their own.
        self._lock = RLock()
        if bars is not None:
            self._whole = bars.add_task(name, total=total)

    def follow(self, part: dict[str, Any] | None, *, left: str = "", run_left: str = "") -> None:
        """Show what is running.

        Parameters
        ----------
        part
            State of the part: ``title``, ``phase``, ``fraction``; ``done`` and ``total`` if it knows how many
            parts the stage has. An empty state or None shows nothing.
        left, run_left
            Time that this part and the whole run will still take, in words.
        """
        if not part:
            return
        with self._lock:
            self._parts[part["title"]] = part | {"left": left}
            self._run_left = run_left
            if "total" in part:
                self._done, self._total = part["done"], part["total"]
            if self._bars is not None:
                self._draw(self._bars, part["title"])

    def done(self, title: str, words: str) -> None:
        """Close a part with a line of its own."""
        with self._lock:
            self._done += 1
            self._parts.pop(title, None)
            self._progress.say(f"  {title}: {words}")
            if self._bars is not None:
                self._bars.advance(self._whole)
                if title in self._rows:
                    self._bars.remove_task(self._rows.pop(title))

    def only(self, *parts: dict[str, Any] | None, run_left: str = "") -> None:
        """Show what is running, of parts that follow one another without a word: all former ones are over.

        Where parts each know how many of the stage's they have, the sum counts.
        """
        shown = [part for part in parts if part]
        counted = [part for part in shown if "total" in part]
        sums = {name: sum(part[name] for part in counted) for name in ("done", "total")} if counted else {}
        with self._lock:
            if shown:
                for former in [title for title in self._parts if title not in {p["title"] for p in shown}]:
                    del self._parts[former]
                    if self._bars is not None:
                        self._bars.remove_task(self._rows.pop(former))
            for part in shown:
                self.follow(part | sums, run_left=run_left)

    def beat(self) -> None:
        """Say how far it is if nothing was said for a while."""
        with self._lock:
            if self._progress.is_silent:
                for part in self._parts.values():
                    self._progress.say(f"  {self._words(part)}")

    def _words(self, part: dict[str, Any]) -> str:
        place = f"{self._name} {min(self._done + 1, self._total)} of {self._total}" if self._total else ""
        return " · ".join(filter(None, [place or self._name, _in_words(part), part["left"], self._run_left]))

    def _draw(self, bars: Bars, title: str) -> None:
        part = self._parts[title]
        if title not in self._rows:
            self._rows[title] = bars.add_task("", total=1.0)
        fraction = part.get("fraction")
        bars.update(
            self._rows[title],
            description=" · ".join(filter(None, [_in_words(part), part["left"]])),
            completed=fraction or 0.0,
            total=None if fraction is None else 1.0,
        )
        whole = " · ".join(filter(None, [self._name, self._run_left]))
        bars.update(self._whole, description=whole, total=self._total, completed=self._done)


def _in_words(part: dict[str, Any]) -> str:
    words = [str(part[name]) for name in ("title", "phase") if part.get(name)]
    fraction = part.get("fraction")
    return " · ".join(words) + ("" if fraction is None else f" {100 * fraction:.0f} %")


class Progress:
    """Where a run tells how far it is.

    Parameters
    ----------
    console
        Console to write to; bars are shown only if it is a terminal.
    clock
        Function that returns seconds from an arbitrary origin.

    Attributes
    ----------
    took
        Seconds spent on each activity, by its name; `taking` adds to them.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.took: dict[str, float] = {}
        self._began = self._said = clock()

    def say(self, words: str) -> None:
        """Write a line."""
        self._said = self.clock()
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    @property
    def is_silent(self) -> bool:
        """Whether the last line is so old that another is due."""
        return self.clock() - self._said >= SILENCE_SECONDS

    @contextmanager
    def taking(self, what: str) -> Iterator[None]:
        """Count the seconds of what happens inside to `what`."""
        started = self.clock()
        try:
            yield
        finally:
            self.took[what] = self.took.get(what, 0.0) + self.clock() - started

    def say_what_it_took(self, **within: dict[str, float]) -> None:
        """Write where the seconds went since this began.

        Parameters
        ----------
        **within
            Seconds by activity for each kind of work; with several processes, they may exceed the whole.
        """
        whole = self.clock() - self._began
        parts = self.took | {"all else": whole - sum(self.took.values())}
        self.say(f"took {whole:.0f} s: {_in_seconds(parts)}")
        for what, seconds in within.items():
            self.say(f"  {what}: {_in_seconds(dict(sorted(seconds.items(), key=lambda part: -part[1])))}")

    def _bars(self, *share: TaskProgressColumn) -> Bars:
        # Names of types are part of the description, and are no markup.
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn())
        return Bars(*columns, *share, TimeElapsedColumn(), console=self.console, transient=True)

    @contextmanager
    def transfers(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Give a function to call with what is being done, how far it is and how far it goes."""
        if not self.console.is_terminal:
            said: set[str] = set()
            with self.stage("", total=None, announced=True) as stage:

                def line(what: str, done: int, total: int | None) -> None:
                    if what not in said:
                        said.add(what)
                        self.say(f"{what} …")
                    stage.only({"title": what, "fraction": done / total if total else None})

                yield line
            return
        tasks: dict[str, Any] = {}
        with self._bars() as bars:

            def report(what: str, done: int, total: int | None) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done, total=total)

            yield report

    @contextmanager
    def stage(self, name: str, *, total: int | None, announced: bool = False) -> Iterator[Stage]:
        """Open a stage; its bar goes away with the block, its lines stay.

        Parameters
        ----------
        name, total
            Name of the work, and its number of parts, or None if that is not known.
        announced
            Whether its start has already been reported.
        """
        if not self.console.is_terminal:
            if not announced:
                self.say(f"{name} …")
            stage = Stage(self, None, name, total)
            with _beating(stage.beat):
                yield stage
            return
        with self._bars(TaskProgressColumn()) as bars:
            yield Stage(self, bars, name, total)


def _in_seconds(parts: dict[str, float]) -> str:
    return ", ".join(f"{what} {seconds:.0f} s" for what, seconds in parts.items() if seconds >= 0.5)


@contextmanager
def _beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call a function every second, whatever the block is busy with."""
    over = Event()

    def keep_beating() -> None:
        while not over.wait(BEAT_SECONDS):
            beat()

    thread = Thread(target=keep_beating, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
