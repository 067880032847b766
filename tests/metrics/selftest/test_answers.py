from dataclasses import replace

import numpy as np
import pytest

from metrics.selftest.answers import answer, tolerance
from metrics.selftest.expectations import COSTLY, MUST_ANSWER, MUST_NOT_ANSWER, asked_about
from metrics.selftest.ladder import LADDERS
from metrics.zero_fraction import METRIC as LOWER

HIGHER = replace(LOWER, better="higher", ideal=9.0)
AREA = replace(LOWER, ideal=0.5)


def test_tolerance_is_the_range_of_one_draw_by_the_t_distribution():
    # t of 3 degrees of freedom at 97.5 % is 3.1824; the standard deviation of 1, 2, 3, 4 is √(5/3).
    assert tolerance([1, 2, 3, 4], share_drawn=0.0) == pytest.approx(3.1824 * np.sqrt(5 / 3), rel=1e-4)


def test_draws_that_overlap_vary_less_than_they_should():
    assert tolerance([1, 2, 3, 4], share_drawn=0.75) == pytest.approx(
        2 * tolerance([1, 2, 3, 4], share_drawn=0.0)
    )


def test_tolerance_of_overlapping_draws_is_that_of_independent_ones():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        pool = rng.normal(size=40)
        means = [rng.choice(pool, 20, replace=False).mean() for _ in range(5)]
        found.append(tolerance(means, share_drawn=0.5) ** 2)
    # Of independent samples of 20 the variance is 1/20; t of 4 degrees of freedom is 2.7764.
    assert np.mean(found) == pytest.approx(2.7764**2 / 20, rel=0.05)


def test_nothing_varies_less_than_rounding():
    assert tolerance([0.5, 0.5, 0.5], share_drawn=0.1) == pytest.approx(5e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.3, 2.0, 4.0], "worse"),
        ([1.0, 2.0, 1.8, 4.0], "worse"),
        ([1.0, 3.0, 1.8, 4.0], "mixed"),
        ([1.0, 3.0, 1.2], "mixed"),
        ([1.0, 1.2, 0.9], "none"),
        ([4.0, 2.0, 1.0], "better"),
        ([4.0, 2.0, 3.0, 1.0], "mixed"),
        ([1.0, None, 4.0], "worse"),
        ([1.0, None, None], "not applicable"),
        ([None, 1.0, 2.0], "not applicable"),
    ],
)
def test_answers(values, expected):
    assert answer(LOWER, values, tolerance=0.5) == expected
    turned = [None if value is None else HIGHER.ideal - value for value in values]
    assert answer(HIGHER, turned, tolerance=0.5) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.47, 0.44, 0.23, 0.23], "worse"),
        ([0.45, 0.6, 0.3, 0.9], "worse"),
        ([0.6, 0.5, 0.4], "none"),
        ([0.6, 0.5, 0.3], "worse"),
        ([0.47, 0.53, 0.5], "none"),
    ],
)
def test_below_an_area_of_one_half_is_as_bad_as_above(values, expected):
    assert answer(AREA, values, tolerance=0.07) == expected


def test_expectations_name_ladders_that_there_are_and_do_not_contradict_each_other():
    assert set(MUST_ANSWER) == set(LADDERS)
    assert set(MUST_NOT_ANSWER) <= set(LADDERS)
    for name, metrics in MUST_NOT_ANSWER.items():
        assert set(metrics) & set(MUST_ANSWER[name]) == set()


def test_expectations_name_metrics_that_there_are():
    from bench.request.registry import plugins

    named = {
        name for table in (MUST_ANSWER, MUST_NOT_ANSWER) for metrics in table.values() for name in metrics
    }
    assert named <= set(plugins("bench.metrics"))


def test_every_metric_must_answer_some_ladder():
    """A new metric comes with a corruption that it must see."""
    from bench.request.registry import plugins, resolve_metric

    main = {name for name in plugins("bench.metrics") if resolve_metric(name).experiment == "main"}
    assert main - {name for metrics in MUST_ANSWER.values() for name in metrics} == set()


def test_whatever_is_not_costly_is_asked_about_every_ladder():
    assert not LOWER.default
    assert all(asked_about(LOWER, ladder) for ladder in LADDERS)
    costly = replace(LOWER, name=COSTLY[0])
    asked = {ladder for ladder in LADDERS if asked_about(costly, ladder)}
    assert asked == {"wrong_zeros", "wrong_library_size"}
