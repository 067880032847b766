"""Which columns catch a cheat or a floor, and which would praise it.

A column catches it that sets off its alarm of copying, or by which it is no better than the best of the
column's floors; a column praises it by which it comes nine tenths of the way from there to real cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from reports.fitted_table import Column, FittedTable
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
        Its name.
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


def verdict(row: Mapping[str, Any], metrics: Iterable[Mapping[str, Any]]) -> Verdict:
    """Judge one row of the results.

    Parameters
    ----------
    row
        Column → value; a metric's place between the best floor (0) and real cells (1) in ``NAME_position``.
    metrics
        Declarations: ``name``, ``ideal``, ``alarm``, ``default``, ``group``.
    """
    ordered = sorted(metrics, key=lambda metric: not metric["default"])
    places = {metric["name"]: _number(row.get(f"{metric['name']}_position")) for metric in ordered}
    return Verdict(
        model=str(row["model"]),
        alarms=tuple(metric["name"] for metric in ordered if _sets_off(row, metric)),
        caught=tuple(name for name, place in places.items() if place <= 0),
        praised=tuple(
            metric["name"]
            for metric in ordered
            if metric["group"] != "memorisation" and places[metric["name"]] >= PRAISED
        ),
    )


def caught_table(
    rows: Iterable[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
) -> FittedTable | None:
    """Return what catches each cheat and floor; None where there are fewer than two cheats.

    Parameters
    ----------
    rows, metrics
        The results under one protocol, and declarations, as for `verdict`.
    """
    fakes = [row for row in rows if row["role"] in ROLES]
    if sum(row["role"] == "cheat" for row in fakes) < FEWEST:
        return None
    found = [verdict(row, metrics) for row in fakes]
    columns = {
        "sets off": [one.alarms for one in found],
        "no better than a floor by": [one.caught for one in found],
        "as good as real cells by": [one.praised for one in found],
    }
    return FittedTable(
        Column("fake", [Text(one.model) for one in found], left=True),
        [
            Column(header, [Text(", ".join(names) or DASH) for names in cells], left=True)
            for header, cells in columns.items()
        ],
        [False] * len(found),
    )


def _sets_off(row: Mapping[str, Any], metric: Mapping[str, Any]) -> bool:
    alarm, name = metric["alarm"], metric["name"]
    if alarm is None:
        return False
    sign = 1 if alarm > metric["ideal"] else -1
    return any(sign * _number(row.get(column)) >= sign * alarm for column in (name, f"{name}_by_type"))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
