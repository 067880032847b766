import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.evidence import RealEvidence, SampleEvidence
from metrics.seeds import derived_seed
from metrics.sliced_wasserstein import DIRECTIONS, METRIC, directions, sliced_wasserstein


def test_directions_are_unit_vectors_of_no_preferred_way_and_seeded():
    drawn = directions(50, seed=0)
    assert drawn.shape == (50, DIRECTIONS)
    assert DIRECTIONS >= 200
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=0), 1)
    # Along each axis the mean is 0 and the mean square 1/50.
    assert np.abs(drawn.mean(axis=1)).max() < 5 * np.sqrt(1 / 50 / DIRECTIONS)
    assert np.mean(drawn**2) == pytest.approx(1 / 50)
    np.testing.assert_array_equal(drawn, directions(50, seed=0))


def test_as_many_cells_a_side_are_matched_in_order():
    rng = np.random.default_rng(0)
    left, right, along = rng.normal(size=(70, 5)), rng.normal(0.3, 2, size=(70, 5)), directions(5, seed=0)
    matched = np.abs(np.sort(left @ along, axis=0) - np.sort(right @ along, axis=0)).mean()
    assert sliced_wasserstein(left, right, along=along) == pytest.approx(matched)


def test_more_cells_on_one_side_by_hand():
    # Half of the weight at 0 moves by 1, half by 4.
    left, right = np.zeros((1, 1)), np.array([[1.0], [-4.0]])
    assert sliced_wasserstein(left, right, along=np.array([[1.0, -1.0]])) == pytest.approx(2.5)


def test_a_shift_costs_its_length_along_each_direction():
    cells = np.random.default_rng(0).normal(size=(40, 3))
    shift, along = np.array([1.0, -2.0, 0.5]), directions(3, seed=1)
    expected = np.abs(shift @ along).mean()
    assert sliced_wasserstein(cells, cells + shift, along=along) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_symmetric_zero_for_the_same_cells_and_indifferent_to_their_order(seed):
    rng = np.random.default_rng(seed)
    left, right, along = rng.normal(size=(9, 3)), rng.normal(size=(14, 3)), directions(3, seed=seed)
    distance = sliced_wasserstein(left, right, along=along)
    assert sliced_wasserstein(right, left, along=along) == pytest.approx(distance)
    assert sliced_wasserstein(rng.permutation(left), right, along=along) == pytest.approx(distance)
    assert sliced_wasserstein(left, rng.permutation(left), along=along) == pytest.approx(0, abs=1e-12)


def test_the_metric_measures_on_components_and_by_type(prepared):
    adata = prepared[:, :20].copy()
    real = RealEvidence.from_adata(adata, seed=0)
    train = adata[adata.obs["split"] == "train"].layers["counts"]
    sample = SampleEvidence(real, train[:30], space="counts")
    score = METRIC.compute(real, sample)
    along = directions(real.pca_scores.shape[1], seed=derived_seed(0, "sliced_wasserstein"))
    expected = sliced_wasserstein(real.pca_scores, sample.pca_scores, along=along)
    assert score.headline == pytest.approx(expected, rel=1e-12)
    assert score.headline > METRIC.ideal
    assert score.notes[-1] == "19 principal components instead of 50"
    of_alpha = (
        cells.pca_scores[calls == "alpha"]
        for cells, calls in ((real, real.test_calls), (sample, sample.calls))
    )
    expected = sliced_wasserstein(*of_alpha, along=along)
    assert score.details["by_type"]["alpha"]["sliced_wasserstein"] == pytest.approx(expected)
