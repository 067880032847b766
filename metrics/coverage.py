"""Do synthetic cells lie where real ones do, and real ones where synthetic ones do? Four answers.

Every cell is the centre of a ball that reaches to its fifth nearest other cell of its side; the balls of a
side stand for the region it fills. Precision and recall: Kynkäänniemi et al. 2019
(doi:10.48550/arXiv.1904.06991), equations 1 and 2. Density and coverage: Naeem et al. 2020
(doi:10.48550/arXiv.2002.09797), equations 5 and 6. Cells on the rim of a ball belong to it.

Real cells do not reach 1 either: the expected coverage of two samples of one distribution is about
1 − 2⁻⁵ = 0.97, and precision and recall stay lower still. Their ceiling is the control ``real``. Cells of low
variance gain in precision and density, and a few far-off synthetic cells, whose balls are large, gain in
recall. Hence precision has no floor: within types, controls are of low variance, and where few genes are
measured gene-shuffled cells, too, lie among the test cells as real ones do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from metrics.accelerator import squared_distances
from metrics.arrays import Floats, Ints
from metrics.by_type import Rows, score_with_types
from metrics.declaration import Compute, Score, share_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.neighbours import radii
from metrics.resampling import bootstrap_mean_interval
from metrics.seeds import derived_seed

NEIGHBOURS = 5
BLOCK = 1024
PRECISION_RECALL = "doi:10.48550/arXiv.1904.06991"
DENSITY_COVERAGE = "doi:10.48550/arXiv.2002.09797"
COST = "all distances between cells on 50 components, shared by four metrics"


@dataclass(frozen=True)
class Balls:
    """Who lies in whose ball.

    Parameters
    ----------
    in_test_balls
        Synthetic cells in the ball of each of n test cells.
    around_synthetic
        Balls of test cells that hold each of m synthetic cells.
    around_test
        Balls of synthetic cells that hold each of n test cells.
    """

    in_test_balls: Ints
    around_synthetic: Ints
    around_test: Ints


def balls(test: Floats, synthetic: Floats, *, test_radii: Floats, synthetic_radii: Floats) -> Balls:
    """Compare all distances between test and synthetic cells, once, with the radii of either.

    Parameters
    ----------
    test, synthetic
        n × n_components and m × n_components.
    test_radii, synthetic_radii
        n and m distances, from `metrics.neighbours.radii`.
    """
    in_test_balls, around_test = np.empty((2, len(test)), dtype=np.int64)
    around_synthetic = np.zeros(len(synthetic), dtype=np.int64)
    # Block by block: all distances between 7000 cells a side would take 400 MB.
    for start in range(0, len(test), BLOCK):
        block = slice(start, start + BLOCK)
        distances = np.sqrt(squared_distances(test[block], synthetic))
        inside = distances <= test_radii[block, None]
        in_test_balls[block] = inside.sum(axis=1)
        around_synthetic += inside.sum(axis=0)
        around_test[block] = (distances <= synthetic_radii).sum(axis=1)
    return Balls(in_test_balls, around_synthetic, around_test)


def precision_of_cells(found: Balls) -> Floats:
    """1 for each synthetic cell that lies in the ball of a test cell, else 0; the mean is the precision."""
    return (found.around_synthetic > 0).astype(np.float64)


def recall_of_cells(found: Balls) -> Floats:
    """1 for each test cell that lies in the ball of a synthetic cell, else 0; the mean is the recall."""
    return (found.around_test > 0).astype(np.float64)


def density_of_cells(found: Balls) -> Floats:
    """Synthetic cells in the ball of each test cell, over the number expected; the mean is the density.

    As many as in a sample of the test cells' distribution: 1. It may exceed 1, where synthetic cells crowd.
    """
    n_test, n_synthetic = found.in_test_balls.size, found.around_synthetic.size
    return np.asarray(found.in_test_balls * (n_test / (NEIGHBOURS * n_synthetic)), dtype=np.float64)


def coverage_of_cells(found: Balls) -> Floats:
    """1 for each test cell whose ball holds a synthetic cell, else 0; the mean is the coverage."""
    return (found.in_test_balls > 0).astype(np.float64)


def balls_of(real: RealEvidence, sample: SampleEvidence, test: Rows, synthetic: Rows) -> Balls:
    """Return the balls of some test and synthetic cells, as shared by all four metrics.

    Parameters
    ----------
    real, sample
        Evidence, which keeps radii and balls for the next metric.
    test, synthetic
        Row numbers of the test cells and of the synthetic cells.

    Raises
    ------
    NotApplicable
        With no more than five cells on either side.
    """
    return sample.kept(
        ("balls", test.tobytes(), synthetic.tobytes()),
        lambda: balls(
            real.pca_scores[test],
            sample.pca_scores[synthetic],
            test_radii=real.kept(("radii", test.tobytes()), lambda: radii(real.pca_scores[test], NEIGHBOURS)),
            synthetic_radii=radii(sample.pca_scores[synthetic], NEIGHBOURS),
        ),
    )


def _computed(name: str, of_cells: Callable[[Balls], Floats], *, per_test_cell: bool) -> Compute:
    """Make the computation of one metric; an interval only where each test cell has a value of its own.

    Of recall alone: its balls are the synthetic cells'. Density and coverage have an interval no more than
    precision has: the balls are the test cells', so that what one test cell counts hangs on the others, and
    a bootstrap of these counts is too narrow. Resampling the balls as well is no way out: a cell drawn twice
    is its own neighbour.
    """

    def compute(real: RealEvidence, sample: SampleEvidence) -> Score:
        def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
            return {name: float(of_cells(balls_of(real, sample, test, synthetic)).mean())}

        interval = None
        if per_test_cell:
            everything = np.arange(real.n_cells)
            each = of_cells(balls_of(real, sample, everything, everything))
            interval = bootstrap_mean_interval(each, seed=derived_seed(real.seed, name))
        return score_with_types(real, sample, measure, interval=interval, worst=0.0, notes=real.pca_notes)

    return compute


_metric = partial(share_metric, cost=COST, group="coverage")

PRECISION = _metric(
    name="precision",
    description="share of synthetic cells that lie among test cells",
    compute=_computed("precision", precision_of_cells, per_test_cell=False),
    reference=PRECISION_RECALL,
    judged_by="real",
)

RECALL = _metric(
    name="recall",
    description="share of test cells that lie among synthetic cells",
    compute=_computed("recall", recall_of_cells, per_test_cell=True),
    reference=PRECISION_RECALL,
    floors=("shuffle", "shuffle_within_type", "poisson"),
    judged_by="real",
)

DENSITY = _metric(
    name="density",
    description="synthetic cells around each test cell, over the number expected of real ones",
    compute=_computed("density", density_of_cells, per_test_cell=False),
    bounds=(0.0, float("inf")),
    reference=DENSITY_COVERAGE,
    # Not the others: cells of low variance crowd, and so overshoot the ideal more or less.
    floors=("shuffle",),
)

COVERAGE = _metric(
    name="coverage",
    description="share of test cells that have a synthetic cell around them",
    compute=_computed("coverage", coverage_of_cells, per_test_cell=False),
    reference=DENSITY_COVERAGE,
    floors=("shuffle",),
)
