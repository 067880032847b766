"""The deterministic tier: counts of a tiny training against those that were accepted.

Counts do not depend on the machine's load, so a stored number will do, and one more is one too many. They do
depend on the libraries: where these differ from those of the baseline, nothing is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.errors import RequestError, named
from bench.gate.baseline import Baseline
from bench.gate.findings import Finding, Outcome, Status
from bench.gate.sides import Worker, here
from bench.speed.contenders import prepared_cells
from bench.work.lines import WorkerFailed

TIER: Final = "counts"
WORKLOAD: Final = {"cells": "synthetic:400x200x4", "budget": "300 steps", "sample_cells": 256}
STEPS_TO_LOSS: Final = "steps to loss"
TOLERANCES: Final = {STEPS_TO_LOSS: 0.25}
"""Share of the baseline by which a count may differ; 0 for all others. Losses depend on the CPU."""

Point = Mapping[str, Any]
"""``phase``, ``steps`` done in it, ``values`` logged then."""

WINDOW: Final = 5
"""Points whose mean is watched: the loss of one batch says little."""
LEAST_FALL: Final = 0.2
"""Share of its first value by which a loss must have come down to be worth watching."""


class Skipped(Exception):
    """A generator that cannot run on the tiny cells, and says why."""


def count_model(model: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Count what a model does on tiny synthetic cells, on the CPU, in a process of its own.

    A GPU is not asked: shared machines have none, and a recorded CUDA graph hides its operators.

    Parameters
    ----------
    model
        Registered name of the model, or ``file.py:Class``.
    settings
        Settings that are left to the machine, as they were for a baseline; None for this machine's.

    Returns
    -------
    dict
        ``workload``, ``settings``, ``versions``, ``counts`` and ``curve``.

    Raises
    ------
    Skipped, WorkerFailed
        If it cannot run, or fails.
    """
    # One thread: sums come out alike on machines with more cores and with fewer.
    with (
        TemporaryDirectory() as folder,
        Worker(here(), other=None, device="cpu", threads=1, log=Path(folder) / "log") as worker,
    ):
        words = WORKLOAD | {"cells": prepared_cells(str(WORKLOAD["cells"]))}
        opened = worker.open(model=model, settings=dict(settings or {}), **words)
        if "skip" in opened:
            raise Skipped(opened["skip"])
        return {"workload": dict(WORKLOAD), "settings": opened["settings"], **worker.ask("count")}


def check_counts(baseline: Baseline, models: tuple[str, ...]) -> Outcome:
    """Count again what a baseline holds, and compare.

    Parameters
    ----------
    baseline
        The stored counts to compare with.
    models
        Names of the models, as in the baseline; empty for all that it holds.
    """
    outcome = Outcome()
    for model in models or tuple(baseline.counts):
        stored = baseline.counts.get(model)
        try:
            found = count_model(model, stored and stored.get("settings"))
        except Skipped as reason:
            outcome.findings.append(Finding(TIER, model, "", "not comparable", note=str(reason)))
        except WorkerFailed as error:
            outcome.findings.append(Finding(TIER, model, "", "failed", note=str(error)))
        else:
            outcome.findings += compare_counts(model, stored, found)
            if not found["versions"]:
                why = "it declares neither PyTorch nor TensorFlow"
                outcome.remarks.append(f"{model}: no operators to count, as {why}")
    return outcome


