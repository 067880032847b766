import numpy as np
import pytest
from scipy.stats import binom, bootstrap, kstest

from metrics.resampling import (
    bootstrap_interval,
    bootstrap_mean_interval,
    bootstrap_weights,
    permutation_p_value,
    shifted_percentile_interval,
)


def within_binomial_noise(share, n, probability):
    """Whether a share of n draws is one that such a probability gives 998 times in 1000."""
    low, high = binom.ppf([0.001, 0.999], n, probability) / n
    return low <= share <= high


def test_weights_are_those_of_drawing_with_replacement():
    weights = bootstrap_weights(50, seed=0, replicates=4000)
    assert np.all(weights.sum(axis=1) == 50) and np.all(weights == np.round(weights))
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.02)


def test_strata_keep_their_sizes():
    strata = np.array([3, 7, 3, 7, 7, 9])
    weights = bootstrap_weights(6, seed=0, replicates=100, strata=strata)
    for stratum, size in ((3, 2), (7, 3), (9, 1)):
        assert np.all(weights[:, strata == stratum].sum(axis=1) == size)
    assert len(np.unique(weights, axis=0)) > 10


def test_the_interval_of_a_mean_is_the_percentile_interval():
    values = np.random.default_rng(0).exponential(size=60)
    expected = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap_mean_interval(values, seed=2, replicates=20_000)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_any_statistic_of_rows_has_the_interval_of_the_same_mean():
    values = np.random.default_rng(0).exponential(size=60)
    by_rows = bootstrap_interval(lambda rows: values[rows].mean(), 60, seed=3, replicates=10_000)
    np.testing.assert_allclose(by_rows, bootstrap_mean_interval(values, seed=2, replicates=10_000), atol=0.02)


def test_the_interval_of_a_mean_knows_no_order_and_repeats_with_its_seed():
    rng = np.random.default_rng(0)
    values, strata = rng.normal(size=40), np.resize([0, 1, 2], 40)
    first = bootstrap_mean_interval(values, seed=5, strata=strata)
    order = rng.permutation(40)
    assert bootstrap_mean_interval(values[order], seed=5, strata=strata[order]) == pytest.approx(first)
    assert bootstrap_mean_interval(values, seed=6, strata=strata) != first


def test_equal_values_have_no_uncertainty():
    assert bootstrap_mean_interval(np.full(30, 0.25), seed=0) == pytest.approx((0.25, 0.25))


def test_the_shift_moves_the_replicates_mean_onto_the_observed_value():
    assert shifted_percentile_interval(np.arange(101.0), observed=10.0) == pytest.approx((-37.5, 57.5))


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_of_a_mean_hold_it_nineteen_times_of_twenty(skewed):
    rng = np.random.default_rng(0)
    n_samples = 500
    draws = rng.exponential(size=(n_samples, 150)) if skewed else 1 + rng.normal(size=(n_samples, 150))
    intervals = np.array([bootstrap_mean_interval(draw, seed=s) for s, draw in enumerate(draws)])
    held = np.mean((intervals[:, 0] <= 1) & (intervals[:, 1] >= 1))
    # Percentile intervals of 150 cells hold a little less than they promise: 94.6 and 93.5 %.
    assert within_binomial_noise(held, n_samples, 0.94)


def test_a_discrepancys_interval_holds_its_expectation_where_plain_percentiles_do_not():
    def distance(cells):
        return float(np.linalg.norm(cells.mean(axis=0) - 0.1))

    rng = np.random.default_rng(0)
    expectation = np.mean([distance(rng.normal(size=(80, 20))) for _ in range(3000)])
    n_samples, held, plain = 200, 0, 0
    for sample in range(n_samples):
        cells = rng.normal(size=(80, 20))
        low, high = bootstrap_interval(
            lambda rows, c=cells: distance(c[rows]), 80, seed=sample, replicates=200
        )
        held += low <= expectation <= high
        resamples = [distance(cells[rng.integers(80, size=80)]) for _ in range(100)]
        plain += np.quantile(resamples, 0.025) <= expectation
    assert 0.9 < held / n_samples < 0.99
    assert plain / n_samples < 0.7


def test_permutations_count_the_observed_one():
    assert permutation_p_value(3.0, [1, 2, 3, 4]) == pytest.approx(3 / 5)
    assert permutation_p_value(9.0, np.zeros(999)) == pytest.approx(0.001)


def test_permutation_p_values_of_one_distribution_are_uniform():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        values = rng.normal(size=30)
        permuted = rng.permuted(np.tile(values, (199, 1)), axis=1)[:, :15].mean(axis=1)
        p_values.append(permutation_p_value(values[:15].mean(), permuted))
    assert kstest(p_values, "uniform").pvalue > 0.001
    assert within_binomial_noise(np.mean(np.array(p_values) <= 0.05), 400, 0.05)
