import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

import metrics.coverage
from metrics.coverage import (
    COVERAGE,
    DENSITY,
    PRECISION,
    RECALL,
    coverage_of_cells,
    density_of_cells,
    precision_of_cells,
    recall_of_cells,
)
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence

ALL = (precision_of_cells, recall_of_cells, density_of_cells, coverage_of_cells)


def fifth_neighbour(points):
    return NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points)[0][:, 5]


def naive(test, synthetic):
    """Loops over all pairs, straight from the equations."""
    radii, radii_synthetic = fifth_neighbour(test), fifth_neighbour(synthetic)
    near = [[np.linalg.norm(x - y) for y in synthetic] for x in test]
    pairs = [(i, j) for i in range(len(test)) for j in range(len(synthetic))]
    in_test_ball = {(i, j) for i, j in pairs if near[i][j] <= radii[i]}
    in_synthetic_ball = {(i, j) for i, j in pairs if near[i][j] <= radii_synthetic[j]}
    return (
        len({j for _, j in in_test_ball}) / len(synthetic),
        len({i for i, _ in in_synthetic_ball}) / len(test),
        len(in_test_ball) / (5 * len(synthetic)),
        len({i for i, _ in in_test_ball}) / len(test),
    )


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_all_four_equal_their_definitions(monkeypatch, shift):
    monkeypatch.setattr(metrics.coverage, "BLOCK", 11)
    rng = np.random.default_rng(0)
    test, synthetic = rng.normal(size=(40, 3)), rng.normal(shift, 0.7, size=(25, 3))
    found = [of_cells(test, synthetic).mean() for of_cells in ALL]
    assert found == pytest.approx(naive(test, synthetic))
    assert all(0 < value < 2 for value in found)


def test_cells_on_a_line_by_hand():
    test = np.arange(6.0)[:, None]
    # Radii 5, 4, 3, 3, 4, 5: balls [-5, 5], [-3, 5], [-1, 5], [0, 6], [0, 8], [0, 10].
    synthetic = np.array([-4.0, 5.5, 5.5, 9, 11, 11])[:, None]
    assert precision_of_cells(test, synthetic).tolist() == [1, 1, 1, 1, 0, 0]
    assert density_of_cells(test, synthetic).tolist() == pytest.approx([0.2, 0, 0, 0.4, 0.4, 0.6])
    assert coverage_of_cells(test, synthetic).tolist() == [1, 0, 0, 1, 1, 1]


def test_identical_cells_reach_the_ideal_and_distant_ones_zero():
    cells = np.random.default_rng(0).normal(size=(30, 4))
    for of_cells in (precision_of_cells, recall_of_cells, coverage_of_cells):
        assert of_cells(cells, cells).mean() == 1
    assert [of_cells(cells, cells + 1e6).mean() for of_cells in ALL] == [0, 0, 0, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sides_mirror_each_other_and_order_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    test, synthetic = rng.normal(size=(12, 2)), rng.normal(size=(9, 2))
    assert np.array_equal(precision_of_cells(test, synthetic), recall_of_cells(synthetic, test))
    for of_cells in ALL:
        moved = of_cells(rng.permutation(test), rng.permutation(synthetic))
        assert moved.mean() == pytest.approx(of_cells(test, synthetic).mean())


def test_two_samples_of_one_distribution_have_the_expected_density_and_coverage():
    rng = np.random.default_rng(0)
    sides = [(rng.normal(size=(200, 3)), rng.normal(size=(200, 3))) for _ in range(20)]
    assert np.mean([density_of_cells(*pair).mean() for pair in sides]) == pytest.approx(1, abs=0.05)
    assert np.mean([coverage_of_cells(*pair).mean() for pair in sides]) == pytest.approx(1 - 2**-5, abs=0.01)


def test_a_lost_mode_costs_coverage_and_recall_not_precision():
    rng = np.random.default_rng(0)
    test = np.concatenate([rng.normal(size=(50, 3)), rng.normal(50, 1, size=(50, 3))])
    synthetic = rng.normal(size=(100, 3))
    assert coverage_of_cells(test, synthetic).mean() == pytest.approx(0.5, abs=0.05)
    assert recall_of_cells(test, synthetic).mean() == pytest.approx(0.5, abs=0.05)
    assert precision_of_cells(test, synthetic).mean() > 0.8


def test_too_few_cells():
    cells = np.zeros((5, 2))
    with pytest.raises(NotApplicable, match="5 cells; the 5 nearest others of a cell need 6"):
        coverage_of_cells(cells, np.zeros((9, 2)))


def test_cells_that_all_coincide_are_their_own_region():
    cells = np.zeros((8, 2))
    assert [of_cells(cells, cells).mean() for of_cells in (precision_of_cells, coverage_of_cells)] == [1, 1]
    assert coverage_of_cells(cells, cells + 1).mean() == 0


@pytest.mark.parametrize(
    ("metric", "of_cells"), list(zip((PRECISION, RECALL, DENSITY, COVERAGE), ALL, strict=True))
)
def test_each_metric_is_computed_on_components_and_by_type(prepared, metric, of_cells):
    real = RealEvidence.from_adata(prepared, seed=0)
    train = prepared[prepared.obs["split"] == "train"].layers["counts"]
    sample = SampleEvidence(real, train[:30], space="counts")
    score = metric.compute(real, sample)
    each = of_cells(real.pca_scores, sample.pca_scores)
    assert score.headline == pytest.approx(each.mean())
    assert score.values[f"{metric.name}_by_type"] == pytest.approx(
        np.mean([numbers[metric.name] for numbers in score.details["by_type"].values()])
    )
    if metric is RECALL:
        assert score.interval[0] <= each.mean() <= score.interval[1]
    else:
        # The test cells' balls hang on all test cells: no bootstrap of single cells' counts is right.
        assert score.interval is None