def accepted_counts(model: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a baseline stores of a model, counted now: with the loss to watch in place of the curve.

    Parameters are those of `count_model`.

    Raises
    ------
    RequestError
        If the model cannot run, or fails.
    """
    try:
        found = count_model(model, settings)
    except (Skipped, WorkerFailed) as error:
        raise RequestError(f"--accept: {named(model, error)}") from error
    curve = found.pop("curve")
    if (target := choose_target(curve)) is not None:
        found["counts"][STEPS_TO_LOSS] = steps_to(curve, target)
    return found | {"loss": target}


def compare_counts(model: str, stored: Mapping[str, Any] | None, found: Mapping[str, Any]) -> list[Finding]:
    """Compare the counts of a model with the stored ones.

    Parameters
    ----------
    model
        Name of the model, which the findings carry.
    stored
        Stored counts, from `accepted_counts`; None if the baseline has none.
    found
        Counts of today, from `count_model`.
    """
    if stored is None:
        note = "the baseline has no counts of it: --accept them"
        return [Finding(TIER, model, "", "not comparable", note=note)]
    for what in ("versions", "workload"):
        if difference := _difference(stored[what], found[what]):
            note = f"the baseline was counted with {difference}"
            return [Finding(TIER, model, "", "not comparable", note=note)]
    now = dict(found["counts"])
    if stored["loss"] is not None and (steps := steps_to(found["curve"], stored["loss"])) is not None:
        now[STEPS_TO_LOSS] = steps
    return compare_each(TIER, model, stored["counts"], now)


def compare_each(
    tier: str, subject: str, stored: Mapping[str, float], now: Mapping[str, float]
) -> list[Finding]:
    """Compare counts by name, as `compare_count` does; those that are stored come first."""
    names = dict.fromkeys([*stored, *now])
    return [compare_count(tier, subject, name, stored.get(name), now.get(name)) for name in names]


def compare_count(tier: str, subject: str, name: str, stored: float | None, now: float | None) -> Finding:
    """Compare one count with its stored value: more, beyond the tolerance, is a regression.

    A count that is gone cannot be told from one that was renamed, except that of the steps to a loss, which
    is gone only if the loss was not reached.
    """
    tolerance = TOLERANCES.get(name, 0.0)
    allowed = f"± {tolerance:.0%}" if tolerance else "exact"
    status: Status
    if stored is None or now is None:
        what = "new here" if stored is None else "not counted any more"
        status, note = "not comparable", f"{what}: --accept"
        if now is None and name == STEPS_TO_LOSS:
            status, note = "regression", "the loss is not reached any more"
        return Finding(tier, subject, name, status, stored, now, allowed=allowed, note=note)
    status, note = "no regression", ""
    if abs(now - stored) > tolerance * abs(stored):
        status, note = "better", "--accept it, so that it stays so"
        if now > stored:
            status, note = "regression", "" if stored else "there was none"
    ratio = now / stored if stored else None
    return Finding(tier, subject, name, status, stored, now, "", ratio, allowed, note)


def _difference(stored: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Name what differs first; builds of one release (``2.13.0+cpu``) count alike."""
    for name in sorted(stored.keys() | found.keys()):
        then, now = (str(facts.get(name)).partition("+")[0] for facts in (stored, found))
        if then != now:
            return f"{name} {then}, here it is {now}"
    return ""


def choose_target(curve: Sequence[Point]) -> dict[str, Any] | None:
    """Choose what to watch: of the longest phase, the value that falls most, half-way down.

    Only values that are never negative are losses that end at some point: a critic's, a difference of
    scores, may fall without bound, and does so where the training diverges.

    Parameters
    ----------
    curve
        Logged values by training step, as `bench.work.counting.CountingMonitor` keeps them.

    Returns
    -------
    dict or None
        ``phase``, ``name`` and ``value``; None if no such loss is logged that falls and stays down.
    """
    if not curve:
        return None
    phase = max(curve, key=lambda point: point["steps"])["phase"]
    best, target = LEAST_FALL, None
    points = [point["values"] for point in curve if point["phase"] == phase]
    for name in points[0]:
        means = [mean for _, mean in smoothed(curve, phase, name)]
        is_loss = all(0 <= values[name] < math.inf for values in points if name in values)
        if not (is_loss and means and means[0]):
            continue
        fall, middle = (means[0] - means[-1]) / means[0], (means[0] + means[-1]) / 2
        down = [mean <= middle for mean in means]
        if fall >= best and down == sorted(down):
            best, target = fall, {"phase": phase, "name": name, "value": middle}
    return target


def steps_to(curve: Sequence[Point], target: Mapping[str, Any]) -> float | None:
    """Return the steps of the phase until the value is first reached, between two points in a straight line.

    Parameters
    ----------
    curve
        Logged values by training step, in the form that `choose_target` takes.
    target
        Loss to reach, from `choose_target`.

    Returns
    -------
    float or None
        None if it never is.
    """
    points, wanted = smoothed(curve, target["phase"], target["name"]), target["value"]
    if points and points[0][1] <= wanted:
        return points[0][0]
    for (steps, mean), (later, lower) in pairwise(points):
        if lower <= wanted:
            return steps + (mean - wanted) / (mean - lower) * (later - steps)
    return None


def smoothed(curve: Sequence[Point], phase: str, name: str) -> list[tuple[float, float]]:
    """Return the steps of each point of a phase from the fifth on, with the mean of the last five values."""
    points = [point for point in curve if point["phase"] == phase and name in point["values"]]
    values = [point["values"][name] for point in points]
    return [
        (float(points[last]["steps"]), sum(values[last + 1 - WINDOW : last + 1]) / WINDOW)
        for last in range(WINDOW - 1, len(points))
    ]
