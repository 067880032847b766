"""Counts of one training and one sample, in the worker: what does not depend on the machine's load."""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import Any, Protocol, Self

from bench.work.opened import Opened
from models.base import SilentMonitor


class Counter(AbstractContextManager["Counter"], Protocol):
    """What a framework's counter offers while it is open as a context."""

    def totals(self) -> dict[str, int]:
        """Return what has been counted so far, growing."""

    def peaks(self) -> dict[str, int]:
        """Return the largest values since the last call."""


class TensorFlowCounter:
    """Counts TensorFlow's operators through the hook that TensorFlow's own debugger uses.

    A graph is counted once, while it is traced, and each of its calls as one operator: an operator more in a
    training step is one more in the graph. What a call of a graph writes and takes is not seen.
    """

    def __init__(self) -> None:
        self._totals = {"graph operators": 0, "called operators": 0}

    def totals(self) -> dict[str, int]:
        """Return ``graph operators`` and ``called operators`` so far."""
        return self._totals.copy()

    def peaks(self) -> dict[str, int]:
        """Return nothing: TensorFlow tells no peak on the CPU."""
        return {}

    def _note(
        self, op_type: str, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None
    ) -> None:
        self._totals["called operators" if graph is None else "graph operators"] += 1

    def __enter__(self) -> Self:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.add_op_callback(self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.remove_op_callback(self._note)


class CountingMonitor(SilentMonitor):
    """A `models.base.Monitor` that reads the counters after every step.

    Attributes
    ----------
    curve
        Logged values, with the phase and the steps done in it.
    """

    def __init__(self, counters: list[Counter]) -> None:
        self.curve: list[dict[str, Any]] = []
        self._counters = counters
        self._phases = ["fit"]
        self._steps: dict[str, int] = {}
        self._of_steps: dict[str, list[dict[str, float]]] = {}
        self._last = totals(counters)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note the phase."""
        self._phases.append(name)
        try:
            yield
        finally:
            self._phases.pop()

    def log(self, step: int, **values: float) -> None:
        """Keep the values."""
        phase = self._phases[-1]
        values = {name: float(value) for name, value in values.items()}
        self.curve.append({"phase": phase, "steps": self._steps.get(phase, 0), "values": values})

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Count steps, and what each of them did."""
        phase, now = self._phases[-1], totals(self._counters)
        self._steps[phase] = self._steps.get(phase, 0) + steps
        if steps:
            done = {name: (now[name] - self._last[name]) / steps for name in now}
            self._of_steps.setdefault(phase, []).append(done)
        self._last = now

    def counts(self) -> dict[str, float]:
        """Return the steps of all phases, and the median step of that with the most of them."""
        if not self._steps:
            return {}
        steps = self._of_steps[max(self._of_steps, key=lambda phase: self._steps[phase])]
        medians = {f"step {name}": statistics.median(step[name] for step in steps) for name in steps[0]}
        return {"training steps": sum(self._steps.values()), **medians}


def totals(counters: list[Counter]) -> dict[str, int]:
    """Return all that several counters have counted."""
    return {name: number for counter in counters for name, number in counter.totals().items()}


def count(opened: Opened) -> dict[str, Any]:
    """Count what a training and a sample of a generator do.

    Returns
    -------
    dict
        ``counts`` by words; the ``curve`` of logged values; the ``versions`` of the frameworks whose
        operators were counted, empty if the generator uses none of those known here. A framework that did
        nothing has no counts.
    """
    generator = opened.made()
    with ExitStack() as stack:
        # When the collector runs depends on everything else in the process; the peak must not.
        gc.collect()
        gc.disable()
        stack.callback(gc.enable)
        counters = {module: stack.enter_context(made()) for module, made in _counters(generator.framework)}
        every = list(counters.values())
        monitor = CountingMonitor(every)
        opened.train_with(generator, monitor)
        fit, peaks = totals(every), _peaks(every)
        generator.sample(opened.order["sample_cells"], seed=0)
        sample = {name: number - fit[name] for name, number in totals(every).items()}
        counts = monitor.counts() | _named("fit", fit | peaks) | _named("sample", sample | _peaks(every))
    idle = {module: counter for module, counter in counters.items() if not any(counter.totals().values())}
    unused = {name for counter in idle.values() for name in counter.totals() | counter.peaks()}
    return {
        # Their names begin with what was counted: step, fit or sample.
        "counts": {name: n for name, n in counts.items() if name.partition(" ")[2] not in unused},
        "curve": monitor.curve,
        "versions": {module: import_module(module).__version__ for module in counters if module not in idle},
    }


def _counters(declared: str) -> Iterator[tuple[str, Callable[[], Counter]]]:
    """Yield the counter of each framework that a generator declares, or whose module has been imported."""
    if declared == "pytorch" or "torch" in sys.modules:
        # Its class is one of PyTorch's, which not every generator has imported.
        from bench.work.counting_torch import OperatorCounter

        yield "torch", OperatorCounter
    if declared == "tensorflow" or "tensorflow" in sys.modules:
        yield "tensorflow", TensorFlowCounter


def _peaks(counters: list[Counter]) -> dict[str, int]:
    return {name: number for counter in counters for name, number in counter.peaks().items()}


def _named(what: str, numbers: dict[str, int]) -> dict[str, float]:
    return {f"{what} {name}": number for name, number in numbers.items()}
