import numpy as np
import pytest

from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.library_size import METRIC

# Library sizes 20 000, 15 000, 22 000 and 0: errors 0, 0.25, 0.1 and 1.
CP20K = np.array([[20_000.0, 0], [10_000, 5_000], [20_000, 2_000], [0, 0]])


@pytest.fixture
def real():
    counts = np.ones((4, 2))
    return RealEvidence(
        counts, counts, train_types=None, test_types=None, control_pool=None, gene_names=[*"ab"], seed=0
    )


@pytest.mark.parametrize(("space", "matrix"), [("cp20k", CP20K), ("log_cp20k", np.log1p(CP20K))])
def test_the_error_is_the_median_over_cells_beside_the_share_of_empty_ones(real, space, matrix):
    score = METRIC.compute(real, SampleEvidence(real, matrix, space=space))
    assert list(score.values) == ["library_size_error", "empty_cells"]
    assert score.headline == pytest.approx((0.1 + 0.25) / 2, rel=1e-5)
    assert score.values["empty_cells"] == 0.25
    assert score.notes == ["1 of 4 synthetic cells are all zero"]


def test_exact_library_sizes_reach_the_ideal(real):
    score = METRIC.compute(real, SampleEvidence(real, np.full((4, 2), 10_000), space="cp20k"))
    assert score.values == {"library_size_error": METRIC.ideal, "empty_cells": 0.0}


def test_counts_have_no_error(real):
    with pytest.raises(NotApplicable, match=r"^counts promise no library size$"):
        METRIC.compute(real, SampleEvidence(real, CP20K, space="counts"))


def test_it_orders_no_controls():
    assert METRIC.name == "library_size_error"
    assert (METRIC.floors, METRIC.better) == ((), "lower")
