"""The wall-clock tier: base and head in turns on this machine, never against a stored number.

The order within each pair is drawn anew, until the looks of `bench.gate.looks` have decided.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from bench.gate.findings import Finding, Outcome
from bench.gate.looks import LOOKS, Judgement, judge_at_once, judge_in_turns
from bench.gate.sides import NoGateWorker, Place, Worker, base_of, here, in_both
from bench.hardware import usable_cores
from bench.speed.contenders import prepared_cells
from bench.work.lines import WorkerFailed

TIER: Final = "wall clock"
WORKLOAD: Final = {"budget": "20 steps", "sample_cells": 1024}
CELLS: Final = "synthetic:640x1000x4"
KERNEL: Final = "kernel"
BASE: Final = "base"
HEAD: Final = "head"
CALIBRATION: Final = "calibrate"
MEASURES: Final = {"fit": ("step", "fit"), "sample": ("sample",)}
"""What a worker is asked to do, and what it may time in doing so."""
Side = Callable[[str], Mapping[str, float]]
"""Does what it is asked and returns the seconds of each measure that this gave."""


def time_models(
    baseline: str,
    models: tuple[str, ...],
    *,
    device: str,
    factor: float,
    seed: int,
    say: Callable[[str], None],
) -> Outcome:
    """Time models of this checkout beside those of another one.

    Parameters
    ----------
    baseline
        The other one: a git reference or a folder.
    models
        Names, ``file.py:Class`` or ``module:Class``.
    device
        ``"cpu"`` or ``"cuda"``.
    factor
        Smallest slowdown that is a regression.
    seed
        Seed of the order within pairs.
    say
        Function that is called with a line about what is under way.

    Raises
    ------
    RequestError
        If base is not to be had, or a model's file lies outside the checkout.
    """
    head, outcome = here(), Outcome()
    references = [in_both(model, head) for model in models]
    rng = np.random.default_rng(seed)
    n_measures = len(models) * sum(map(len, MEASURES.values()))
    with base_of(head, baseline) as base, TemporaryDirectory() as logs:
        for model, reference in zip(models, references, strict=True):
            say(f"{model}: {baseline} and head take turns")
            order = {"model": reference, "cells": prepared_cells(CELLS), **WORKLOAD}
            places = {HEAD: head, BASE: base}
            take = partial(take_pairs, factor=factor, n_measures=n_measures, rng=rng)
            outcome.extend(_timed(model, places, order, take=take, device=device, logs=Path(logs)))
    return outcome


def _timed(
    model: str,
    places: Mapping[str, Place],
    order: dict[str, Any],
    *,
    take: Callable[[Mapping[str, Side]], Pairs],
    device: str,
    logs: Path,
) -> Outcome:
    """Compare one model; a failure of base leaves nothing to compare with, one of head is a failure."""
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        files: dict[str, str] = {}
        settings: dict[str, Any] = {}
        at_work = HEAD

        def ask(worker: Worker, side: str, action: str) -> Mapping[str, float]:
            nonlocal at_work
            at_work = side
            seconds: Mapping[str, float] = worker.ask(action)["seconds"]
            return seconds

        try:
            for name, place in places.items():
                at_work = name
                log = logs / f"{len(list(logs.iterdir()))}.log"
                (other,) = (place for side, place in places.items() if side != name)
                worker = Worker(place, other=other, device=device, threads=usable_cores(), log=log)
                opened = stack.enter_context(worker).open(**order, settings=settings)
                if "skip" in opened:
                    return _nothing(model, f"{name} cannot run on the synthetic cells: {opened['skip']}")
                files[name], sides[name] = opened["file"], partial(ask, worker, name)
                # Head's, which comes first: what each side settled by itself might differ.
                settings = opened.get("settings", {})
            if files[BASE] == files[HEAD]:
                return _nothing(model, f"base and head both load {files[HEAD]}: the same code")
            pairs = take(sides)
        except NoGateWorker as error:
            return _nothing(model, f"the {at_work} {error}")
        except WorkerFailed as error:
            if at_work == BASE:
                return _nothing(model, f"the base does not run: {error}")
            return Outcome([Finding(TIER, model, "", "failed", note=str(error))])
    return found_in(model, pairs)


def _nothing(model: str, note: str) -> Outcome:
    return Outcome([Finding(TIER, model, "", "not comparable", note=note)])


def found_in(model: str, pairs: Pairs) -> Outcome:
    """Put into rows what pairs of timings say, and into a remark how quiet the machine was."""
    medians = {
        side: {measure: statistics.median(values) for measure, values in measures.items()}
        for side, measures in pairs.seconds.items()
    }
    findings = []
    for measure in ("step", "fit", "sample"):
        if measure in pairs.judgements:
            base, head = (medians[side][measure] for side in (BASE, HEAD))
            note = f"{head / medians[HEAD][KERNEL]:.3g} × the kernel"
            findings.append(timing_finding(TIER, model, measure, pairs.judgements[measure], base, head, note))
        elif measure in {*medians[BASE], *medians[HEAD]}:
            note = "only one side counts steps"
            findings.append(Finding(TIER, model, measure, "not comparable", note=note))
    return Outcome(findings, [f"{model}: {_quietness(pairs)}"])


def timing_finding(
    tier: str, subject: str, measure: str, judgement: Judgement, base: float, head: float, note: str
) -> Finding:
    """Put a judgement of paired timings into a row."""
    ratio = judgement.ratio
    lower = f"{ratio.lower:.3f}" if ratio.lower else "–"
    allowed = f"{lower} … {ratio.upper:.3f}, {ratio.n_pairs} pairs"
    return Finding(tier, subject, measure, judgement.verdict, base, head, "s", ratio.median, allowed, note)


def _quietness(pairs: Pairs) -> str:
    """Say what base and head took for work that is the same in both."""
    base, head = (np.array(pairs.seconds[side][KERNEL]) for side in (BASE, HEAD))
    ratio = judge_at_once(base.tolist(), head.tolist(), n_measures=1).ratio
    quarter, three_quarters = np.quantile(head / base, (0.25, 0.75))
    return (
        f"the calibration kernel, the same work in base and head, took {ratio.median:.3f} × as long "
        f"({ratio.lower:.3f} … {ratio.upper:.3f}; half of the pairs {quarter:.3f} … {three_quarters:.3f})"
    )


@dataclass
class Pairs:
    """Seconds by measure, and what was said of them.

    Attributes
    ----------
    seconds
        Seconds by side and measure; the same place is the same pair.
    judgements
        Judgement of each measure that both sides gave.
    """

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {BASE: {}, HEAD: {}})
    judgements: dict[str, Judgement] = field(default_factory=dict)

    def add(self, side: str, found: Mapping[str, float]) -> None:
        """Keep what a side took."""
        for measure, seconds in found.items():
            self.seconds[side].setdefault(measure, []).append(seconds)

    def decided(self, action: str, *, factor: float, n_measures: int) -> bool:
        """Judge what both sides have timed of an action; tell whether nothing of it is open."""
        both = [name for name in MEASURES[action] if all(name in side for side in self.seconds.values())]
        for measure in both:
            base, head = (self.seconds[side][measure] for side in (BASE, HEAD))
            self.judgements[measure] = judge_in_turns(base, head, factor=factor, n_measures=n_measures)
        return all(self.judgements[measure].verdict != "undecided" for measure in both)


def take_pairs(
    sides: Mapping[str, Side], *, factor: float, n_measures: int, rng: np.random.Generator
) -> Pairs:
    """Take pairs until every measure is decided or the last look is over.

    Base goes first in half of the pairs, at random, so that what the first leaves to the second (warm caches,
    a slower clock) favours neither.

    Parameters
    ----------
    sides
        Function that runs an action, by ``"base"`` and ``"head"``.
    factor
        Smallest slowdown that is a regression.
    n_measures
        Number of measures of the whole build, these included.
    rng
        Generator that draws which side goes first in each pair.
    """
    for side in sides.values():
        for action in (*MEASURES, CALIBRATION):
            # First calls pay for imports, compilation and caches.
            side(action)
    pairs, waiting = Pairs(), list(MEASURES)
    decided = partial(pairs.decided, factor=factor, n_measures=n_measures)
    for number in range(1, LOOKS[-1].n_pairs + 1):
        for action in (*waiting, CALIBRATION):
            for name in rng.permutation((BASE, HEAD)).tolist():
                pairs.add(name, sides[name](action))
        if any(number == look.n_pairs for look in LOOKS):
            waiting = [action for action in waiting if not decided(action)]
        if not waiting:
            break
    return pairs
