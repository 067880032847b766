"""How many synthetic cells are copies of training cells, or near-copies? About 0.01 of honest ones.

A copy is near to a training cell and not to any test cell. A cell of low variance, say one that is drawn
towards the mean of its type, is near to both. So the distance to the nearest training cell is taken in
units of the distance to the nearest test cell (for a test cell: to the nearest other one), and a cell
counts as copied where that ratio is smaller than for 99 % of the test cells. Held-out cells as the measure
of what is near: Platzer & Reutterer 2021 (doi:10.3389/fdata.2021.679939), whose share of cells that are
nearer to training than to held-out cells is blind where the former are many times the latter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metrics.declaration import Metric, Score
from metrics.near_share import PERCENTILE, first_percentile, scored_share
from metrics.neighbours import nearest
from metrics.rf_auc import SAME_CELL_DISTANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metrics.by_type import Rows
    from metrics.evidence import RealEvidence, SampleEvidence


def nearness(to_train: NDArray[np.float64], to_test: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance to the nearest training cell in units of the distance to the nearest test cell.

    Cells that equal both are as near to either: 1.

    Parameters
    ----------
    to_train, to_test
        Distances of each cell to the nearest training and to the nearest (other) test cell.
    """
    floor = np.full_like(to_train, SAME_CELL_DISTANCE)
    return np.maximum(to_train, floor) / np.maximum(to_test, floor)


def copied_share(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Share of synthetic cells that are nearer to training than to test cells in a way test cells are not.

    Returns
    -------
    Score
        ``copied_share``, on the principal components, and its mean over types. The ratio needs no yardstick
        of a type's own, so that small types are scored, too. Details: the 101 percentiles of the ratio for
        synthetic and test cells, for figures, and the share by type.

    Raises
    ------
    NotApplicable
        With fewer than 100 test cells.
    """
    of_test = nearness(real.test_to_train.distances, real.test_radii(1))
    to_test = nearest(sample.pca_scores, real.pca_scores).distances
    of_synthetic = nearness(sample.to_train.distances, to_test)
    threshold = first_percentile(of_test)

    def measure(_: Rows, synthetic: Rows) -> dict[str, float]:
        return {"copied_share": float(np.mean(of_synthetic[synthetic] < threshold))}

    return scored_share("copied_share", real, sample, measure, of_test=of_test, of_synthetic=of_synthetic)


METRIC = Metric(
    name="copied_share",
    description="share of synthetic cells near to a training cell but not to test cells",
    compute=copied_share,
    better="lower",
    ideal=PERCENTILE,
    bounds=(0.0, 1.0),
    reference="doi:10.3389/fdata.2021.679939",
    cost="nearest training and test cells",
    group="memorisation",
    exempt=("real", "null"),
    alarm=0.05,
    catches=("memorise",),
)
