"""One checkout's generator in a process of its own, which does as it is asked, line by line.

``python -P -m bench.gate.worker`` is what `bench.gate.sides.Worker` starts. In this repository base's worker
is base's version of this file, so the lines are a contract between versions:

==============================================  ==========================================================
asked                                           answered
==============================================  ==========================================================
(nothing: on starting)                          ``{"gate_worker": 1}``, the protocol
``open`` parent, root, other, model, cells,     ``{"file": …, "name": …, "settings": …}``, or
device, budget, sample_cells, settings          ``{"skip": reason}``
``fit``                                         ``{"seconds": {"fit": …, "step": …}}``, of a new generator
``sample``                                      ``{"seconds": {"sample": …}}``, of the one last trained
``calibrate``                                   ``{"seconds": {"kernel": …}}``
``count``                                       ``{"counts": …, "curve": …, "versions": …}``
whatever goes wrong                             ``{"failed": "the error, in one line"}``
==============================================  ==========================================================

``settings`` are hyper-parameters; the answer adds to them what the model leaves to the machine, so that the
other side, or a later count, can be given the same.

A model comes from the checkout at ``root``. So does this package where the checkout is one of it; elsewhere
it is the installed one, even if the checkout has a folder ``bench`` or ``models``. A module that comes from
the checkout at ``other`` is an error.
"""

from __future__ import annotations

import gc
import inspect
import json
import sys
import traceback
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.gate.origin import import_from, require_own
from bench.gate.sides import PROTOCOL
from bench.request.hyperparameters import hyperparameters
from bench.request.registry import resolve_model
from bench.speed.rounds import once
from bench.work.clock import PhaseClock, training_rate
from bench.work.processes import keep_output_for_answers
from bench.work.resources import die_with_parent
from models.base import Budget, SilentMonitor

if TYPE_CHECKING:
    from anndata import AnnData

    from models.base import Generator

SEED = 0
KERNEL_CALLS = 5


class ClockMonitor(SilentMonitor):
    """A `models.base.Monitor` that times phases and counts their steps."""

    def __init__(self, clock: PhaseClock) -> None:
        self._clock = clock

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time what happens inside."""
        return self._clock.phase(name)

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Count steps."""
        self._clock.add_steps(steps)


class Opened:
    """A generator's class and the cells it is trained on again and again.

    Parameters
    ----------
    order
        The words that came with ``open``.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        import anndata

        import_from(Path(order["root"]))
        self.order = order
        self.kind = resolve_model(order["model"]).generator
        cells = anndata.read_h5ad(order["cells"])
        self.train: AnnData = cells[cells.obs["split"] == "train"].copy()
        self.settings = self._settled(order.get("settings") or {})
        self._trained: Generator | None = None

    def describe(self) -> dict[str, Any]:
        """Return whose code this is, or why it cannot run here."""
        self.require_own_modules()
        if (reason := self.kind.skip(self.train)) is not None:
            return {"skip": reason}
        return {"file": inspect.getfile(self.kind), "name": self.kind.name, "settings": self.settings}

    def _settled(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the settings given and those that are left to this machine."""
        every = hyperparameters(self.kind, given)
        found = self.kind.settle(every, n_genes=self.train.n_vars, device=self.order["device"])
        return given | {name: value for name, (value, _) in found.items()}

    def require_own_modules(self) -> None:
        """Refuse modules of the checkout that this one is compared with."""
        if "other" in self.order:
            require_own(Path(self.order["root"]), Path(self.order["other"]))

    def made(self) -> Generator:
        """Return a new generator, prepared."""
        generator = self.kind(**hyperparameters(self.kind, self.settings))
        generator.prepare(self.train)
        return generator

    def fit(self) -> dict[str, Any]:
        """Train anew; the same seed, so the same work, every time."""
        self._trained = generator = self.made()
        clock = PhaseClock(generator.synchronise)
        # What earlier calls left to the collector is no part of this one.
        gc.collect()
        with clock.phase("fit"):
            self.train_with(generator, ClockMonitor(clock))
        rate: dict[str, float] = training_rate(clock.seconds, clock.steps)  # type: ignore[assignment]
        seconds = {"fit": rate["seconds"]}
        if rate["steps_per_second"]:
            seconds["step"] = 1 / rate["steps_per_second"]
        return {"seconds": seconds}

    def train_with(self, generator: Generator, monitor: Any) -> None:
        """Train a generator on the cells of the order."""
        budget = Budget.parse(self.order["budget"])
        generator.fit(self.train, seed=SEED, device=self.order["device"], budget=budget, monitor=monitor)

    def sample(self) -> dict[str, Any]:
        """Draw from the generator last trained."""
        generator = self._trained
        assert generator is not None
        gc.collect()
        seconds = once(lambda: generator.sample(self.order["sample_cells"], seed=SEED), generator.synchronise)
        return {"seconds": {"sample": seconds}}

    def calibrate(self) -> dict[str, Any]:
        """Time a fixed matrix product and a pass over memory: equal in base and head but for the machine.

        The median of `KERNEL_CALLS`: a call is so short that an interruption makes it half as long again.
        """
        factor, memory = self._kernel

        def kernel() -> None:
            factor @ factor
            memory.sum()

        calls = [once(kernel, lambda: None) for _ in range(KERNEL_CALLS)]
        return {"seconds": {"kernel": median(calls)}}

    @cached_property
    def _kernel(self) -> tuple[Any, Any]:
        import numpy as np

        return np.full((1024, 1024), 0.5, np.float32), np.ones(2**24, np.float32)

    def count(self) -> dict[str, Any]:
        """Count what a training and a sample do."""
        from bench.gate.counting import count

        return count(self)


def main() -> int:
    """Answer the lines of the standard input until it ends."""
    answers = keep_output_for_answers()
    opened: Opened | None = None

    def answer(words: dict[str, Any]) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    answer({"gate_worker": PROTOCOL})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["do"] == "open":
                die_with_parent(order["parent"])
                opened = Opened(order)
                answer(opened.describe())
            else:
                assert opened is not None
                actions = {name: getattr(opened, name) for name in ("fit", "sample", "calibrate", "count")}
                done = actions[order["do"]]()
                opened.require_own_modules()
                answer(done)
        except Exception as error:  # noqa: BLE001 - the process boundary: a failure becomes a finding
            traceback.print_exc()
            message = (str(error).strip().splitlines() or [""])[0]
            answer({"failed": f"{type(error).__name__}: {message}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
