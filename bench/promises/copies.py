"""Are a generator's cells those that it was trained on? What the metrics see of it on tiny cells."""

from __future__ import annotations

from typing import NamedTuple

from bench.promises.workbench import Workbench
from metrics.copied_share import METRIC, copied_share
from metrics.duplicates import duplicates
from metrics.evidence import RealEvidence, SampleEvidence


class Copies(NamedTuple):
    """Share of copies among the synthetic cells, and from which share on that is an alarm."""

    share: float
    alarm: float


def copies_of(bench: Workbench) -> Copies:
    """Return the larger of `copied_share` and `duplicates`, of as many cells as there are test cells."""
    real = RealEvidence.from_adata(bench.adata, seed=0)
    cells = bench.draw(bench.generator, real.n_cells)
    sample = SampleEvidence(real, cells.X, space=bench.generator.space)
    scores = (
        copied_share(real, sample).values["copied_share"],
        duplicates(real, sample).values["duplicates"],
    )
    assert METRIC.alarm is not None
    return Copies(max(scores), METRIC.alarm)
