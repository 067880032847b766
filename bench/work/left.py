"""How long something will still take, from what was expected of it and the pace that is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from reports.words import duration

START = "start"
"""From the start of the worker's process, imports included, whatever no phase covers."""
PHASES = (START, *["load", "prepare", "fit", "save", "reload", "sample", "check", "write", "sample_timing"])
LEAST_PROGRESS = 0.02
"""Share of a phase that must have been seen before its own pace tells how long it will take."""


@dataclass(frozen=True)
class Left:
    """How long something will take.

    Attributes
    ----------
    seconds
        Seconds that all known parts will take.
    whole
        Whether all parts are known.
    """

    seconds: float
    whole: bool = True

    def __add__(self, other: Left) -> Left:
        return Left(self.seconds + other.seconds, self.whole and other.whole)

    @property
    def as_cost(self) -> str:
        """In words, of something that has not begun."""
        if self.whole:
            return f"about {duration(self.seconds)}"
        return f"more than {duration(self.seconds)}" if self.seconds >= 1 else "not known"

    def __str__(self) -> str:
        known = self.whole or self.seconds >= 1
        return f"{self.as_cost} left" if known else "time left not known yet"


UNKNOWN = Left(0.0, whole=False)


def job_left(
    phases: Mapping[str, float], *, phase: str, fraction: float | None, elapsed: float, pace: float | None
) -> Left:
    """Return how long a Job that is running will still take.

    Parameters
    ----------
    phases
        Expected seconds of each phase (`bench.work.predict.Prediction.phases`).
    phase
        Full name of the current phase, such as ``fit/warm-up``; empty before the first.
    fraction
        Share of the phase that is done; None if it is not reported.
    elapsed
        Seconds since the phase began.
    pace
        Seconds that the whole phase takes at the observed pace; None if that is not known yet.
    """
    now = phase.partition("/")[0] or START
    behind = [phases.get(name, 0.0) for name in PHASES[PHASES.index(now) + 1 :]] if now in PHASES else []
    later = Left(sum(behind)) if phases else UNKNOWN
    if pace is not None and fraction is not None:
        return Left(pace * (1 - fraction)) + later
    if not phases:
        return UNKNOWN
    expected = phases.get(now, 0.0)
    return Left(max(0.0, expected - elapsed) if fraction is None else expected * (1 - fraction)) + later


class Watch:
    """Follows one Job from outside: since when it is in its phase, and how fast it gets on there.

    Parameters
    ----------
    phases
        Expected seconds of each phase (`bench.work.predict.Prediction.phases`).
    """

    def __init__(self, phases: Mapping[str, float]) -> None:
        self._phases = phases
        self._entered: tuple[str, float] | None = None
        self._first: tuple[float, float] | None = None

    def left(self, progress: Mapping[str, Any], now: float) -> Left:
        """Return how long the Job will take.

        Parameters
        ----------
        progress
            Last report of the Job: ``phase`` and ``fraction``.
        now
            Current time in seconds from an arbitrary origin.
        """
        phase, fraction = progress.get("phase") or "", progress.get("fraction")
        outer = phase.partition("/")[0]
        if self._entered is None or self._entered[0] != outer:
            self._entered, self._first = (outer, now), None
        if fraction is not None and self._first is None:
            self._first = (now, fraction)
        return job_left(
            self._phases,
            phase=phase,
            fraction=fraction,
            elapsed=now - self._entered[1],
            pace=None if self._first is None else _pace(self._first, (now, fraction)),
        )


def _pace(first: tuple[float, float], last: tuple[float, float | None]) -> float | None:
    if last[1] is None or last[1] - first[1] < LEAST_PROGRESS:
        return None
    return (last[0] - first[0]) / (last[1] - first[1])


def scores_left(
    waiting: Mapping[str, int],
    expected: Mapping[str, float],
    seen: Mapping[str, Sequence[float]],
    *,
    current: tuple[str, float] | None = None,
) -> Left:
    """Return how long the scores that are not there yet will take, one after the other.

    Parameters
    ----------
    waiting
        Metric → number of its missing scores, the current one included.
    expected
        Metric → seconds of one score, from earlier runs.
    seen
        Metric → seconds of the scores that this scoring has computed; they replace `expected`.
    current
        Metric that is being computed, and the seconds since it began.
    """
    each = {**expected, **{name: fmean(seconds) for name, seconds in seen.items() if seconds}}
    parts = [
        Left(number * each[name]) if name in each else UNKNOWN for name, number in waiting.items() if number
    ]
    left = sum(parts, Left(0.0))
    if current is None or current[0] not in each:
        return left
    return Left(left.seconds - min(current[1], each[current[0]]), left.whole)
