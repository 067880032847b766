"""How far must cells be moved to become the test cells? Exact Wasserstein distances, ideal 0.

Over all ways of moving the synthetic cells to the test cells, cells of either side weighing alike,
``wasserstein2`` is the root of the least mean squared distance, ``wasserstein1`` the least mean distance
(Peyré & Cuturi 2019, doi:10.1561/2200000073, proposition 2.2). POT's network simplex solves them (Flamary et
al. 2021, JMLR 22:78), as in what the field prints since 2025; the result is exact, not regularised.

Two samples of one distribution are far apart: on 50 components most of the number is the distance of any cell
to the next, and falls slowly with their number. So the control ``real`` is what to compare with, and no
interval stands beside: cells that a bootstrap draws twice would cost twice as much to move away.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import numpy as np

from metrics.accelerator import squared_distances
from metrics.arrays import Floats
from metrics.by_type import Rows, score_with_types
from metrics.cfgen import score_over_types
from metrics.declaration import Metric, NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.protocols import PROTOCOLS

MOST_PIVOTS: Final = 100_000_000
FRAMEWORKS: Final = ("PYTORCH", "JAX", "CUPY", "TENSORFLOW")


def wasserstein2(left: Floats, right: Floats) -> float:
    """Root of the cost of optimal transport at squared Euclidean distances.

    Parameters
    ----------
    left, right
        n × n_dimensions and m × n_dimensions.

    Returns
    -------
    float
        In units of the dimensions.

    Raises
    ------
    NotApplicable
        If the solver does not end.
    """
    return float(np.sqrt(max(0.0, transport_cost(squared_distances(left, right)))))


def wasserstein1(left: Floats, right: Floats) -> float:
    """Cost of optimal transport at Euclidean distances; see `wasserstein2`."""
    return max(0.0, transport_cost(np.sqrt(squared_distances(left, right))))


def transport_cost(costs: Floats) -> float:
    """Return the least mean cost of moving points of equal weight to others of equal weight.

    Parameters
    ----------
    costs
        n × m: of moving one to the other.

    Raises
    ------
    NotApplicable
        If the network simplex does not end within 100 million pivots.
    """
    # Unasked, POT imports each framework that is installed, to compute with none of them.
    for name in FRAMEWORKS:
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{name}", "1")
    from ot import emd2

    n, m = costs.shape
    least, told = emd2(
        np.full(n, 1 / n), np.full(m, 1 / m), np.ascontiguousarray(costs), numItermax=MOST_PIVOTS, log=True
    )
    if told["warning"] is not None:
        raise NotApplicable(f"optimal transport of {n} to {m} cells was not solved: {told['warning']}")
    return float(least)


def _declared(order: int, distance: Callable[[Floats, Floats], float]) -> Metric:
    name, what = f"wasserstein{order}", f"{order}-Wasserstein distance"

    def compute(real: RealEvidence, sample: SampleEvidence) -> Score:
        if real.protocol.over_types:
            return score_over_types(name, distance, real, sample)

        def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
            return {name: distance(real.pca_scores[test], sample.pca_scores[synthetic])}

        return score_with_types(real, sample, measure, against_all=True, notes=real.pca_notes)

    return error_metric(
        name=name,
        description=f"{what} between synthetic and test cells on the principal components",
        compute=compute,
        reference="doi:10.1561/2200000073",
        cost="exact optimal transport between all cells",
        # Not the others: of a hundred cells, chance moves it more than what these lose.
        floors=("shuffle",),
        group="coverage",
        protocols=("strict", *(name for name, protocol in PROTOCOLS.items() if protocol.over_types)),
    )


WASSERSTEIN2 = _declared(2, wasserstein2)
WASSERSTEIN1 = _declared(1, wasserstein1)
