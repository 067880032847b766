"""What timings say: a row of the table for each contender, beside the baseline and the floor."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.work.clock import summarise

Row = dict[str, Any]


def row(
    measure: str,
    name: str,
    seconds: Sequence[float],
    *,
    baseline: Sequence[float] | None,
    floor_seconds: float | None,
    **facts: Any,
) -> Row:
    """Return a row: what was measured of whom, every value, `compare` of them, and `facts`."""
    compared = compare(seconds, baseline=baseline, floor_seconds=floor_seconds)
    return {"measure": measure, "name": name, "seconds": list(seconds), **compared, **facts}


def failed_row(measure: str, name: str, reason: str) -> Row:
    """Return the row of a contender of which nothing could be measured."""
    return {"measure": measure, "name": name, "failed": reason}


def compare(
    seconds: Sequence[float], *, baseline: Sequence[float] | None, floor_seconds: float | None
) -> dict[str, Any]:
    """Put a contender's timings beside the baseline's of the same rounds and beside the floor.

    Parameters
    ----------
    seconds, baseline
        A value a round, of the contender and of the baseline (None: there is none).
    floor_seconds
        The least the machine could take, or None.

    Returns
    -------
    dict
        ``repeats``, what `bench.work.clock.summarise` gives, ``floor_seconds`` and ``times_floor`` (median
        over floor), ``baseline`` (its summary), ``ratio`` (the baseline's median over the contender's) with
        ``ratio_min`` and ``ratio_max``, the least and the greatest of a single round.
    """
    summary = summarise(seconds)
    median = summary["median_seconds"]
    figures: dict[str, Any] = {"repeats": len(seconds), **summary, "floor_seconds": floor_seconds}
    figures["times_floor"] = median / floor_seconds if floor_seconds else None
    figures |= dict.fromkeys(("baseline", "ratio", "ratio_min", "ratio_max"))
    if baseline:
        of_rounds = [theirs / ours for theirs, ours in zip(baseline, seconds, strict=True)]
        figures |= {
            "baseline": summarise(baseline),
            "ratio": statistics.median(baseline) / median,
            "ratio_min": min(of_rounds),
            "ratio_max": max(of_rounds),
        }
    return figures
