"""Which columns catch a cheat or a floor, and which would praise it.

A column catches it that sets off its alarm of copying, or by which it is no better than the best of the
column's floors; a column praises it by which it comes nine tenths of the way from there to real cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from reports.fitted_table import Column, FittedTable
from reports.rows import Row
from reports.suspicion import alarm_of
from reports.table import results
from reports.view import MetricFacts, RunView
from reports.words import DASH

CAUGHT_TITLE: Final = "Cheats and floors: which column catches them"
PRAISED: Final = 0.9
FEWEST: Final = 2
"""Cheats; the one that is a control of every run needs no table."""
ROLES: Final = ("cheat", "floor")


@dataclass(frozen=True)
class Verdict:
    """What the columns of a run say of one generator.

    Attributes
    ----------
    model
        Name of the fake.
    alarms
        Metrics whose alarm of copying it sets off.
    caught
        Metrics by which it is no better than the best of their floors, the main table's first.
    praised
        Metrics by which it is at least nine tenths of the way from the best floor to real cells; not those of
        memorisation, which praise whatever is new.
    """

    model: str
    alarms: tuple[str, ...]
    caught: tuple[str, ...]
    praised: tuple[str, ...]

    @property
    def is_seen(self) -> bool:
        """Whether a column catches it."""
        return bool(self.alarms or self.caught)


def verdict(row: Row, metrics: Sequence[MetricFacts]) -> Verdict:
    """Judge one generator by all metrics that were scored."""
    ordered = sorted(metrics, key=lambda metric: not metric.default)
    praising = [metric for metric in ordered if metric.group != "memorisation"]
    return Verdict(
        model=row.model,
        alarms=tuple(metric.name for metric in ordered if alarm_of(row, metric) is not None),
        caught=tuple(metric.name for metric in ordered if row.place(metric.name) <= 0),
        praised=tuple(metric.name for metric in praising if row.place(metric.name) >= PRAISED),
    )


def caught_table(view: RunView) -> FittedTable | None:
    """Return what catches each cheat and floor of a run; None where there are fewer than two cheats."""
    known = results(view)
    if len(known.of(("cheat",))) < FEWEST:
        return None
    found = [verdict(row, known.metrics) for row in known.of(ROLES)]
    columns = {
        "sets off": [one.alarms for one in found],
        "no better than a floor by": [one.caught for one in found],
        "as good as real cells by": [one.praised for one in found],
    }
    words = {header: [Text(", ".join(names) or DASH) for names in cells] for header, cells in columns.items()}
    values = [Column(header, cells, left=True) for header, cells in words.items()]
    fakes = Column("fake", [Text(one.model) for one in found], left=True)
    return FittedTable(fakes, values, [False] * len(found))
