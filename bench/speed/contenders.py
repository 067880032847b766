"""Any generators side by side, each in a process of its own, asked for one repeat at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import RequestError
from bench.hardware import usable_cores
from bench.hardware.environment import worker_environment
from bench.request.registry import resolve_model
from bench.speed.baselines import BATCH_SIZE
from bench.speed.floors import Rates, sampling_floor, step_floor
from bench.speed.measures import Effort
from bench.speed.rounds import interleave
from bench.speed.rows import Row, failed_row, row
from bench.speed.workload import Shape
from bench.work.lines import Answer, LineProcess, WorkerFailed

YARDSTICK = "activa"
STEPS_ON_GPU = 50
UNTIMED_CELLS = 512


class Contender(LineProcess):
    """A generator's process.

    Parameters
    ----------
    order
        What `bench.speed.contender` is told first.
    log
        File for all that it prints.

    Attributes
    ----------
    failure
        Why it takes no more turns, or None.
    """

    def __init__(self, order: dict[str, Any], *, log: Path) -> None:
        environment = worker_environment(order["device"], usable_cores())
        super().__init__("bench.speed.contender", environment=environment, log=log)
        self.failure: str | None = None
        self.turn("open", parent=os.getpid(), **order)

    def turn(self, do: str, **words: Any) -> Answer:
        """Ask for something; one that is gone or gives up has a `failure`, and answers nothing."""
        try:
            return self.ask(do, **words)
        except WorkerFailed as error:
            self.failure = str(error)
            return {}


def measure_contenders(
    models: Sequence[str],
    shape: Shape,
    rates: Rates,
    effort: Effort,
    device: str,
    *,
    folder: Path,
) -> list[Row]:
    """Measure a training step and sampling of registered generators and of ACTIVA, in turns.

    Parameters
    ----------
    models
        Names, ``file.py:Class`` or ``module:Class``; ``activa`` is added.
    shape, effort, device
        How much, how long, and where.
    rates
        Of the machine, at that shape; the floor is that of ACTIVA's arithmetic in bf16, or in
        fp32 where that is faster.
    folder
        For the contenders' logs.

    Raises
    ------
    RequestError
        If a model cannot be found.
    """
    choices = {choice.name: choice for choice in map(resolve_model, [YARDSTICK, *models])}
    order = {
        "cells": str(_cells(shape)),
        "device": device,
        "steps": (steps := STEPS_ON_GPU if device == "cuda" else 1),
        "budget_steps": 2 * (effort.repeats + 2) * steps,
        "hyperparameters": {},
    }
    with contextlib.ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for name, choice in choices.items():
            words = order | {"model": choice.reference}
            contenders[name] = stack.enter_context(Contender(words, log=folder / f"{name}.log"))
        steps_taken = train_in_turns(contenders)
        rows = _step_rows(steps_taken, contenders, shape, rates)
        return rows + _sampling_rows(contenders, shape, rates, effort)


def train_in_turns(contenders: dict[str, Contender]) -> dict[str, list[float]]:
    """Train all contenders, a block of steps each in turn; return the seconds of a step by block.

    Only the phase with the most blocks counts, as steps of different phases are different work.
    """
    blocks: dict[str, dict[str, list[float]]] = {name: {} for name in contenders}
    waiting = {name: contender for name, contender in contenders.items() if not contender.failure}
    while waiting:
        for name, contender in list(waiting.items()):
            answer = contender.turn("train")
            if "phase" in answer:
                blocks[name].setdefault(answer["phase"], []).append(answer["seconds"])
            else:
                del waiting[name]
    return {name: max(phases.values(), key=len, default=[]) for name, phases in blocks.items()}


def _cells(shape: Shape) -> Path:
    import datasets

    try:
        return datasets.prepare(f"synthetic:{shape.n_cells}x{shape.n_genes}x{shape.n_types}").path
    except datasets.DatasetError as error:
        raise RequestError(str(error)) from error


def _step_rows(
    seconds: dict[str, list[float]], contenders: dict[str, Contender], shape: Shape, rates: Rates
) -> list[Row]:
    floor = step_floor(
        rates, objective="paper", precision="bf16", n_genes=shape.n_genes, batch_size=BATCH_SIZE
    ).seconds
    rows = []
    for name, values in seconds.items():
        if not values:
            rows.append(failed_row("step", name, contenders[name].failure or "it counts no steps"))
            continue
        # From the end: the last blocks were taken in the same turns.
        common = min(len(values), len(seconds[YARDSTICK]))
        ours = seconds[YARDSTICK][-common:] if common and name != YARDSTICK else None
        kept = values[-common:] if ours else values
        rows.append(row("step", name, kept, baseline=ours, floor_seconds=floor))
    return rows


def _sampling_rows(contenders: dict[str, Contender], shape: Shape, rates: Rates, effort: Effort) -> list[Row]:
    """Rows of the contenders that are still there once each has drawn a few cells untimed."""
    found: dict[str, dict[str, Any]] = {}

    def draw(name: str, n_cells: int) -> float:
        found[name] = contenders[name].turn("sample", sample_cells=n_cells)
        # One that dies in the middle must not keep the others from their turns.
        return float(found[name].get("seconds", "nan"))

    for name, contender in contenders.items():
        if not contender.failure:
            draw(name, UNTIMED_CELLS)
    able = [name for name, contender in contenders.items() if not contender.failure]
    turns = {name: (lambda name=name: draw(name, shape.sample_cells)) for name in able}
    seconds = interleave(turns, repeats=effort.repeats, limit_seconds=effort.limit_seconds) if turns else {}
    rows = []
    for name, contender in contenders.items():
        if contender.failure:
            rows.append(failed_row("sampling", name, contender.failure))
            continue
        n_cells, density = shape.sample_cells, found[name]["density"]
        floor = sampling_floor(
            rates, n_cells=n_cells, n_genes=shape.n_genes, density=density, precision="bf16"
        ).seconds
        ours = seconds.get(YARDSTICK) if name != YARDSTICK else None
        facts = {"n_cells": n_cells, "density": density}
        rows.append(row("sampling", name, seconds[name], baseline=ours, floor_seconds=floor, **facts))
    return rows
