"""What evidence costs that several metrics share, apart from what each metric costs by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")


class Stopwatch:
    """Adds up seconds; time charged within time that is charged already counts once.

    Attributes
    ----------
    seconds
        Seconds measured so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._runs = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Charge what happens within."""
        if self._runs:
            yield
            return
        self._runs, started = True, time.perf_counter()
        try:
            yield
        finally:
            self._runs = False
            self.seconds += time.perf_counter() - started


EVIDENCE = Stopwatch()
"""Charged with everything that is computed once and looked at by several metrics."""


class SharedProperty(cached_property[T]):
    """A cached property whose cost `EVIDENCE` bears, not the metric that is first to ask."""

    def __get__(self, instance: object | None, owner: type | None = None) -> T:  # type: ignore[override]
        """Compute and keep the value."""
        with EVIDENCE.running():
            return super().__get__(instance, owner)


class SharesWork:
    """Keeps what a metric computes of it for the next one that asks."""

    def kept(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what was computed under `key`, or compute it; `EVIDENCE` bears the cost.

        Parameters
        ----------
        key
            Everything, beside this object, that the value depends on.
        compute
            Function that computes the value where there is none yet.
        """
        found: dict[Hashable, Any] = self.__dict__.setdefault("_kept", {})
        with EVIDENCE.running():
            if key not in found:
                found[key] = compute()
        return found[key]
