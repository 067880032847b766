"""A generator that is trained, drawn from and counted again and again, in a process of `bench.work.serve`."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.request.hyperparameters import hyperparameters
from bench.request.registry import resolve_model
from bench.work.clock import PhaseClock, once, training_rate
from bench.work.contract import in_csr
from bench.work.origin import import_from, require_own
from bench.work.paced import ClockMonitor, PacedMonitor
from models.base import Budget, Generator, Monitor

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

SEED = 0
KERNEL_CALLS = 5
Words = dict[str, Any]


class Opened:
    """A generator's class and the cells it is trained on again and again.

    Parameters
    ----------
    order
        Words of the request ``open`` (`bench.work.serve`).
    """

    def __init__(self, order: Words) -> None:
        import anndata

        import_from(Path(order["root"]) if "root" in order else None)
        self.order = order
        self.kind = resolve_model(order["model"]).generator
        cells = anndata.read_h5ad(order["cells"])
        self.train: AnnData = cells[cells.obs["split"] == "train"].copy()
        given: Words = order.get("settings") or {}
        every = hyperparameters(self.kind, given)
        found = self.kind.settle(every, n_genes=self.train.n_vars, device=order["device"])
        # What is left to this machine, too.
        self.settings = given | {name: value for name, (value, _) in found.items()}
        self._trained: Generator | None = None

    def describe(self) -> Words:
        """Return whose code this is, or why it cannot run here."""
        self.require_own_modules()
        if (reason := self.kind.skip(self.train)) is not None:
            return {"skip": reason}
        return {"file": inspect.getfile(self.kind), "name": self.kind.name, "settings": self.settings}

    def require_own_modules(self) -> None:
        """Refuse modules of the checkout that this one is compared with."""
        if "other" in self.order:
            require_own(Path(self.order["root"]), Path(self.order["other"]))

    def made(self) -> Generator:
        """Return a new generator, prepared."""
        generator = self.kind(**hyperparameters(self.kind, self.settings))
        generator.prepare(self.train)
        return generator

    def train_with(self, generator: Generator, monitor: Monitor) -> None:
        """Train a generator on the cells of the order."""
        budget = Budget.parse(self.order["budget"])
        generator.fit(self.train, seed=SEED, device=self.order["device"], budget=budget, monitor=monitor)

    @property
    def trained(self) -> Generator:
        """The generator last trained."""
        assert self._trained is not None
        return self._trained

    def fit(self) -> Words:
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

    def train_in_blocks(self, steps: int, turn: Callable[[str, float], None]) -> Words:
        """Train anew, with a turn after each block of steps."""
        self._trained = generator = self.made()
        monitor = PacedMonitor(steps=steps, turn=turn)
        monitor.synchronise = generator.synchronise
        with monitor.phase("fit"):
            self.train_with(generator, monitor)
        return {"trained": True}

    def sample(self) -> Words:
        """Draw from the generator last trained."""
        generator, n_cells = self.trained, self.order["sample_cells"]
        gc.collect()
        seconds = once(lambda: generator.sample(n_cells, seed=SEED), generator.synchronise)
        return {"seconds": {"sample": seconds}}

    def draw(self, n_cells: int) -> Words:
        """Draw cells to the host's CSR, piece by piece, and return seconds and density."""
        generator = self.trained
        last: list[csr_matrix] = []

        def pieces() -> None:
            for piece in generator.sample_chunks(n_cells, seed=SEED):
                last[:] = [in_csr(piece.X)]

        seconds = once(pieces, generator.synchronise)
        # Zeros that are stored are none; to look for them in every piece takes time that would count.
        n_rows, n_genes = last[0].shape
        return {"seconds": seconds, "density": last[0].count_nonzero() / (n_rows * n_genes)}

    def calibrate(self) -> Words:
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
