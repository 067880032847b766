"""Verdicts against SciPy, against hand-worked numbers, and their error rates by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.judge import Effect, aimed_at, holm, judge, mean_distance, paired_effect

pytestmark = pytest.mark.slow


def _by_seed(values):
    return dict(enumerate(values))


def test_an_effect_is_the_paired_t_test_of_distances_to_the_ideal():
    a, b = [0.90, 0.92, 0.97, 0.91], [0.80, 0.85, 0.86, 0.88]
    effect = paired_effect(_by_seed(a), _by_seed(b), aim=0.5, resolution=1e-9)
    expected = stats.ttest_rel(b, a)
    interval = expected.confidence_interval(0.95)
    assert effect.n_seeds == 4
    assert effect.mean == pytest.approx(np.mean(np.subtract(b, a)))
    assert (effect.low, effect.high, effect.p_value) == pytest.approx((*interval, expected.pvalue))


def test_values_on_both_sides_of_the_ideal_are_compared_by_their_distance():
    effect = paired_effect({0: 0.4, 1: 0.6, 2: 0.45}, {0: 0.7, 1: 0.3, 2: 0.75}, aim=0.5, resolution=1e-9)
    # |B − .5| − |A − .5| = .1, .1, .2
    assert effect.mean == pytest.approx(0.4 / 3)


def test_only_common_seeds_count():
    effect = paired_effect({0: 1.0, 1: 2.0, 5: 9.0}, {1: 3.0, 0: 1.5, 7: 0.0}, aim=0.0, resolution=1e-9)
    assert (effect.n_seeds, effect.mean) == (2, pytest.approx(0.75))
    assert math.isnan(effect.p_value)
    [(found, p)] = judge([effect])
    assert found == "not resolved" and math.isnan(p)


def test_without_common_seeds_there_is_no_effect():
    effect = paired_effect({0: 1.0}, {1: 1.0}, aim=0.0, resolution=1e-9)
    assert effect.n_seeds == 0
    assert math.isnan(effect.mean)


def test_seeds_that_differ_alike_by_a_step_of_the_scale_tell_nothing():
    a = _by_seed([0.01] * 3)
    step = paired_effect(a, _by_seed([0.009] * 3), aim=0.0, resolution=0.001)
    # t = 1 / (1 / √3) on two degrees of freedom: p = 1 − t / √(2 + t²).
    assert step.p_value == pytest.approx(1 - math.sqrt(3 / 5))
    assert step.mean - step.low == pytest.approx(stats.t.ppf(0.975, 2) * 0.001 / math.sqrt(3))
    assert judge([step]) == [("not resolved", step.p_value)]
    same = paired_effect(a, a, aim=0.0, resolution=0.001)
    assert same.p_value == 1
    far = paired_effect(a, _by_seed([0.5] * 3), aim=0.0, resolution=0.001)
    assert judge([far] * 20)[0] == ("A better", holm([far.p_value] * 20)[0])


def test_the_scale_changes_nothing_where_seeds_scatter_more():
    a, b = _by_seed([0.1, 0.2, 0.3]), _by_seed([0.5, 0.4, 0.9])
    fine, coarse = (paired_effect(a, b, aim=0.0, resolution=step) for step in (1e-9, 0.01))
    assert fine == coarse


@pytest.mark.parametrize("n_metrics", [1, 3, 8, 20])
@pytest.mark.parametrize("expected_cells", [0.5, 1, 3, 10, 150])
def test_shares_of_equal_models_get_a_verdict_in_at_most_five_of_a_hundred_comparisons(
    n_metrics, expected_cells
):
    rng, n_cells, n_trials = np.random.default_rng(n_metrics), 500, 400
    shares = rng.binomial(n_cells, expected_cells / n_cells, (n_trials, n_metrics, 2, 3)) / n_cells
    false_alarms = 0
    for trial in shares:
        effects = [paired_effect(_by_seed(a), _by_seed(b), aim=0.0, resolution=1 / n_cells) for a, b in trial]
        false_alarms += any(found != "not resolved" for found, _ in judge(effects))
    # 3 standard errors of 1.1 % for luck. Without the least deviation up to 30 % are false.
    assert false_alarms / n_trials <= 0.05 + 0.033


def test_holm_by_hand():
    # Sorted: .01·4 = .04, .02·3 = .06, .03·2 = .06, .5·1 = .5; never below the one before.
    assert holm([0.02, 0.5, 0.01, math.nan, 0.03])[:3] == pytest.approx([0.06, 0.5, 0.04])
    assert holm([0.02, 0.5, 0.01, math.nan, 0.03])[4] == pytest.approx(0.06)
    assert math.isnan(holm([0.02, math.nan])[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values):
    adjusted = holm(p_values)
    assert all(1 >= a >= p for a, p in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_the_sign_tells_who_is_better():
    below, above = Effect(3, -0.2, -0.3, -0.1, 0.01), Effect(3, 0.2, 0.1, 0.3, 0.01)
    assert judge([below, above]) == [("B better", 0.02), ("A better", 0.02)]
    # Holm: .01 · 6 is too much.
    assert {found for found, _ in judge([below] * 6)} == {"not resolved"}


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_intervals_cover_the_true_effect_as_often_as_they_say(n_seeds):
    rng = np.random.default_rng(n_seeds)
    true, hits, n_trials = -0.3, 0, 1500
    for _ in range(n_trials):
        shared = rng.normal(1.0, 0.5, n_seeds)
        a = shared + rng.normal(1.0, 0.1, n_seeds)
        b = shared + rng.normal(1.0 + true, 0.1, n_seeds)
        effect = paired_effect(_by_seed(a), _by_seed(b), aim=-10.0, resolution=1e-9)
        hits += effect.low <= true <= effect.high
    # Binomial: 95 % ± 3 standard errors of 0.56 %.
    assert 0.933 <= hits / n_trials <= 0.967


def test_models_that_do_not_differ_get_a_verdict_in_fewer_than_five_of_a_hundred_comparisons():
    rng = np.random.default_rng(0)
    n_trials, n_metrics, false_alarms = 600, 8, 0
    for _ in range(n_trials):
        effects = [
            paired_effect(
                _by_seed(rng.normal(size=3)), _by_seed(rng.normal(size=3)), aim=-10.0, resolution=1e-9
            )
            for _ in range(n_metrics)
        ]
        false_alarms += any(found != "not resolved" for found, _ in judge(effects))
    # The family-wise rate is at most 5 %; 3 standard errors of 0.9 % for luck.
    assert false_alarms / n_trials <= 0.05 + 0.027


def test_a_large_difference_over_five_seeds_is_found():
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        shared = rng.normal(0, 1, 5)
        a, b = shared + rng.normal(5, 0.1, 5), shared + rng.normal(4, 0.1, 5)
        effect = paired_effect(_by_seed(a), _by_seed(b), aim=-10.0, resolution=1e-9)
        found += judge([effect] * 5)[0][0] == "B better"
    assert found >= 198


def test_what_is_aimed_at_is_the_ideal_or_what_real_cells_score():
    assert aimed_at(0.5, None, [0.9]) == 0.5
    assert aimed_at(1.0, "real", [0.79, 0.81]) == pytest.approx(0.80)
    unknown = aimed_at(1.0, "real", [])
    assert math.isnan(unknown)
    effect = paired_effect(_by_seed([0.7] * 3), _by_seed([0.9] * 3), aim=unknown, resolution=0.01)
    assert (effect.n_seeds, judge([effect])[0][0]) == (3, "not resolved: needs the control")


def test_distances_on_both_sides_do_not_make_up_for_each_other():
    assert mean_distance([0.7, 0.9], 0.8) == pytest.approx(0.1)
    assert math.isnan(mean_distance([], 0.8))
