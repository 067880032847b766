"""Metrics at work on real cells that are made worse: what they say, what it costs, how much it varies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metrics.declaration import Metric, NotApplicable
from metrics.evidence import SampleEvidence
from metrics.seeds import derived_seed
from metrics.selftest.answers import distances, tolerance
from metrics.selftest.cells import FreshCells, SelfTestCells
from metrics.spaces import CellMatrix, Space


@dataclass(frozen=True)
class Reply:
    """What one metric said of one sample.

    Parameters
    ----------
    value
        The headline value, or None where there is none.
    seconds
        Seconds of processor time over all cores: they do not depend on the machine's other load.
    error
        Reason why there is no value.
    failed
        Whether the reason is a fault, not a metric that does not apply.
    """

    value: float | None
    seconds: float
    error: str | None = None
    failed: bool = False


Ask = Callable[["Metric", "SampleEvidence"], Reply]


def ask(metric: Metric, sample: SampleEvidence) -> Reply:
    """Compute a metric; one that does not apply says why."""
    started = time.process_time()
    try:
        value, reason = metric.compute(sample.real, sample).headline, None
    except NotApplicable as error:
        value, reason = None, str(error)
    return Reply(value, time.process_time() - started, reason)


class Laboratory:
    """Asks metrics about samples and remembers what they said.

    Parameters
    ----------
    cells
        The real cells that samples are made of.
    metrics
        The metrics to ask.
    draws
        Number of draws of unchanged real cells that tell what varies by chance; at least 2.
    ask
        Function that computes one metric on one sample.
    tell
        Function that is called with a line before each sample.
    """

    def __init__(
        self,
        cells: SelfTestCells,
        metrics: Sequence[Metric],
        *,
        draws: int,
        ask: Ask = ask,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        if draws < 2:
            raise ValueError(f"draws is {draws}; what varies by chance takes at least 2")
        self.cells = cells
        self.metrics = {metric.name: metric for metric in metrics}
        self.draws = draws
        self._ask = ask
        self._tell = tell
        self._seconds: dict[str, list[float]] = {name: [] for name in self.metrics}
        self.errors: dict[str, list[str]] = {name: [] for name in self.metrics}
        self.failures: dict[str, str] = {}

    @cached_property
    def fresh(self) -> FreshCells:
        """The cells that ladders and traps start from: the first draw."""
        return self.cells.draw(0)

    def ask(
        self, what: str, matrix: CellMatrix, *, space: Space = "counts", of: Sequence[str] | None = None
    ) -> dict[str, float | None]:
        """Ask metrics about cells.

        Parameters
        ----------
        what
            Description of the cells, in words.
        matrix, space
            Cells × genes, and the space of their values; see `metrics.evidence.SampleEvidence`.
        of
            Names of metrics, those that are not here passed over; None for all.

        Returns
        -------
        dict
            The headline of each metric asked, None where it does not apply.
        """
        self._tell(what)
        sample = self.cells.sample(matrix, space=space)
        values: dict[str, float | None] = {}
        for name, metric in self.metrics.items():
            if of is not None and name not in of:
                continue
            reply = self._ask(metric, sample)
            values[name] = reply.value
            if reply.error is None:
                self._seconds[name].append(reply.seconds)
            elif reply.error not in self.errors[name]:
                self.errors[name].append(reply.error)
            if reply.failed:
                self.failures[name] = f"{what}: {reply.error}"
        return values

    @cached_property
    def clean(self) -> dict[str, list[float | None]]:
        """For each metric its value for each draw of unchanged real cells."""
        asked = [
            self.ask(f"real cells, draw {number + 1} of {self.draws}", self.cells.draw(number).counts)
            for number in range(self.draws)
        ]
        return {name: [values[name] for values in asked] for name in self.metrics}

    @cached_property
    def tolerances(self) -> dict[str, float]:
        """For each metric what counts as chance, see `metrics.selftest.answers.tolerance`."""
        share = self.cells.share_drawn
        return {
            name: tolerance([value for value in values if value is not None], share_drawn=share)
            for name, values in self.clean.items()
        }

    def badness(self, name: str, value: float) -> float:
        """Return how much farther from the ideal a value is than unchanged cells', in tolerances."""
        clean = self.clean[name][0]
        if clean is None:
            return float("nan")
        of_clean, of_value = distances(self.metrics[name], [clean, value])
        return float(of_value - of_clean) / self.tolerances[name]

    def seconds(self, name: str) -> float | None:
        """Return the median cost of a metric, without what it shares with others: that is paid once."""
        return float(np.median(self._seconds[name])) if self._seconds[name] else None

    def seed(self, purpose: str) -> int:
        """Return the seed of one purpose."""
        return derived_seed(self.cells.seed, purpose)
