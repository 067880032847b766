"""Phases, optimiser steps and repeated timings, read only when the device has finished."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PAUSED = "paused"


def nothing_to_wait_for() -> None:
    """Return at once: what a clock synchronises with while no generator is there."""


class PhaseClock:
    """Seconds and optimiser steps by phase.

    Every reading adds the time since the last one to all open phases, so a phase includes the
    phases inside it, a phase entered twice adds up, and a pause costs no phase anything.

    Parameters
    ----------
    synchronise
        Function that waits until the device has finished, called before every reading. May be replaced
        later (the attribute of the same name), as the generator is made after the clock.
    timer
        Function that returns seconds from an arbitrary origin.

    Attributes
    ----------
    synchronise
        Function that waits until the device has finished.
    failed_phase
        Full name of the innermost phase that the latest exception ended, or None. An exception
        that was handled is forgotten when the next phase opens.
    """

    def __init__(
        self,
        synchronise: Callable[[], None] = nothing_to_wait_for,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.synchronise = synchronise
        self.failed_phase: str | None = None
        self._timer = timer
        self._last = timer()
        self._open: list[str] = []
        self._seconds: dict[str, float] = {}
        self._steps: Counter[str] = Counter()

    @property
    def current(self) -> str:
        """Full name of the innermost open phase (``"fit/warm_up"``), ``"paused"`` in a pause, or ``""``."""
        return self._open[-1] if self._open else ""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by full phase name, in the order the phases were first entered, up to the last reading."""
        return dict(self._seconds)

    @property
    def steps(self) -> dict[str, int]:
        """Optimiser steps by innermost phase name (``"warm_up"`` for ``"fit/warm_up"``)."""
        totals: Counter[str] = Counter()
        for phase, steps in self._steps.items():
            totals[_innermost(phase)] += steps
        return dict(totals)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside as `name`, or as ``"outer/name"`` inside an open phase.

        Raises
        ------
        ValueError
            If the name is empty, holds a slash or is ``"paused"``.
        """
        if not name or "/" in name or name == PAUSED:
            raise ValueError(f"phase {name!r}: name it by one word without a slash, other than {PAUSED!r}")
        full_name = f"{self.current}/{name}" if self.current else name
        self._read()
        self.failed_phase = None
        try:
            with self._entered([*self._open, full_name]):
                yield
        except BaseException:
            if not _is_within(self.failed_phase or "", full_name):
                self.failed_phase = full_name
            raise

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Keep what happens inside out of every open phase; it is recorded as ``"paused"``."""
        self._read()
        with self._entered([PAUSED]):
            yield

    def add_steps(self, n_steps: int) -> None:
        """Count `n_steps` more optimiser steps of the innermost open phase.

        Raises
        ------
        RuntimeError
            If no phase is open.
        """
        if not self._open:
            raise RuntimeError(f"{n_steps} optimiser steps belong to no phase: open one before counting them")
        self._steps[self.current] += n_steps

    def export(self, *phases: str) -> dict[str, Any]:
        """Return seconds and steps so far as JSON-able values, for `restore` in another process.

        Parameters
        ----------
        *phases
            Full names of the phases wanted, each with all phases inside it; without any, ``"fit"``.
            Others stay out, because a process that resumes goes through them again itself.
        """
        self._read()
        wanted = phases or ("fit",)
        return {
            kind: {name: value for name, value in values.items() if any(_is_within(name, p) for p in wanted)}
            for kind, values in (("seconds", self._seconds), ("steps", self._steps))
        }

    def restore(self, exported: dict[str, Any]) -> None:
        """Add what `export` returned in an interrupted process to this clock."""
        for name, seconds in exported["seconds"].items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._steps.update(exported["steps"])

    @contextmanager
    def _entered(self, open_phases: list[str]) -> Iterator[None]:
        before, self._open = self._open, open_phases
        self._seconds.setdefault(self.current, 0.0)
        try:
            yield
        finally:
            try:
                self._read()
            finally:
                self._open = before

    def _read(self) -> None:
        # A device that fails here must not cost the open phases their seconds.
        try:
            self.synchronise()
        finally:
            now = self._timer()
            for name in self._open:
                self._seconds[name] += now - self._last
            self._last = now


