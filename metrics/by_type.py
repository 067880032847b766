"""Scores within each cell type, small types not drowned by large ones.

Test and synthetic cells alike are typed by the classifier that no generator was trained with: what a
generator calls a cell is a promise, not a finding, and a classifier's errors must fall on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from metrics.arrays import Ints, Strings
from metrics.declaration import LEAST_CELLS, NotApplicable, Score
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.spaces import CellMatrix, as_csr

Rows: TypeAlias = "Ints"
Measure: TypeAlias = Callable[[Rows, Rows], dict[str, float]]


def rows_by_type(
    test_calls: Strings, calls: Strings
) -> tuple[dict[str, tuple[Rows, Rows]], dict[str, tuple[int, int]], list[str]]:
    """Find the cells of each type that has at least 10 of them on either side, and the types that are lost.

    Parameters
    ----------
    test_calls, calls
        Type of each test cell and of each synthetic cell, as the classifier calls it.

    Returns
    -------
    rows
        By type, in the order of names: the rows of its test cells and of its synthetic cells.
    lost
        By type, numbers of test and of synthetic cells: types with at least 10 test cells, but fewer than 10
        synthetic cells and fewer than half as many. Chance alone makes 9 of 12.
    notes
        A line for each other type, which is left out.
    """
    rows, lost, notes = {}, {}, []
    for cell_type in np.union1d(test_calls, calls).tolist():
        test, synthetic = (np.flatnonzero(types == cell_type) for types in (test_calls, calls))
        if min(test.size, synthetic.size) >= LEAST_CELLS:
            rows[cell_type] = (test, synthetic)
        elif test.size >= LEAST_CELLS and 2 * synthetic.size < test.size:
            lost[cell_type] = (int(test.size), int(synthetic.size))
        else:
            notes.append(f"left out {cell_type}: {test.size} test and {synthetic.size} synthetic cells")
    return rows, lost, notes


def types_to_score(real: RealEvidence) -> tuple[list[str], list[str]]:
    """Return the types that have at least 10 test cells, and a line for each other one.

    Parameters
    ----------
    real
        Real cells whose called types are counted.

    Raises
    ------
    NotApplicable
        If no type has so many.
    """
    names, n_test = np.unique(real.test_calls, return_counts=True)
    is_small = n_test < LEAST_CELLS
    if is_small.all():
        raise NotApplicable(f"no cell type has {LEAST_CELLS} test cells")
    small = zip(names[is_small], n_test[is_small], strict=True)
    return names[~is_small].tolist(), [f"left out {name}: {n_cells} test cells" for name, n_cells in small]


def order_of_contents(cells: CellMatrix) -> Rows:
    """Put cells into an order that follows from what they hold: draws then do not hang on their rows.

    Parameters
    ----------
    cells
        Cells × genes; equal cells stay in their order.
    """
    direction = np.asarray(np.random.default_rng(0).normal(size=cells.shape[1]))
    return np.argsort(as_csr(cells) @ direction, kind="stable")


def measure_by_type(
    real: RealEvidence,
    sample: SampleEvidence,
    measure: Measure,
    *,
    worst: Mapping[str, float] | None = None,
    against_all: bool = False,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Measure the cells of each type that has at least 10 of them on either side.

    To lose a type that is hard to make must not be a way to a better mean.

    Parameters
    ----------
    real, sample
        Evidence whose called types tell the cells apart.
    measure
        Function that takes rows of test cells and rows of synthetic cells and returns numbers by name.
    worst
        What stands for a lost type (see `rows_by_type`); None leaves it out, where nothing is the worst.
    against_all
        Whether instead the test cells of a lost type are measured against all synthetic cells.

    Returns
    -------
    found
        What was measured, and ``test_cells`` and ``synthetic_cells``, by type; empty where no type could be.
    notes
        A line for each type that is left out or lost, or one that says why there are no types at all.
    """
    try:
        rows, lost, notes = rows_by_type(real.test_calls, sample.calls)
    except NotApplicable as reason:
        return {}, [f"not by type: {reason}"]
    found = {}
    for cell_type, (test, synthetic) in rows.items():
        try:
            sizes = {"test_cells": float(test.size), "synthetic_cells": float(synthetic.size)}
            found[cell_type] = measure(test, synthetic) | sizes
        except NotApplicable as reason:
            notes.append(f"left out {cell_type}: {reason}")
    for cell_type, (n_test, n_synthetic) in lost.items():
        sizes = {"test_cells": float(n_test), "synthetic_cells": float(n_synthetic)}
        done = "left out"
        if worst is not None:
            found[cell_type], done = {**worst, **sizes}, "counted at its worst"
        elif against_all:
            test = np.flatnonzero(real.test_calls == cell_type)
            found[cell_type] = measure(test, np.arange(sample.calls.size)) | sizes
            done = "measured against all synthetic cells"
        notes.append(f"{done} {cell_type}, which is lost: {n_test} test and {n_synthetic} synthetic cells")
    return found, notes


def score_with_types(
    real: RealEvidence,
    sample: SampleEvidence,
    measure: Measure,
    *,
    interval: tuple[float, float] | None = None,
    worst: float | None = None,
    against_all: bool = False,
    notes: Sequence[str] = (),
) -> Score:
    """Measure all cells, then the cells of each type; the first number also as its mean over types.

    Parameters
    ----------
    real, sample
        Evidence of the real cells and of the sample.
    measure
        Function that takes rows of test cells and rows of synthetic cells and returns numbers by name, the
        headline first.
    interval
        Interval of the headline over all cells.
    worst
        Headline that a lost type counts with; None leaves such a type out.
    against_all
        Whether instead the test cells of a lost type are measured against all synthetic cells.
    notes
        Notes that the score carries beside those of the sample and of its types.

    Raises
    ------
    NotApplicable
        If all cells together cannot be measured.
    """
    everything = np.arange(real.n_cells)
    values = measure(everything, everything)
    name = next(iter(values))
    at_worst = None if worst is None else {name: worst}
    found, of_types = measure_by_type(real, sample, measure, worst=at_worst, against_all=against_all)
    if found:
        values[f"{name}_by_type"] = float(np.mean([numbers[name] for numbers in found.values()]))
    return Score(values, {"by_type": found}, [*sample.notes, *of_types, *notes], interval=interval)
