import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from metrics import optimal_transport
from metrics.declaration import NotApplicable
from metrics.optimal_transport import WASSERSTEIN1, WASSERSTEIN2, transport_cost, wasserstein1, wasserstein2
from tests.metrics.typed_cells import evidence, sample_of, typed_cells
from tests.places import REPOSITORY


def assigned(left, right, metric):
    costs = cdist(left, right, metric)
    return costs[linear_sum_assignment(costs)].mean()


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_as_many_cells_a_side_are_an_assignment(rng):
    left, right = rng.normal(size=(90, 6)), rng.normal(0.4, 2, size=(90, 6))
    assert wasserstein1(left, right) == pytest.approx(assigned(left, right, "euclidean"), rel=1e-9)
    assert wasserstein2(left, right) ** 2 == pytest.approx(assigned(left, right, "sqeuclidean"), rel=1e-9)


def test_other_numbers_of_cells_are_an_assignment_of_each_repeated(rng):
    """12 cells against 18: each thrice and twice are as many of either, of the same weights."""
    left, right = rng.normal(size=(12, 3)), rng.normal(1, 1, size=(18, 3))
    expected = assigned(np.repeat(left, 3, axis=0), np.repeat(right, 2, axis=0), "sqeuclidean")
    assert wasserstein2(left, right) ** 2 == pytest.approx(expected, rel=1e-9)


def test_by_hand():
    # Half of the weight at the origin goes to (3, 4), half to (0, 1): lengths 5 and 1, squares 25 and 1.
    left, right = np.zeros((1, 2)), np.array([[3.0, 4.0], [0.0, 1.0]])
    assert wasserstein1(left, right) == pytest.approx(3)
    assert wasserstein2(left, right) == pytest.approx(np.sqrt(13))
    # Squares let 0 → 2 and 1 → 3 win over 0 → 3 and 1 → 2 (4 against 5); lengths are 2 either way.
    left, right = np.array([[0.0], [1.0]]), np.array([[3.0], [2.0]])
    assert (wasserstein1(left, right), wasserstein2(left, right)) == pytest.approx((2, 2))


def test_on_a_line_it_is_what_scipy_integrates(rng):
    left, right = rng.normal(size=(40, 1)), rng.gamma(2, 1, size=(57, 1))
    assert wasserstein1(left, right) == pytest.approx(wasserstein_distance(left[:, 0], right[:, 0]))


def test_a_shift_costs_its_length_and_the_cells_themselves_nothing(rng):
    cells, shift = rng.normal(size=(60, 4)), np.array([1.0, -2.0, 0.5, 3.0])
    for distance in (wasserstein1, wasserstein2):
        assert distance(cells, rng.permutation(cells + shift)) == pytest.approx(np.linalg.norm(shift))
        assert distance(cells, rng.permutation(cells)) == pytest.approx(0, abs=1e-9)
        other = rng.normal(size=(45, 4))
        assert distance(cells, other) == pytest.approx(distance(other, cells))


def test_a_transport_that_does_not_end_is_no_number(monkeypatch, rng):
    monkeypatch.setattr(optimal_transport, "MOST_PIVOTS", 1)
    with pytest.warns(UserWarning), pytest.raises(NotApplicable, match="transport of 30 to 31 cells was not"):
        transport_cost(rng.random((30, 31)))


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "distance"), [(WASSERSTEIN1, wasserstein1), (WASSERSTEIN2, wasserstein2)])
def test_the_metric_measures_on_components_and_by_type_without_an_interval(metric, distance):
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=7)[0])
    score = metric.compute(real, sample)
    assert score.headline == pytest.approx(distance(real.pca_scores, sample.pca_scores), rel=1e-12)
    assert score.interval is None
    of_b = (
        cells.pca_scores[calls == "B"] for cells, calls in ((real, real.test_calls), (sample, sample.calls))
    )
    assert score.details["by_type"]["B"][metric.name] == pytest.approx(distance(*of_b), rel=1e-12)


@pytest.mark.slow
def test_no_framework_is_imported_to_solve_it():
    code = (
        "import sys, numpy; from metrics.optimal_transport import transport_cost\n"
        "print(transport_cost(numpy.ones((3, 2))))\n"
        "print([name for name in ('torch', 'tensorflow', 'jax', 'cupy') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    cost, imported = told.stdout.splitlines()
    assert float(cost) == pytest.approx(1)
    assert imported == "[]"