def training_rate(seconds: dict[str, float], steps: dict[str, int]) -> dict[str, float | None] | None:
    """Return the training time and the speed of the main training phase.

    Every training phase counts (classifier, warm-up, adversarial, batch-norm statistics);
    compilation (any phase named ``"compile"``) and pauses do not. The speed is that of the phase
    with the most optimiser steps, as steps of different phases are different work.

    Parameters
    ----------
    seconds, steps
        Values of `PhaseClock.seconds` and `PhaseClock.steps`.

    Returns
    -------
    dict or None
        ``seconds`` of ``"fit"`` without compilation; ``steps`` of the phase with the most of them
        and ``steps_per_second`` in it (0 and None where nothing was counted). None without a ``"fit"``.
    """
    fit = {name: value for name, value in seconds.items() if _is_within(name, "fit")}
    if not fit:
        return None
    names = {_innermost(name) for name in fit} - {"compile"}
    counted = {name: n_steps for name, n_steps in steps.items() if name in names and n_steps > 0}
    busiest = max(counted, key=lambda name: counted[name], default="")
    n_steps = counted.get(busiest, 0)
    spent = sum(_without_compile(fit, name) for name in fit if _innermost(name) == busiest)
    return {
        "seconds": _without_compile(fit, "fit"),
        "steps": n_steps,
        "steps_per_second": n_steps / spent if spent > 0 else None,
    }


def repeat(
    function: Callable[[], object],
    *,
    warm_up: Callable[[], object],
    synchronise: Callable[[], None],
    repeats: int,
    limit_seconds: float,
    timer: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time a function several times, after one call that is not timed.

    Parameters
    ----------
    function
        Function that is timed; disposing of what it returns is not.
    warm_up
        Function called once before, such as a smaller request: first calls pay for compilation and caches.
    synchronise
        Function that waits until the device has finished, called before every reading.
    repeats
        Largest number of calls to time; at least one is.
    limit_seconds
        Seconds of timed calls after which no further call begins.
    timer
        Function that returns seconds from an arbitrary origin.

    Returns
    -------
    list of float
        Seconds of each timed call.
    """
    warm_up()
    seconds: list[float] = []
    while not seconds or (len(seconds) < repeats and sum(seconds) < limit_seconds):
        synchronise()
        started = timer()
        result = function()
        synchronise()
        seconds.append(timer() - started)
        # Two results at once would double the peak memory.
        del result
    return seconds


def once(function: Callable[[], object], synchronise: Callable[[], None]) -> float:
    """Call a function once and return the seconds, the device's work included."""
    return repeat(function, warm_up=lambda: None, synchronise=synchronise, repeats=1, limit_seconds=0.0)[0]


def summarise(seconds: Sequence[float]) -> dict[str, float]:
    """Return ``median_seconds``, ``min_seconds``, ``max_seconds`` and ``mad_seconds``.

    The last is the median absolute deviation from the median, not rescaled.
    """
    median = statistics.median(seconds)
    return {
        "median_seconds": median,
        "min_seconds": min(seconds),
        "max_seconds": max(seconds),
        "mad_seconds": statistics.median(abs(value - median) for value in seconds),
    }


def _innermost(full_name: str) -> str:
    return full_name.rpartition("/")[2]


def _is_within(full_name: str, phase: str) -> bool:
    return full_name == phase or full_name.startswith(f"{phase}/")


def _without_compile(seconds: dict[str, float], phase: str) -> float:
    compiling = (name for name in seconds if name.startswith(f"{phase}/") and _innermost(name) == "compile")
    return seconds[phase] - sum(seconds[name] for name in compiling)
