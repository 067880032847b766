"""Timings of several contenders, taken in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.work.clock import repeat


def interleave(
    contenders: Mapping[str, Callable[[], float]], *, repeats: int, limit_seconds: float
) -> dict[str, list[float]]:
    """Take turns among contenders, so that whatever drifts in the machine hits all alike.

    Parameters
    ----------
    contenders
        Functions by name, each of which does one repeat and returns its seconds.
    repeats
        Number of rounds, of one repeat of each.
    limit_seconds
        Sum of the seconds returned so far from which on no further round begins.

    Returns
    -------
    dict
        Seconds by contender, equally many of each, at least one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, take_turn in contenders.items():
            seconds[name].append(take_turn())
        if sum(map(sum, seconds.values())) >= limit_seconds:
            break
    return seconds


def best_of(function: Callable[[], object], *, synchronise: Callable[[], None]) -> float:
    """Return the fewest seconds of several calls, after one that is not timed: what the machine can do."""
    forever = float("inf")
    return min(repeat(function, warm_up=function, synchronise=synchronise, repeats=5, limit_seconds=forever))
