"""How many synthetic cells are copies of training cells, or near-copies? None of honest ones.

A copy is near to one training cell and far from all others. A cell of low variance, say one that is drawn
towards the mean of its type, is near to many. So the distance to the nearest training cell is taken in units
of that to the second nearest: the nearest-neighbour distance ratio (Lowe 2004, where it tells a match from a
chance likeness; used of synthetic tables by Zhao et al. 2021, doi:10.48550/arXiv.2102.08369).

How small a ratio chance makes depends on the data, so held-out cells say. Where cells lie evenly in d
dimensions, a share rᵈ of them has a ratio below r. Whatever d is, the square of what 1 % of the test cells
stay below is thus what 1 in 10 000 honest cells would: below it, a cell counts as copied.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats
from metrics.by_type import Rows
from metrics.declaration import NotApplicable, Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.near_share import MINIMUM_TEST_CELLS, first_percentile, scored_share
from metrics.neighbours import Neighbours
from metrics.rf_auc import SAME_CELL_DISTANCE


def nearness(found: Neighbours) -> Floats:
    """Distance to the nearest cell in units of the distance to the second nearest, 0 to 1.

    Copies of a cell that is there twice have 1: `metrics.duplicates` sees these.

    Parameters
    ----------
    found
        The nearest training cells of n cells.
    """
    first, second = (np.maximum(d, SAME_CELL_DISTANCE) for d in (found.distances, found.second_distances))
    return np.asarray(first / second, dtype=np.float64)


def copy_threshold(of_test: Floats) -> float:
    """Nearness below which a cell counts as copied: that of 1 in 10 000 honest cells.

    Parameters
    ----------
    of_test
        Nearness of each test cell.

    Raises
    ------
    NotApplicable
        With fewer than 100 test cells.
    """
    return first_percentile(of_test) ** 2


def copied_share(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Share of synthetic cells so much nearer to one training cell than to any other that it is no chance.

    Returns
    -------
    Score
        ``copied_share``, on the principal components, and its mean over types. The ratio needs no yardstick
        of a type's own, so that small types are scored, too. Details: the 101 percentiles of the ratio for
        synthetic and test cells and the threshold, for figures, and the share by type.

    Raises
    ------
    NotApplicable
        With fewer than 100 test cells or 2 training cells.
    """
    if len(real.train_pca_scores) < 2:
        raise NotApplicable("1 training cell; the second nearest needs 2")
    of_test, of_synthetic = nearness(real.test_to_train), nearness(sample.to_train)
    threshold = copy_threshold(of_test)

    def measure(_: Rows, synthetic: Rows) -> dict[str, float]:
        return {"copied_share": float(np.mean(of_synthetic[synthetic] < threshold))}

    return scored_share(
        "copied_share",
        real,
        sample,
        measure,
        of_test=of_test,
        of_synthetic=of_synthetic,
        threshold=copy_threshold,
    )


METRIC = error_metric(
    name="copied_share",
    description="share of synthetic cells far nearer to one training cell than to any other",
    compute=copied_share,
    bounds=(0.0, 1.0),
    reference="doi:10.1023/B:VISI.0000029664.99615.94",
    cost="nearest training cells",
    floors=("memorise",),
    group="memorisation",
    exempt=("real", "null"),
    alarm=0.05,
    catches=("memorise",),
    least_cells=MINIMUM_TEST_CELLS,
    default=True,
)
