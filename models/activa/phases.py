"""How a budget is divided among ACTIVA's phases."""

from __future__ import annotations

from typing import Final

from models.base import Budget

CLASSIFIER_SHARE: Final = 4 / 500
WARM_UP_SHARE: Final = 9 / 500
_MOST: Final = 1 / 4
"""Of the budget, for each early phase: together never more than half."""


def early_phase_over(
    share: float, *, steps: int, seconds: float, budget: Budget, steps_per_epoch: int, least_steps: int
) -> bool:
    """Tell whether the classifier's training or the warm-up has had its part.

    Each lasts its share of the budget, at least one epoch, and never more than a quarter of the budget
    (which binds when the budget is under four epochs). The release's shares are 4 and 9 epochs of 500.

    Parameters
    ----------
    share
        Share of the budget that the phase gets, between 0 and 1.
    steps, seconds
        Steps and seconds that the phase has used.
    budget
        Budget of the whole `fit`.
    steps_per_epoch
        Batches in one pass over the training cells.
    least_steps
        Number of steps taken in any case, even if they are more than a quarter of the budget.
    """
    if steps < least_steps:
        return False
    total = budget.total_steps(steps_per_epoch)
    if total is None:
        used = seconds / budget.amount
        exhausted = used >= _MOST
    else:
        used = steps / total
        exhausted = (steps + 1) / total > _MOST
    return exhausted or (steps >= steps_per_epoch and used >= share)
