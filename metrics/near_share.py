"""How many synthetic cells lie unusually near to a training cell? About 0.01 of honest ones.

The distance to the closest record, common for synthetic tables (Platzer & Reutterer 2021,
doi:10.3389/fdata.2021.679939), with the test cells as its yardstick: near is what is nearer than 99 % of
the test cells are. Cells of low variance are near without being copies; see `metrics.copied_share`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from metrics.arrays import Floats
from metrics.by_type import Measure, Rows, score_with_types
from metrics.declaration import Metric, NotApplicable, Score
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.resampling import bootstrap_interval
from metrics.seeds import derived_seed

PERCENTILE = 0.01
MINIMUM_TEST_CELLS = 100


def first_percentile(of_test: Floats) -> float:
    """Value that 1 % of the test cells stay below.

    Parameters
    ----------
    of_test
        One value for each test cell.

    Raises
    ------
    NotApplicable
        With fewer than 100 of them.
    """
    if of_test.size < MINIMUM_TEST_CELLS:
        raise NotApplicable(f"{of_test.size} test cells; their 1st percentile needs {MINIMUM_TEST_CELLS}")
    return float(np.quantile(of_test, PERCENTILE))


Threshold: TypeAlias = "Callable[[Floats], float]"


def share_interval(
    of_test: Floats, of_synthetic: Floats, *, threshold: Threshold = first_percentile, seed: int
) -> tuple[float, float]:
    """Bootstrap, over test cells, the share of synthetic cells below a threshold that these set.

    Parameters
    ----------
    of_test, of_synthetic
        One value for each cell.
    threshold
        Function that takes the values of test cells and returns the threshold.
    seed
        Everything random follows from it.
    """
    low, high = bootstrap_interval(
        lambda rows: float(np.mean(of_synthetic < threshold(of_test[rows]))), of_test.size, seed=seed
    )
    return max(0.0, low), min(1.0, high)


def percentiles(test: Floats, synthetic: Floats) -> dict[str, list[float]]:
    """Return the 0th to 100th percentile of both, as details for figures.

    Parameters
    ----------
    test, synthetic
        One value for each cell.
    """
    steps = np.linspace(0, 1, 101)
    return {
        "percentiles": np.quantile(synthetic, steps).tolist(),
        "percentiles_test": np.quantile(test, steps).tolist(),
    }


def scored_share(
    name: str,
    real: RealEvidence,
    sample: SampleEvidence,
    measure: Measure,
    *,
    of_test: Floats,
    of_synthetic: Floats,
    threshold: Threshold = first_percentile,
) -> Score:
    """Score a share of synthetic cells below a threshold that the test cells set.

    Parameters
    ----------
    name
        Name of the metric.
    real, sample, measure
        Evidence of the real cells and of the sample, and the measure, see `metrics.by_type.score_with_types`.
    of_test, of_synthetic
        Value of the quantity for each cell.
    threshold
        Function that takes the values of test cells and returns the threshold, with which `measure` compares.

    Returns
    -------
    Score
        With an interval over the test cells; percentiles of both sides and the threshold among the details.
    """
    seed = derived_seed(real.seed, name)
    interval = share_interval(of_test, of_synthetic, threshold=threshold, seed=seed)
    score = score_with_types(real, sample, measure, interval=interval, notes=real.pca_notes)
    score.details.update(percentiles(of_test, of_synthetic) | {"threshold": threshold(of_test)})
    return score


def near_share(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compare distances to the nearest training cell, on the principal components.

    Returns
    -------
    Score
        ``near_share``, its mean over types, and the median distances of synthetic and of test cells.
        Details: for figures the 101 percentiles of both distances and the threshold; all numbers by type.

    Raises
    ------
    NotApplicable
        With fewer than 100 test cells.
    """
    of_test, of_synthetic = real.test_to_train.distances, sample.to_train.distances

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        return {
            "near_share": float(np.mean(of_synthetic[synthetic] < first_percentile(of_test[test]))),
            "nearest_training_cell": float(np.median(of_synthetic[synthetic])),
            "nearest_training_cell_test": float(np.median(of_test[test])),
        }

    return scored_share("near_share", real, sample, measure, of_test=of_test, of_synthetic=of_synthetic)


METRIC = Metric(
    name="near_share",
    description="share of synthetic cells nearer to a training cell than 99 % of test cells are",
    compute=near_share,
    better="lower",
    ideal=PERCENTILE,
    bounds=(0.0, 1.0),
    reference="doi:10.3389/fdata.2021.679939",
    cost="nearest training cells",
    floors=("memorise",),
    group="memorisation",
    exempt=("real", "null"),
    least_cells=MINIMUM_TEST_CELLS,
)
