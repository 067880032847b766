"""What a metric says about itself, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Final, Literal, TypeAlias

from metrics.protocols import FOR_EVERY_METRIC

Group = Literal["headline", "memorisation", "coverage", "marginals", "dependence", "biology", "use"]


LEAST_CELLS: Final = 10
"""Cells a side below which a metric that says nothing else refuses, and no type is scored by itself."""


class NotApplicable(Exception):
    """A metric cannot be computed on these cells; the message is the one-line reason the table shows."""


def require_cells(what: str, n_cells: int, least: int, *, of: str = "cells a side") -> None:
    """Raise `NotApplicable` where there are too few cells for a number that means something.

    Parameters
    ----------
    what
        Name of the metric, for the message.
    n_cells, least
        Number of cells, and the least that is enough.
    of
        The kind of cells, for the message.
    """
    if n_cells < least:
        raise NotApplicable(f"{n_cells} {of}; {what} needs at least {least}")


@dataclass(frozen=True)
class Score:
    """What a metric found.

    Parameters
    ----------
    values
        Numbers by name; the first is the headline and carries the metric's name.
    details
        Whatever figures need, JSON-able: fold scores, correlation matrices, values per cell type.
    notes
        One-line remarks a reader of the number must know.
    interval
        95 % interval of the headline over the test cells (bootstrap; the synthetic cells stay as they are).
    p_value
        p-value of the hypothesis that synthetic and test cells come from one distribution.
    """

    values: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interval: tuple[float, float] | None = None
    p_value: float | None = None

    @property
    def headline(self) -> float:
        """The number that stands in the table."""
        return next(iter(self.values.values()))


Compute: TypeAlias = Callable[[Any, Any], Score]


@dataclass(frozen=True)
class Metric:
    """Declaration of a metric.

    Parameters
    ----------
    name
        Name on the command line, in tables and in MLflow; key of the headline value.
    description
        One line: what the number says.
    compute
        Function of ``(RealEvidence, SampleEvidence)``; for the augmentation experiment of
        ``(AugmentationSetting, SyntheticCells)``, for the attack on donors of ``(DonorSetting,
        SyntheticCells)``. It returns a `Score` or raises `NotApplicable`.
    better
        Direction in which values improve, on the far side of `ideal` that models are on.
    ideal
        Value of cells that cannot be told from real ones.
    bounds
        Smallest and largest possible headline value.
    reference
        DOI of the definition.
    cost
        One phrase: what makes it slow.
    floors
        Controls that must score worse than the control ``real`` (where that is exempt: than held-out real
        cells); a run in which one does not is suspect. The best of them and ``real`` are the ends of the
        metric's scale. None where no control is worse on all real data that were tried; the module says why.
    experiment
        The experiment whose Jobs it scores.
    needs_types
        Whether it cannot be computed without cell types.
    default
        Whether it is computed when no metrics are named; the profile ``paper`` computes all.
    group
        Group of metrics with which it stands in tables and on cards.
    exempt
        Names of controls that it does not score, because its answer is known from how they draw.
    protocols
        Names of the protocols in which it exists; each also stands for its ``+observed``.
    alarm
        Value, on the far side of `ideal`, from which on a model is reported as copying its training cells.
    catches
        Controls that must reach `alarm`; a run in which one does not is suspect.
    judged_by
        What tells how held-out real cells score, where that is not `ideal`: a control, or a value beside the
        headline. Comparisons take distances from it: else cells that overshoot real ones would win.
    least_cells
        Cells a side below which `compute` refuses: folds, neighbours and percentiles need so many, and
        below 10 most numbers are chance. Of training cells 10 are enough, or fewer where this is less. None
        where nothing is checked, as always in the augmentation experiment, which has no such sides.
    """

    name: str
    description: str
    compute: Compute
    better: Literal["lower", "higher"]
    ideal: float
    bounds: tuple[float, float]
    reference: str
    cost: str
    floors: tuple[str, ...] = ()
    experiment: Literal["main", "augmentation", "donors"] = "main"
    needs_types: bool = False
    default: bool = False
    group: Group = "headline"
    exempt: tuple[str, ...] = ()
    protocols: tuple[str, ...] = FOR_EVERY_METRIC
    alarm: float | None = None
    catches: tuple[str, ...] = ()
    judged_by: str | None = None
    least_cells: int | None = LEAST_CELLS

    def __post_init__(self) -> None:
        if self.experiment != "main":
            object.__setattr__(self, "least_cells", None)
        elif self.least_cells is not None:
            object.__setattr__(self, "compute", _on_enough_cells(self.compute, self.name, self.least_cells))


def _on_enough_cells(compute: Compute, name: str, least: int) -> Compute:
    """Return a computation that refuses too few cells by name: the one place for all metrics."""

    @wraps(compute)
    def checked(real: Any, sample: Any) -> Score:
        require_cells(name, real.n_cells, least)
        # The components, and what a classifier learns, are of the training cells.
        require_cells(name, real.n_train, min(least, LEAST_CELLS), of="training cells")
        return compute(real, sample)

    return checked


error_metric = partial(Metric, better="lower", ideal=0.0, bounds=(0.0, float("inf")))
"""Declares what is 0 for cells like real ones and grows without end, unless other `bounds` are given."""
share_metric = partial(Metric, better="higher", ideal=1.0, bounds=(0.0, 1.0))
"""Declares what is 1 for cells like real ones and 0 at its worst."""
