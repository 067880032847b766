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
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from metrics.accelerator import squared_distances
from metrics.by_type import score_with_types
from metrics.declaration import Metric, Score
from metrics.neighbours import radii
from metrics.resampling import bootstrap_mean_interval
from metrics.seeds import derived_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metrics.by_type import Rows
    from metrics.evidence import RealEvidence, SampleEvidence

Points: TypeAlias = "NDArray[np.float64]"

NEIGHBOURS = 5
BLOCK = 1024
PRECISION_RECALL = "doi:10.48550/arXiv.1904.06991"
DENSITY_COVERAGE = "doi:10.48550/arXiv.2002.09797"
COST = "all distances between cells on 50 components"


def balls_and_points(
    centres: Points, reach: NDArray[np.float64], points: Points
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count how many points each ball holds, and how many balls hold each point.

    Parameters
    ----------
    centres, points
        n × n_components and m × n_components.
    reach
        Radius of each of the n balls.

    Returns
    -------
    tuple
        n numbers of points, m numbers of balls.
    """
    held = np.empty(len(centres), dtype=np.int64)
    holding = np.zeros(len(points), dtype=np.int64)
    # Block by block: all distances between 7000 cells a side would take 400 MB.
    for start in range(0, len(centres), BLOCK):
        block = slice(start, start + BLOCK)
        inside = np.sqrt(squared_distances(centres[block], points)) <= reach[block, None]
        held[block] = inside.sum(axis=1)
        holding += inside.sum(axis=0)
    return held, holding


def precision_of_cells(test: Points, synthetic: Points) -> NDArray[np.float64]:
    """1 for each synthetic cell that lies in the ball of a test cell, else 0; the mean is the precision.

    Parameters
    ----------
    test, synthetic
        n × n_components and m × n_components.

    Raises
    ------
    NotApplicable
        With no more than five test cells.
    """
    _, holding = balls_and_points(test, radii(test, NEIGHBOURS), synthetic)
    return (holding > 0).astype(np.float64)


def recall_of_cells(test: Points, synthetic: Points) -> NDArray[np.float64]:
    """1 for each test cell that lies in the ball of a synthetic cell, else 0; the mean is the recall.

    Parameters and errors are those of `precision_of_cells`, with the sides exchanged.
    """
    return precision_of_cells(synthetic, test)


def density_of_cells(test: Points, synthetic: Points) -> NDArray[np.float64]:
    """Synthetic cells in the ball of each test cell, over the number expected; the mean is the density.

    As many as in a sample of the test cells' distribution: 1. It may exceed 1, where synthetic cells crowd.
    Parameters and errors are those of `precision_of_cells`.
    """
    held, _ = balls_and_points(test, radii(test, NEIGHBOURS), synthetic)
    return np.asarray(held * (len(test) / (NEIGHBOURS * len(synthetic))), dtype=np.float64)


def coverage_of_cells(test: Points, synthetic: Points) -> NDArray[np.float64]:
    """1 for each test cell whose ball holds a synthetic cell, else 0; the mean is the coverage.

    Parameters and errors are those of `precision_of_cells`.
    """
    held, _ = balls_and_points(test, radii(test, NEIGHBOURS), synthetic)
    return (held > 0).astype(np.float64)


def _computed(
    name: str, of_cells: Callable[[Points, Points], NDArray[np.float64]], *, per_test_cell: bool
) -> Callable[[RealEvidence, SampleEvidence], Score]:
    """Make the computation of one metric; an interval only where each test cell has a value of its own.

    Of recall alone: its balls are the synthetic cells'. Density and coverage have an interval no more than
    precision has: the balls are the test cells', so that what one test cell counts hangs on the others, and
    a bootstrap of these counts is too narrow. Resampling the balls as well is no way out: a cell drawn twice
    is its own neighbour.
    """

    def compute(real: RealEvidence, sample: SampleEvidence) -> Score:
        def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
            return {name: float(of_cells(real.pca_scores[test], sample.pca_scores[synthetic]).mean())}

        interval = None
        if per_test_cell:
            each = of_cells(real.pca_scores, sample.pca_scores)
            interval = bootstrap_mean_interval(each, seed=derived_seed(real.seed, name))
        score = score_with_types(real, sample, measure, interval=interval, worst=0.0)
        return replace(score, notes=[*score.notes, *real.pca_notes])

    return compute


PRECISION = Metric(
    name="precision",
    description="share of synthetic cells that lie among test cells",
    compute=_computed("precision", precision_of_cells, per_test_cell=False),
    better="higher",
    ideal=1.0,
    bounds=(0.0, 1.0),
    reference=PRECISION_RECALL,
    cost=COST,
    group="coverage",
    judged_by="real",
)

RECALL = Metric(
    name="recall",
    description="share of test cells that lie among synthetic cells",
    compute=_computed("recall", recall_of_cells, per_test_cell=True),
    better="higher",
    ideal=1.0,
    bounds=(0.0, 1.0),
    reference=PRECISION_RECALL,
    cost=COST,
    floors=("shuffle", "shuffle_within_type", "poisson"),
    group="coverage",
    judged_by="real",
)

DENSITY = Metric(
    name="density",
    description="synthetic cells around each test cell, over the number expected of real ones",
    compute=_computed("density", density_of_cells, per_test_cell=False),
    better="higher",
    ideal=1.0,
    bounds=(0.0, float("inf")),
    reference=DENSITY_COVERAGE,
    cost=COST,
    # Not the others: cells of low variance crowd, and so overshoot the ideal more or less.
    floors=("shuffle",),
    group="coverage",
)

COVERAGE = Metric(
    name="coverage",
    description="share of test cells that have a synthetic cell around them",
    compute=_computed("coverage", coverage_of_cells, per_test_cell=False),
    better="higher",
    ideal=1.0,
    bounds=(0.0, 1.0),
    reference=DENSITY_COVERAGE,
    cost=COST,
    floors=("shuffle",),
    group="coverage",
)
