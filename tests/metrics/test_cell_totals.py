import numpy as np
import pytest

from metrics.cell_totals import GENES_PER_CELL, LIBRARY_SIZE, relative_wasserstein
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence
from tests.metrics.typed_cells import evidence, reordered, sample_of, shuffled, typed_cells

# Library sizes 2, 4, 6; expressed genes 1, 2, 3.
REAL = np.array([[2, 0, 0], [2, 2, 0], [2, 2, 2]])
# 3, 5, 10; 1, 1, 3.
SYNTHETIC = np.array([[3, 0, 0], [5, 0, 0], [4, 4, 2]])


def without_types(counts):
    return RealEvidence(
        counts, counts, train_types=None, test_types=None, control_pool=None, gene_names=[*"abc"], seed=0
    )


def test_a_worked_example():
    real = without_types(REAL)
    score = LIBRARY_SIZE.compute(real, sample_of(real, SYNTHETIC))
    assert score.values == pytest.approx(
        {
            "library_size_wasserstein": (1 + 1 + 4) / 3 / 4,
            "library_size_ks": 1 / 3,
            "library_size_ratio": 6 / 4,
            "fractional_values": 0,
        }
    )
    score = GENES_PER_CELL.compute(real, sample_of(real, SYNTHETIC))
    assert score.values == pytest.approx(
        {"genes_per_cell_wasserstein": 1 / 3 / 2, "genes_per_cell_ks": 1 / 3, "genes_per_cell_ratio": 5 / 6}
    )


def test_counts_alone_have_library_sizes():
    real = without_types(REAL)
    with pytest.raises(
        NotApplicable, match=r"^cp20k has no library sizes of its own; see library_size_error$"
    ):
        LIBRARY_SIZE.compute(real, sample_of(real, SYNTHETIC, space="cp20k"))
    assert GENES_PER_CELL.compute(real, sample_of(real, SYNTHETIC, space="cp20k")).headline > 0


def test_values_that_are_no_counts_are_told():
    real = without_types(REAL)
    halves = sample_of(real, SYNTHETIC / 2)
    # Of 1.5, 2.5, 2, 2 and 1.
    assert LIBRARY_SIZE.compute(real, halves).values["fractional_values"] == 2 / 5
    assert LIBRARY_SIZE.compute(real, sample_of(real, np.zeros((3, 3)))).values["fractional_values"] == 0
    with pytest.raises(NotApplicable, match="1 negative values"):
        LIBRARY_SIZE.compute(real, sample_of(real, REAL - 4 * np.eye(3) * [1, 0, 0]))


def test_nothing_is_relative_to_empty_test_cells():
    with pytest.raises(NotApplicable, match="all test cells are all zero"):
        relative_wasserstein(np.zeros(3), np.ones(3))


@pytest.mark.parametrize("metric", [LIBRARY_SIZE, GENES_PER_CELL])
def test_lost_depth_is_seen_and_the_interval_forgets_the_order_of_cells(metric):
    real = evidence()
    counts = typed_cells(150, seed=1)[0]
    sample = sample_of(real, counts)
    score = metric.compute(real, sample)
    assert metric.compute(real, sample_of(real, shuffled(counts, seed=0))).headline > 2 * score.headline
    again = metric.compute(real, reordered(sample, seed=0))
    assert (again.values, again.interval) == (pytest.approx(score.values), pytest.approx(score.interval))
    assert score.interval[0] < score.headline < score.interval[1]
    assert np.mean(score.details["percentiles"]) == pytest.approx(
        score.values[f"{metric.name.removesuffix('_wasserstein')}_ratio"]
        * np.mean(score.details["percentiles_test"]),
        rel=0.03,
    )
    assert metric.compute(real, sample_of(real, real.test_counts)).headline == metric.ideal


def test_library_sizes_scale_with_the_counts():
    real = evidence()
    doubled = LIBRARY_SIZE.compute(real, sample_of(real, 2 * real.test_counts)).values
    assert (doubled["library_size_wasserstein"], doubled["library_size_ratio"]) == (pytest.approx(1), 2)
