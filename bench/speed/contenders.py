"""Any generators side by side, each in a process of its own, asked for one repeat at a time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from bench.errors import refused
from bench.hardware import usable_cores
from bench.hardware.environment import worker_environment
from bench.request.registry import resolve_model
from bench.speed.rounds import interleave
from bench.speed.table import Row, failed_row, row
from bench.speed.workload import Effort, Request, Shape
from bench.work.lines import Answer, Server, WorkerFailed
from bench.work.processes import with_own_code

STEPS_ON_GPU = 50
UNTIMED_CELLS = 512


class Contender(Server):
    """A generator's process.

    Parameters
    ----------
    order
        Words of the order to open a generator; see `bench.work.serve`.
    log
        File for all that it prints.

    Attributes
    ----------
    failure
        Reason why it takes no more turns, or None.
    """

    def __init__(self, order: dict[str, Any], *, log: Path) -> None:
        environment = with_own_code(worker_environment(order["device"], usable_cores()))
        super().__init__(environment=environment, log=log)
        self.failure: str | None = None
        try:
            self.greet()
            self.failure = self.open(**order).get("skip")
        except WorkerFailed as error:
            self.failure = str(error)

    def turn(self, do: str, **words: Any) -> Answer:
        """Ask for something; one that is gone or gives up has a `failure`, and answers nothing."""
        try:
            return self.ask(do, **words)
        except WorkerFailed as error:
            self.failure = str(error)
            return {}


def measure_contenders(request: Request, *, folder: Path) -> list[Row]:
    """Measure a training step and sampling of registered generators, in turns.

    Parameters
    ----------
    request
        Request whose names are models (a name, ``file.py:Class`` or ``module:Class``); the others are
        compared with the first.
    folder
        Folder for the contenders' logs.

    Raises
    ------
    RequestError
        If a model cannot be found.
    """
    shape, choices = request.shape, {choice.name: choice for choice in map(resolve_model, request.names)}
    steps = STEPS_ON_GPU if request.device == "cuda" else 1
    order = {
        "cells": prepared_cells(f"synthetic:{shape.n_cells}x{shape.n_genes}x{shape.n_types}"),
        "device": request.device,
        "budget": f"{2 * (request.effort.repeats + 2) * steps} steps",
    }
    with contextlib.ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for name, choice in choices.items():
            words = order | {"model": choice.reference}
            contenders[name] = stack.enter_context(Contender(words, log=folder / f"{name}.log"))
        rows = _step_rows(train_in_turns(contenders, steps=steps), contenders)
        return rows + _sampling_rows(contenders, shape, request.effort)


def train_in_turns(contenders: dict[str, Contender], *, steps: int) -> dict[str, list[float]]:
    """Train all contenders, a block of steps each in turn; return the seconds of a step by block.

    Only the phase with the most blocks counts, as steps of different phases are different work.
    """
    blocks: dict[str, dict[str, list[float]]] = {name: {} for name in contenders}
    waiting = {name: contender for name, contender in contenders.items() if not contender.failure}
    while waiting:
        for name, contender in list(waiting.items()):
            answer = contender.turn("train", steps=steps)
            if "phase" in answer:
                blocks[name].setdefault(answer["phase"], []).append(answer["seconds"])
            else:
                del waiting[name]
    return {name: max(phases.values(), key=len, default=[]) for name, phases in blocks.items()}


def prepared_cells(dataset: str) -> str:
    """Return the file of a prepared data set, drawn if it is not there yet.

    Raises
    ------
    RequestError
        If it cannot be had.
    """
    import datasets

    with refused(datasets.DatasetError):
        return str(datasets.prepare(dataset).path)


def _step_rows(seconds: dict[str, list[float]], contenders: dict[str, Contender]) -> list[Row]:
    yardstick = next(iter(contenders))
    rows = []
    for name, values in seconds.items():
        if not values:
            rows.append(failed_row("step", name, contenders[name].failure or "it counts no steps"))
            continue
        # From the end: the last blocks were taken in the same turns.
        common = min(len(values), len(seconds[yardstick])) if name != yardstick else 0
        baseline = seconds[yardstick][-common:] if common else None
        rows.append(row("step", name, values[-common:], baseline=baseline))
    return rows


def _sampling_rows(contenders: dict[str, Contender], shape: Shape, effort: Effort) -> list[Row]:
    """Rows of the contenders that are still there once each has drawn a few cells untimed."""
    found: dict[str, Answer] = {}

    def draw(name: str, n_cells: int) -> float:
        found[name] = contenders[name].turn("draw", n_cells=n_cells)
        # One that dies in the middle must not keep the others from their turns.
        return float(found[name].get("seconds", "nan"))

    for name, contender in contenders.items():
        if not contender.failure:
            draw(name, UNTIMED_CELLS)
    able = [name for name, contender in contenders.items() if not contender.failure]
    turns = {name: (lambda name=name: draw(name, shape.sample_cells)) for name in able}
    seconds = interleave(turns, repeats=effort.repeats, limit_seconds=effort.limit_seconds) if turns else {}
    yardstick, rows = next(iter(contenders)), []
    for name, contender in contenders.items():
        if contender.failure:
            rows.append(failed_row("sampling", name, contender.failure))
            continue
        baseline = seconds.get(yardstick) if name != yardstick and not contenders[yardstick].failure else None
        facts = {"n_cells": shape.sample_cells, "density": found[name]["density"]}
        rows.append(row("sampling", name, seconds[name], baseline=baseline, **facts))
    return rows
