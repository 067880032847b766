"""Dealing real and synthetic cells into folds, such that identical cells share one."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from metrics.arrays import Ints
from metrics.declaration import NotApplicable

HELD_OUT: Final = 0.3


def assign_folds(labels: Ints, identical: Ints, *, n_folds: int, seed: int) -> tuple[Ints, list[str]]:
    """Deal cells into stratified folds so that identical cells share one.

    Without duplicates this is plain stratified k-fold, as the paper has it. Where a side has so few
    distinct cells that a fold would hold none of it, there are fewer folds.

    Parameters
    ----------
    labels
        Label of each cell: 0 real, 1 synthetic.
    identical
        Group number of each cell: the same for identical cells only.
    n_folds, seed
        Largest number of folds, and seed of the shuffling.

    Returns
    -------
    tuple
        The fold of each cell, from 0, and a note if there are fewer folds than asked for.

    Raises
    ------
    NotApplicable
        If all cells of a side are identical: no fold can then both train and test on that side. Or if
        not even two folds can be dealt.
    """
    distinct = [np.unique(identical[labels == label]).size for label in (0, 1)]
    fewest, side = min(zip(distinct, ("real", "synthetic"), strict=True))
    if fewest < 2:
        raise NotApplicable(f"collapsed: all {side} cells are identical")
    for n_dealt in range(min(n_folds, fewest), 1, -1):
        folds = _dealt(labels, identical, n_folds=n_dealt, seed=seed)
        if all(np.unique(folds[labels == label]).size == n_dealt for label in (0, 1)):
            note = f"only {fewest} distinct {side} cells, so {n_dealt} folds instead of {n_folds}"
            return folds, [note] if n_dealt < n_folds else []
    raise NotApplicable(f"only {fewest} distinct {side} cells; they fill no two folds")


def _dealt(labels: Ints, identical: Ints, *, n_folds: int, seed: int) -> Ints:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if np.unique(identical).size == identical.size:
        splits = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels)
    else:
        grouped = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        splits = grouped.split(labels, labels, identical)
    folds = np.empty(labels.size, dtype=np.int64)
    for fold, (_, held_out) in enumerate(splits):
        folds[held_out] = fold
    return folds


def hold_out(labels: Ints, identical: Ints, *, seed: int) -> tuple[Ints, list[str]]:
    """Hold out three of ten cells: one split of 70 to 30, drawn without regard to labels.

    Where cells are identical they stay on one side: three of ten stratified folds are then held out together,
    so that few distinct cells still leave some to learn from and some to hold out.

    Parameters
    ----------
    labels, identical, seed
        Label (0 real, 1 synthetic) and group number of each cell, the same group for identical cells only;
        seed of the split.

    Returns
    -------
    tuple
        0 for each cell that is held out and -1 for the others; notes of `assign_folds`.

    Raises
    ------
    NotApplicable
        As for `assign_folds`, or if the draw leaves a part with cells of one side alone.
    """
    if np.unique(identical).size < identical.size:
        folds, notes = assign_folds(labels, identical, n_folds=10, seed=seed)
        n_held_out = round(HELD_OUT * (int(folds.max()) + 1))
        return np.where(folds < n_held_out, 0, -1), notes
    drawn = np.random.default_rng(seed).permutation(labels.size)
    split = np.full(labels.size, -1)
    split[drawn[: math.ceil(HELD_OUT * labels.size)]] = 0
    for part, words in ((0, "held-out"), (-1, "training")):
        if np.unique(labels[split == part]).size < 2:
            raise NotApplicable(f"the {words} part of a split of 70 to 30 has cells of one side alone")
    return split, []
