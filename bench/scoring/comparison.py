"""With which real cells a sample is compared, how many a side, and under which protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from bench.request.seeds import derive
from metrics.protocols import Protocol, protocol_named

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from bench.request.plan import Job

METRICS_SEED = derive(0, "metrics")
"""The metrics' branch of the seed tree: the same test cells for every run on a data set."""


@dataclass(frozen=True)
class Comparison:
    """One question that metrics are asked; scores compare only under one protocol and number of cells.

    Attributes
    ----------
    protocol
        Protocol that the scores have in common.
    n_cells
        Number of cells a side: equal for all models and controls of a run, as most metrics depend on it.
    real
        Cells that are used as test cells. ``test``: the test split. ``null``: the half of the control pool
        that the control ``null`` does not draw from. ``halves``: one half of the test split, for the control
        ``real`` of a protocol that compares it with the other half.
    seed
        Seed of the halves, which differ between seeds so that scores vary as those of models do; otherwise 0.
    """

    protocol: Protocol
    n_cells: int
    real: Literal["test", "null", "halves"] = "test"
    seed: int = 0

    @classmethod
    def of_run(cls, protocol: str, *, n_made: int, asked: bool, n_test: int) -> Self:
        """Return what the models of a run are compared with.

        Parameters
        ----------
        protocol
            Name of the protocol.
        n_made
            Number of cells that each generator makes.
        asked
            Whether the request gave that number, which then holds for every protocol.
        n_test
            Number of cells of the test split. A protocol whose control compares halves of it uses at most one
            half.
        """
        chosen = protocol_named(protocol)
        n_cells = n_made if asked else chosen.cells_a_side(n_made)
        return cls(chosen, min(n_cells, n_test // 2) if chosen.control == "test_halves" else n_cells)

    @classmethod
    def of_job(cls, job: Job, sample_seed: int, protocol: str, *, request: Mapping[str, Any]) -> Self:
        """Return what a sample of a Job is compared with, under the protocol whose scores stand for it.

        Parameters
        ----------
        job, sample_seed
            The sample that is compared.
        protocol
            The protocol that was asked for.
        request
            The stored request of the run.
        """
        name = job.scored_under(protocol)
        if job.experiment.kind != "main":
            return cls(protocol_named(name), job.n_cells)
        asked = request["spec"]["cells"] is not None
        found = cls.of_run(name, n_made=job.n_cells, asked=asked, n_test=request["n_test"])
        if job.role == "null":
            return cls(found.protocol, found.n_cells, "null")
        if job.role == "ceiling" and found.protocol.control == "test_halves":
            return cls(found.protocol, found.n_cells, "halves", derive(job.seed, "test halves", sample_seed))
        return found

    @classmethod
    def of_files(cls, protocol: str, *, available: int, asked: int | None) -> Self:
        """Return what cells made elsewhere are compared with: files that know neither controls nor halves.

        Parameters
        ----------
        protocol
            Name of the protocol.
        available
            Number of cells that either side has at least.
        asked
            Number of cells a side that was requested, or None.
        """
        chosen = protocol_named(protocol)
        return cls(chosen, asked or chosen.cells_a_side(available))

    def test_cells(self, obs: pd.DataFrame) -> NDArray[np.bool_] | None:
        """Return of each prepared cell whether it stands as a test cell; None for those of the test split."""
        if self.real == "null":
            return np.asarray(obs["null_half"] == 1)
        if self.real == "halves":
            return self._halves(obs) == 1
        return None

    def other_half(self, obs: pd.DataFrame) -> NDArray[np.int64]:
        """Return the rows of the half that stands as the sample where `real` is ``halves``."""
        return np.flatnonzero(self._halves(obs) == 2)

    def _halves(self, obs: pd.DataFrame) -> NDArray[np.int8]:
        """Return 1 and 2 for two random halves of the test cells, 0 for all other cells."""
        cells = np.random.default_rng(self.seed).permutation(np.flatnonzero(obs["split"] == "test"))
        halves, size = np.zeros(len(obs), dtype=np.int8), len(cells) // 2
        halves[cells[:size]], halves[cells[size : 2 * size]] = 1, 2
        return halves
