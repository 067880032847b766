"""Timings of base and head in turns, the order within each pair drawn anew, until the looks have decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from bench.gate.looks import LOOKS, Judgement, judge_in_turns

BASE: Final = "base"
HEAD: Final = "head"
CALIBRATION: Final = "calibrate"
MEASURES: Final = {"fit": ("step", "fit"), "sample": ("sample",)}
"""What a worker is asked to do, and what it may time in doing so."""
Side = Callable[[str], Mapping[str, float]]
"""Does what it is asked and returns the seconds of each measure that this gave."""


@dataclass
class Pairs:
    """Seconds by measure, and what was said of them.

    Attributes
    ----------
    seconds
        By side and measure; the same place is the same pair.
    judgements
        By measure that both sides gave.
    """

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {BASE: {}, HEAD: {}})
    judgements: dict[str, Judgement] = field(default_factory=dict)

    def add(self, side: str, found: Mapping[str, float]) -> None:
        """Keep what a side took."""
        for measure, seconds in found.items():
            self.seconds[side].setdefault(measure, []).append(seconds)

    def decided(self, action: str, *, factor: float, n_measures: int) -> bool:
        """Judge what both sides have timed of an action; tell whether nothing of it is open."""
        both = [
            measure for measure in MEASURES[action] if all(measure in side for side in self.seconds.values())
        ]
        for measure in both:
            base, head = (self.seconds[side][measure] for side in (BASE, HEAD))
            self.judgements[measure] = judge_in_turns(base, head, factor=factor, n_measures=n_measures)
        return all(self.judgements[measure].verdict != "undecided" for measure in both)


def take_pairs(
    sides: Mapping[str, Side], *, factor: float, n_measures: int, rng: np.random.Generator
) -> Pairs:
    """Take pairs until every measure is decided or the last look is over.

    Base goes first in half of the pairs, at random, so that what the first leaves to the second (warm caches,
    a slower clock) favours neither.

    Parameters
    ----------
    sides
        ``"base"`` and ``"head"``.
    factor
        Of a regression.
    n_measures
        Of the whole build, of which these are some.
    rng
        Draws the order.
    """
    for side in sides.values():
        for action in (*MEASURES, CALIBRATION):
            # First calls pay for imports, compilation and caches.
            side(action)
    pairs, waiting = Pairs(), list(MEASURES)
    decided = partial(pairs.decided, factor=factor, n_measures=n_measures)
    for number in range(1, LOOKS[-1].n_pairs + 1):
        for action in (*waiting, CALIBRATION):
            for name in rng.permutation((BASE, HEAD)).tolist():
                pairs.add(name, sides[name](action))
        if any(number == look.n_pairs for look in LOOKS):
            waiting = [action for action in waiting if not decided(action)]
        if not waiting:
            break
    return pairs
