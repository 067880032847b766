"""What a metric says about itself, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


class NotApplicable(Exception):
    """A metric cannot be computed on these cells; the message is the one-line reason the table shows."""


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
    """

    values: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def headline(self) -> float:
        """The number that stands in the table."""
        return next(iter(self.values.values()))


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
        Takes ``(RealEvidence, SampleEvidence)``, or for the augmentation experiment
        ``(AugmentationSetting, SyntheticCells)``; returns a `Score`; raises `NotApplicable`.
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
        Controls that must score worse than the control ``real``; a run in which one does not is suspect.
    experiment
        Which Jobs it scores.
    needs_types
        Whether it cannot be computed without cell types.
    default
        Whether it is computed when no metrics are named.
    """

    name: str
    description: str
    compute: Callable[[Any, Any], Score]
    better: Literal["lower", "higher"]
    ideal: float
    bounds: tuple[float, float]
    reference: str
    cost: str
    floors: tuple[str, ...] = ()
    experiment: Literal["main", "augmentation"] = "main"
    needs_types: bool = False
    default: bool = True
