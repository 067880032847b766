"""Monitors of a training that is timed by itself: the whole of it, or block by block in turns with others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench.work.clock import PhaseClock
from models.base import SilentMonitor


class ClockMonitor(SilentMonitor):
    """A `models.base.Monitor` that times phases and counts their steps."""

    def __init__(self, clock: PhaseClock) -> None:
        self._clock = clock

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time what happens inside."""
        return self._clock.phase(name)

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Count steps."""
        self._clock.add_steps(steps)


class PacedMonitor(SilentMonitor):
    """A `models.base.Monitor` that lets a training go on by blocks of steps, a block a turn.

    A block lies within one phase: where a phase ends, the steps since the last turn are not timed.

    Parameters
    ----------
    steps
        Number of training steps in a block.
    turn
        Function called after a block with its phase and seconds a step; returns when the next may begin.
    timer
        Function that returns seconds from an arbitrary origin.

    Attributes
    ----------
    synchronise
        Function that waits until the device has finished.
    """

    def __init__(
        self,
        *,
        steps: int,
        turn: Callable[[str, float], None],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.synchronise: Callable[[], None] = lambda: None
        self._steps = steps
        self._turn = turn
        self._timer = timer
        self._clock = PhaseClock(timer=timer)
        self._phase: str | None = None
        self._done = 0
        self._started = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note the phase; what its end leaves of a block, a recording within it above all, is not timed."""
        with self._clock.phase(name):
            yield
        self._phase = None

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Count steps; take a turn when a block is full."""
        if self._clock.current != self._phase:
            # The first step of a phase may compile.
            self._begin()
            return
        self._done += steps
        if self._done >= self._steps:
            self.synchronise()
            self._turn(self._phase, (self._timer() - self._started) / self._done)
            self._begin()

    def _begin(self) -> None:
        self.synchronise()
        self._phase, self._done, self._started = self._clock.current, 0, self._timer()
