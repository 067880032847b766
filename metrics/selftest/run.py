"""The self-test: all metrics on all ladders and traps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metrics.declaration import NotApplicable
from metrics.selftest.answers import answer
from metrics.selftest.expectations import asked_about, expected
from metrics.selftest.laboratory import Laboratory
from metrics.selftest.ladder import LADDERS, Ladder
from metrics.selftest.traps import TRAPS
from metrics.spaces import CellMatrix

Values = dict[str, list[float | None]]


def self_test(laboratory: Laboratory, *, floors: Mapping[str, CellMatrix] | None = None) -> dict[str, Any]:
    """Lead metrics up the ladders and into the traps.

    Parameters
    ----------
    laboratory
        The metrics and the cells that they are asked about.
    floors
        Counts that floor controls made, n_cells × n_genes, by the control's name.

    Returns
    -------
    dict
        Plain data. ``passed``: whether all is as expected. ``ladders`` and ``traps``: what was tried, the
        latter with ``passed`` and ``words``. ``metrics``: by name ``clean`` (its value for each draw of
        unchanged real cells), ``tolerance``, ``seconds``, ``floors``, ``errors``, ``failure``, and
        ``ladders``: by name ``values``, ``answer``, ``expected`` and ``passed``.
    """
    metrics, clean = laboratory.metrics, laboratory.clean
    of_floors = {name: laboratory.ask(f"floor {name}", matrix) for name, matrix in (floors or {}).items()}
    climbed = {
        name: climb(laboratory, ladder, of=[m.name for m in metrics.values() if asked_about(m, name)])
        for name, ladder in LADDERS.items()
    }
    sprung = [(trap, trap.spring(laboratory)) for trap in TRAPS]
    reports: dict[str, dict[str, Any]] = {
        name: {
            "clean": clean[name],
            "tolerance": laboratory.tolerances[name],
            "seconds": laboratory.seconds(name),
            "floors": {floor: values[name] for floor, values in of_floors.items()},
            "errors": laboratory.errors[name],
            "failure": laboratory.failures.get(name),
            "ladders": {
                ladder: judged(laboratory, name, ladder, values.get(name))
                for ladder, values in climbed.items()
            },
        }
        for name in metrics
    }
    verdicts = [ladder["passed"] for report in reports.values() for ladder in report["ladders"].values()]
    trapped = [outcome.passed for _, outcome in sprung]
    return {
        "passed": False not in [*verdicts, *trapped] and not laboratory.failures,
        "ladders": [
            {"name": ladder.name, "description": ladder.description, "rungs": ladder.labels}
            for ladder in LADDERS.values()
        ],
        "traps": [
            {"name": trap.name, "description": trap.description, **vars(outcome)} for trap, outcome in sprung
        ],
        "metrics": reports,
    }


def climb(laboratory: Laboratory, ladder: Ladder, *, of: Sequence[str]) -> Values:
    """Return the values of metrics, rung by rung; None where they do not apply.

    Parameters
    ----------
    laboratory, ladder
        Laboratory that is asked, and ladder that it is asked about.
    of
        Names of the metrics to ask.
    """
    asked = [_at(laboratory, ladder, rung, of) for rung in range(len(ladder.rungs))]
    return {name: [values.get(name) for values in asked] for name in of}


def _at(laboratory: Laboratory, ladder: Ladder, rung: int, of: Sequence[str]) -> dict[str, float | None]:
    if rung == 0 and ladder.space == "counts":
        return {name: values[0] for name, values in laboratory.clean.items()}
    try:
        cells = ladder.corrupt(laboratory.fresh, ladder.rungs[rung], laboratory.seed(ladder.name))
    except NotApplicable:
        return {}
    return laboratory.ask(f"{ladder.name} {ladder.labels[rung]}", cells, space=ladder.space, of=of)


def judged(
    laboratory: Laboratory, name: str, ladder: str, values: Sequence[float | None] | None
) -> dict[str, Any]:
    """Return a metric's values on a ladder, its answer, the one expected, and whether they are the same.

    Parameters
    ----------
    laboratory
        The laboratory in which the metric was asked.
    name, ladder
        Names of the metric and of the ladder.
    values
        Value on each rung; None where it was not asked.
    """
    if values is None:
        return {"values": [], "answer": "not asked", "expected": None, "passed": None}
    given = answer(laboratory.metrics[name], values, tolerance=laboratory.tolerances[name])
    wanted = expected(name, ladder, n_cells=laboratory.cells.real.n_cells)
    passed = None if wanted is None or given == "not applicable" else given == wanted
    return {"values": list(values), "answer": given, "expected": wanted, "passed": passed}
