"""A generator's results: what its Jobs measured, column by column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import stats


class Summary(NamedTuple):
    """Mean of some values and, where there are three or more, the 95 % t interval of the mean (else NaN)."""

    mean: float
    low: float
    high: float

    def within(self, bounds: tuple[float, float]) -> Summary:
        """Cut the interval off where no value can lie: a t interval knows nothing of a metric's bounds."""
        return self._replace(low=float(np.clip(self.low, *bounds)), high=float(np.clip(self.high, *bounds)))


MISSING = Summary(math.nan, math.nan, math.nan)


def summarise(values: Sequence[float]) -> Summary:
    """Return the mean and its 95 % t interval of at least one value."""
    mean, n = float(np.mean(values)), len(values)
    if n < 3:
        return Summary(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Summary(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Row:
    """A generator's results.

    Attributes
    ----------
    model, role, budget
        The generator's name, role and training budget.
    values
        Column → one value for each Job that has results: a training seed, or for the columns of the
        augmentation experiment a subsampling seed at the headline fraction.
    status, reason
        How its Jobs ended (see `reports.table.outcome`).
    n_seeds
        Training seeds that have results.
    summaries
        Column → mean and interval, a metric's within its bounds.
    places
        Metric → place between the best floor (0) and the ceiling (1); NaN without a value, none without a
        scale (see `reports.scale`).
    not_timed
        Why times of some of its Jobs are not told (see `reports.table.not_timed`); empty where all are.
    """

    model: str
    role: str
    budget: str | None
    values: Mapping[str, Sequence[float]]
    status: str
    reason: str
    n_seeds: int
    summaries: Mapping[str, Summary]
    places: Mapping[str, float] = field(default_factory=dict)
    not_timed: str = ""

    def summary(self, name: str) -> Summary:
        """Return mean and interval of a column, NaN where it has no value."""
        return self.summaries.get(name, MISSING)

    def mean(self, name: str) -> float:
        """Return the mean of a column, NaN where it has no value."""
        return self.summary(name).mean

    def place(self, name: str) -> float:
        """Return the place of a metric's value between floor and ceiling, NaN where it has none."""
        return self.places.get(name, math.nan)

    @property
    def why_empty(self) -> str:
        """Why a column has no value, in words."""
        return "not scored" if self.n_seeds else self.status.replace("_", " ")


def means(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Return the mean of a column by model, of those that have one."""
    return {row.model: row.mean(name) for row in rows if name in row.summaries}
