"""When to stop timing, and what may be said then.

After 9, 15 and 25 pairs somebody looks. Each look has its own share of the error, and the shares add up to
the error of the whole (Bonferroni: true whatever the looks have in common, which is nearly everything):

===========  ==================  =====================
pairs        false "regression"  false "no regression"
===========  ==================  =====================
9            0.2 %               1.0 %
15           0.3 %               1.5 %
25           0.5 %               2.5 %
together     1.0 %               5.0 %
===========  ==================  =====================

The first column is for equal programs, the second for one that is slower by the factor or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bench.gate.statistics import Ratio, paired_ratio

Verdict = Literal["regression", "no regression", "undecided"]
FACTOR: Final = 1.10
"""Slower than this is a regression."""


@dataclass(frozen=True)
class Look:
    """One look at the pairs so far.

    Attributes
    ----------
    n_pairs
        After how many.
    regression_error, clearance_error
        Its share of the two errors.
    """

    n_pairs: int
    regression_error: float
    clearance_error: float


LOOKS: Final = (Look(9, 0.002, 0.010), Look(15, 0.003, 0.015), Look(25, 0.005, 0.025))
FEWEST_PAIRS: Final = LOOKS[0].n_pairs


@dataclass(frozen=True)
class Judgement:
    """A verdict and the ratio it rests on."""

    verdict: Verdict
    ratio: Ratio


def judge(base: Sequence[float], head: Sequence[float], look: Look, *, factor: float = FACTOR) -> Judgement:
    """Say what a look allows to be said of paired timings.

    ``"regression"``: the median ratio has reached the factor and the lower bound lies above 1.
    ``"no regression"``: the upper bound lies below the factor, and so is a slowdown of that size ruled out.
    Neither: ``"undecided"``.

    Parameters
    ----------
    base, head
        Seconds by pair.
    look
        Its errors set the bounds.
    factor
        From which slowdown on there is a regression; above 1.
    """
    ratio = paired_ratio(base, head, lower_error=look.regression_error, upper_error=look.clearance_error)
    if ratio.median >= factor and ratio.lower > 1:
        return Judgement("regression", ratio)
    return Judgement("no regression" if ratio.upper < factor else "undecided", ratio)


def judge_in_turns(base: Sequence[float], head: Sequence[float], *, factor: float = FACTOR) -> Judgement:
    """Go through the looks that there are pairs for; the first that decides has the say.

    Raises
    ------
    ValueError
        If there are fewer pairs than the first look wants.
    """
    ready = [look for look in LOOKS if look.n_pairs <= len(base)]
    if not ready:
        raise ValueError(f"{len(base)} pairs: the first look is after {FEWEST_PAIRS}")
    for look in ready:
        judgement = judge(base[: look.n_pairs], head[: look.n_pairs], look, factor=factor)
        if judgement.verdict != "undecided":
            break
    return judgement


def judge_at_once(base: Sequence[float], head: Sequence[float], *, factor: float = FACTOR) -> Judgement:
    """Judge pairs that were all there before anybody looked: one look has the errors to itself."""
    whole = Look(
        len(base),
        sum(look.regression_error for look in LOOKS),
        sum(look.clearance_error for look in LOOKS),
    )
    return judge(base, head, whole, factor=factor)
