"""One generator in a process of its own, which takes its turns as it is told.

``python -m bench.speed.contender`` is what `bench.speed.contenders` starts. It reads a line of JSON, the
`Order`, answers each further line with a line of JSON, and ends with its input.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.request.hyperparameters import hyperparameters
from bench.request.registry import resolve_model
from bench.speed.rounds import once
from bench.work.clock import PhaseClock
from bench.work.contract import in_csr
from bench.work.processes import keep_output_for_answers
from bench.work.resources import die_with_parent
from models.base import Budget

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from models.base import Generator

Answer = Callable[[dict[str, Any]], None]


class PacedMonitor:
    """A `models.base.Monitor` that lets a training go on by blocks of steps, a block a turn.

    A block lies within one phase: where a phase ends, the steps since the last turn are not timed.

    Parameters
    ----------
    steps
        Of a block.
    turn
        Given the phase and the seconds of a step of each block; returns when the next may begin.
    timer
        Seconds from an arbitrary origin.

    Attributes
    ----------
    synchronise
        Waits until the device has finished.
    """

    resume_from: Path | None = None

    def __init__(
        self,
        *,
        steps: int,
        turn: Callable[[str, float], None],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.synchronise: Callable[[], None] = lambda: None
        self._steps = steps
        self._turn = turn
        self._timer = timer
        self._clock = PhaseClock(timer=timer)
        self._phase: str | None = None
        self._done = 0
        self._started = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note the phase; what its end leaves of a block, a recording within it above all, is not timed."""
        with self._clock.phase(name):
            yield
        self._phase = None

    def log(self, step: int, **values: float) -> None:
        """Keep nothing."""

    def checkpoint(self, save: Callable[[Path], None]) -> None:
        """Save nothing."""

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Count steps; take a turn when a block is full."""
        if self._clock.current != self._phase:
            # The first step of a phase may compile.
            self._begin()
            return
        self._done += steps
        if self._done >= self._steps:
            self.synchronise()
            self._turn(self._phase, (self._timer() - self._started) / self._done)
            self._begin()

    def _begin(self) -> None:
        self.synchronise()
        self._phase, self._done, self._started = self._clock.current, 0, self._timer()


def main() -> int:
    """Do as the lines of the standard input say."""
    answers = keep_output_for_answers()
    order = json.loads(sys.stdin.readline())
    die_with_parent(order["parent"])
    sys.path.append(str(Path.cwd()))

    def answer(words: dict[str, Any]) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    try:
        _compete(order, answer)
    except Exception as error:  # noqa: BLE001 - the process boundary: a failure becomes a row of the table
        traceback.print_exc()
        answer({"failed": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def _compete(order: dict[str, Any], answer: Answer) -> None:
    generator_class = resolve_model(order["model"]).generator
    train = _training_cells(Path(order["cells"]))
    if (reason := generator_class.skip(train)) is not None:
        answer({"failed": reason})
        return
    generator = generator_class(**hyperparameters(generator_class, order["hyperparameters"]))
    generator.prepare(train)
    answer({"ready": True})

    def turn(phase: str, seconds: float) -> None:
        answer({"phase": phase, "seconds": seconds})
        sys.stdin.readline()

    sys.stdin.readline()
    monitor = PacedMonitor(steps=order["steps"], turn=turn)
    monitor.synchronise = generator.synchronise
    budget = Budget(order["budget_steps"], "steps")
    with monitor.phase("fit"):
        generator.fit(train, seed=0, device=order["device"], budget=budget, monitor=monitor)
    answer({"trained": True})
    del train
    for words in sys.stdin:
        answer(_draw(generator, json.loads(words)["sample_cells"]))


def _draw(generator: Generator, n_cells: int) -> dict[str, Any]:
    """Draw cells to the host's CSR, piece by piece, and return seconds and density."""
    last: list[csr_matrix] = []

    def draw() -> None:
        for piece in generator.sample_chunks(n_cells, seed=0):
            last[:] = [in_csr(piece.X)]

    seconds = once(draw, generator.synchronise)
    # Zeros that are stored are none; to look for them in every piece takes time that would count.
    return {"seconds": seconds, "density": last[0].count_nonzero() / (last[0].shape[0] * last[0].shape[1])}


def _training_cells(path: Path) -> AnnData:
    import datasets

    adata = datasets.load(path)
    return adata[adata.obs["split"] == "train"].copy()


if __name__ == "__main__":
    sys.exit(main())
