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
    balls,
    balls_of,
    coverage_of_cells,
    density_of_cells,
    precision_of_cells,
    recall_of_cells,
)
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.neighbours import radii

METRICS = (PRECISION, RECALL, DENSITY, COVERAGE)
ALL = (precision_of_cells, recall_of_cells, density_of_cells, coverage_of_cells)


def fifth_neighbour(points):
    return NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points)[0][:, 5]


def found(test, synthetic):
    return balls(test, synthetic, test_radii=radii(test, 5), synthetic_radii=radii(synthetic, 5))


def prdc(real, fake, k=5):
    """The formulas of Naeem et al.'s package of that name, on whole matrices of distances."""

    def distances(x, y):
        return np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))

    real_radii, fake_radii = (np.sort(distances(x, x), axis=1)[:, k] for x in (real, fake))
    between = distances(real, fake)
    return {
        "precision": (between <= real_radii[:, None]).any(axis=0).mean(),
        "recall": (between <= fake_radii[None]).any(axis=1).mean(),
        "density": (between <= real_radii[:, None]).sum(axis=0).mean() / k,
        "coverage": (between.min(axis=1) <= real_radii).mean(),
    }


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
    values = [of_cells(found(test, synthetic)).mean() for of_cells in ALL]
    assert values == pytest.approx(naive(test, synthetic), abs=1e-12)
    assert all(0 < value < 2 for value in values)


def test_counts_are_exactly_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr(metrics.coverage, "BLOCK", 11)
    rng = np.random.default_rng(0)
    test, synthetic = rng.normal(size=(40, 3)), rng.normal(0.2, 0.9, size=(25, 3))
    between = np.sqrt(((test[:, None] - synthetic[None]) ** 2).sum(axis=2))
    counts = found(test, synthetic)
    in_test_ball = between <= fifth_neighbour(test)[:, None]
    assert counts.in_test_balls.tolist() == in_test_ball.sum(axis=1).tolist()
    assert counts.around_synthetic.tolist() == in_test_ball.sum(axis=0).tolist()
    assert counts.around_test.tolist() == (between <= fifth_neighbour(synthetic)).sum(axis=1).tolist()


def test_cells_on_a_line_by_hand():
    test = np.arange(6.0)[:, None]
    # Radii 5, 4, 3, 3, 4, 5: balls [-5, 5], [-3, 5], [-1, 5], [0, 6], [0, 8], [0, 10].
    synthetic = np.array([-4.0, 5.5, 5.5, 9, 11, 11])[:, None]
    assert precision_of_cells(found(test, synthetic)).tolist() == [1, 1, 1, 1, 0, 0]
    assert density_of_cells(found(test, synthetic)).tolist() == pytest.approx([0.2, 0, 0, 0.4, 0.4, 0.6])
    assert coverage_of_cells(found(test, synthetic)).tolist() == [1, 0, 0, 1, 1, 1]


def test_identical_cells_reach_the_ideal_and_distant_ones_zero():
    cells = np.random.default_rng(0).normal(size=(30, 4))
    for of_cells in (precision_of_cells, recall_of_cells, coverage_of_cells):
        assert of_cells(found(cells, cells)).mean() == 1
    assert [of_cells(found(cells, cells + 1e6)).mean() for of_cells in ALL] == [0, 0, 0, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sides_mirror_each_other_and_order_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    test, synthetic = rng.normal(size=(12, 2)), rng.normal(size=(9, 2))
    assert np.array_equal(precision_of_cells(found(test, synthetic)), recall_of_cells(found(synthetic, test)))
    for of_cells in ALL:
        moved = of_cells(found(rng.permutation(test), rng.permutation(synthetic)))
        assert moved.mean() == pytest.approx(of_cells(found(test, synthetic)).mean())


def test_two_samples_of_one_distribution_have_the_expected_density_and_coverage():
    rng = np.random.default_rng(0)
    sides = [(rng.normal(size=(200, 3)), rng.normal(size=(200, 3))) for _ in range(20)]
    assert np.mean([density_of_cells(found(*pair)).mean() for pair in sides]) == pytest.approx(1, abs=0.05)
    assert np.mean([coverage_of_cells(found(*pair)).mean() for pair in sides]) == pytest.approx(
        1 - 2**-5, abs=0.01
    )


def test_a_lost_mode_costs_coverage_and_recall_not_precision():
    rng = np.random.default_rng(0)
    test = np.concatenate([rng.normal(size=(50, 3)), rng.normal(50, 1, size=(50, 3))])
    synthetic = rng.normal(size=(100, 3))
    assert coverage_of_cells(found(test, synthetic)).mean() == pytest.approx(0.5, abs=0.05)
    assert recall_of_cells(found(test, synthetic)).mean() == pytest.approx(0.5, abs=0.05)
    assert precision_of_cells(found(test, synthetic)).mean() > 0.8


def test_too_few_cells():
    cells = np.zeros((5, 2))
    with pytest.raises(NotApplicable, match="5 cells; the 5 nearest others of a cell need 6"):
        found(cells, np.zeros((9, 2)))


def test_cells_that_all_coincide_are_their_own_region():
    cells = np.zeros((8, 2))
    assert [of_cells(found(cells, cells)).mean() for of_cells in (precision_of_cells, coverage_of_cells)] == [
        1,
        1,
    ]
    assert coverage_of_cells(found(cells, cells + 1)).mean() == 0


def evidence(prepared):
    real = RealEvidence.from_adata(prepared, seed=0)
    train = prepared[prepared.obs["split"] == "train"].layers["counts"]
    return real, SampleEvidence(real, train[:30], space="counts")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_is_that_of_prdc_on_components_and_within_each_type(prepared, metric):
    real, sample = evidence(prepared)
    score = metric.compute(real, sample)
    assert score.headline == pytest.approx(prdc(real.pca_scores, sample.pca_scores)[metric.name], abs=1e-12)
    assert score.details["by_type"]
    for name, numbers in score.details["by_type"].items():
        points = real.pca_scores[real.test_calls == name], sample.pca_scores[sample.calls == name]
        assert numbers[metric.name] == pytest.approx(prdc(*points)[metric.name], abs=1e-12)
    assert score.values[f"{metric.name}_by_type"] == pytest.approx(
        np.mean([numbers[metric.name] for numbers in score.details["by_type"].values()])
    )
    if metric is RECALL:
        assert score.interval[0] <= score.headline <= score.interval[1]
    else:
        # The test cells' balls hang on all test cells: no bootstrap of single cells' counts is right.
        assert score.interval is None


def test_all_four_share_one_pass_and_samples_share_the_test_cells_radii(prepared, monkeypatch):
    passes = []

    def counted(name, function):
        def call(*arguments, **options):
            passes.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(metrics.coverage, name, call)

    counted("balls", balls)
    counted("radii", radii)
    real, sample = evidence(prepared)
    n_parts = 1 + len(PRECISION.compute(real, sample).details["by_type"])
    assert n_parts > 2
    assert (passes.count("balls"), passes.count("radii")) == (n_parts, 2 * n_parts)
    for metric in METRICS:
        metric.compute(real, sample)
    assert (passes.count("balls"), passes.count("radii")) == (n_parts, 2 * n_parts)
    everything = np.arange(real.n_cells)
    balls_of(real, SampleEvidence(real, real.test_counts, space="counts"), everything, everything)
    assert (passes.count("balls"), passes.count("radii")) == (n_parts + 1, 2 * n_parts + 1)
