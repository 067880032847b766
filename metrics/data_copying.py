"""Does a generator copy? C_T asks whether synthetic cells lie nearer to training cells than test cells do.

Meehan, Chaudhuri & Dasgupta 2020 (doi:10.48550/arXiv.2004.05675), section 4: a Mann–Whitney test of the
distances to the nearest training cell within each region of a k-means partition of the training cells,
averaged over regions. 0 for cells like the test cells, far below 0 for copies, above 0 for cells that fit
badly. The partition compares like with like. It does not help against a generator of low variance: cells
drawn towards the middle of a region lie near training cells without being copies, and C_T cannot tell
(`metrics.copied_share` can).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.by_type import Rows, score_with_types
from metrics.declaration import Metric, NotApplicable, Score
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.neighbours import nearest
from metrics.resampling import bootstrap_weights, shifted_percentile_interval
from metrics.roc import placements
from metrics.seeds import derived_seed

MINIMUM_CELLS_OF_REGION = 20
TEST_CELLS_PER_REGION = 100


def copying_z(placed: Floats, *, n_synthetic: int, weights: Floats) -> Floats:
    """Standardised Mann–Whitney statistic of one region, corrected neither for ties nor for continuity.

    The authors' code corrects for continuity, which draws a number towards 0: −0.694 there where it is −0.718
    here. It is left out, being made for the p-value of one test: in a mean over regions it is a bias.

    Parameters
    ----------
    placed
        `placements` of the region's n test cells.
    n_synthetic
        Number of synthetic cells in the region.
    weights
        replicates × n: how often each test cell counts.

    Returns
    -------
    numpy.ndarray
        For each replicate; below 0 where synthetic cells lie nearer to training cells.
    """
    n_test = weights.sum(axis=1)
    pairs = n_test * n_synthetic
    larger = weights @ placed * n_synthetic
    spread = np.sqrt(np.maximum(pairs, 1) * (n_test + n_synthetic + 1) / 12)
    return np.asarray((larger - pairs / 2) / spread, dtype=np.float64)


def c_t(
    test: Floats,
    synthetic: Floats,
    *,
    test_regions: Ints,
    synthetic_regions: Ints,
    weights: Floats | None = None,
) -> Floats:
    """Average `copying_z` over regions, each weighing as its test cells do.

    Parameters
    ----------
    test, synthetic
        Distance of each test and each synthetic cell to its nearest training cell.
    test_regions, synthetic_regions
        Region in which each cell lies. Regions with fewer than 20 cells of either kind are left out.
    weights
        replicates × test cells: how often each counts; None for one replicate in which each counts once.

    Returns
    -------
    numpy.ndarray
        C_T of each replicate.

    Raises
    ------
    NotApplicable
        If no region has enough cells.
    """
    weights = np.ones((1, test.size)) if weights is None else weights
    total, size = np.zeros(len(weights)), np.zeros(len(weights))
    for region in np.intersect1d(test_regions, synthetic_regions):
        here, there = test_regions == region, synthetic_regions == region
        if min(here.sum(), there.sum()) >= MINIMUM_CELLS_OF_REGION:
            placed, counted = placements(test[here], synthetic[there]), weights[:, here]
            z = copying_z(placed, n_synthetic=int(there.sum()), weights=counted)
            total += counted.sum(axis=1) * z
            size += counted.sum(axis=1)
    if not size.all():
        raise NotApplicable(
            f"no region holds {MINIMUM_CELLS_OF_REGION} test and {MINIMUM_CELLS_OF_REGION} synthetic cells"
        )
    return total / size


def region_centres(train: Floats, *, n_regions: int, seed: int) -> Floats:
    """Centres of a k-means partition of the training cells; a region is what is nearest to its centre.

    Parameters
    ----------
    train
        n_cells × n_components.
    n_regions
        Number of regions, at most as many as there are cells.
    seed
        Everything random follows from it.
    """
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(n_regions, n_init=1, random_state=seed).fit(train).cluster_centers_)


def data_copying(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Compute C_T on the principal components, over all cells and over those called each type.

    There is about one region for each 100 test cells. Distances are those to the nearest of all training
    cells, where the paper looks only at those of the same region: the same but for cells at a border.

    Raises
    ------
    NotApplicable
        If no region holds 20 test and 20 synthetic cells.
    """
    train = real.train_pca_scores
    n_regions = min(len(train), max(1, real.n_cells // TEST_CELLS_PER_REGION))
    centres = region_centres(train, n_regions=n_regions, seed=derived_seed(real.seed, "c_t regions"))
    test_regions, synthetic_regions = (nearest(cells.pca_scores, centres).rows for cells in (real, sample))

    def measured(test: Rows, synthetic: Rows, weights: Floats | None = None) -> Floats:
        return c_t(
            real.test_to_train.distances[test],
            sample.to_train.distances[synthetic],
            test_regions=test_regions[test],
            synthetic_regions=synthetic_regions[synthetic],
            weights=weights,
        )

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        return {"c_t": float(measured(test, synthetic)[0])}

    score = score_with_types(real, sample, measure, notes=real.pca_notes)
    score.details["regions"] = n_regions
    everything = np.arange(real.n_cells)
    resamples = bootstrap_weights(real.n_cells, seed=derived_seed(real.seed, "c_t"))
    replicates = measured(everything, everything, resamples)
    return replace(score, interval=shifted_percentile_interval(replicates, observed=score.headline))


METRIC = Metric(
    name="c_t",
    description="C_T: are synthetic cells nearer to training cells than test cells are? Far below 0: copies",
    compute=data_copying,
    better="higher",
    ideal=0.0,
    bounds=(-float("inf"), float("inf")),
    reference="doi:10.48550/arXiv.2004.05675",
    cost="nearest training cells, and a k-means partition of the training cells",
    floors=("memorise",),
    group="memorisation",
    exempt=("real", "null"),
    least_cells=MINIMUM_CELLS_OF_REGION,
)
