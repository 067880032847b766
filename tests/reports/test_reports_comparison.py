"""Comparisons of generators, on views written by hand."""

import math

import pytest
from scipy import stats

from reports.comparison import Side, comparison_frame
from tests.reports.run_view import make_run_view, repeat_augmentation, score_of


def _shifted(view, model, metric, by):
    for seed in range(3):
        score_of(view, model, metric, seed)["values"][metric] += by[seed]
    return view


def _row(frame, metric):
    return frame.set_index("metric").loc[metric]


def test_the_same_model_in_two_runs_is_compared_seed_by_seed():
    a, b = make_run_view(), _shifted(make_run_view(), "activa", "mmd", [-0.10, -0.11, -0.12])
    row = _row(comparison_frame([(Side(a, "activa", "before"), Side(b, "activa", "after"))]), "mmd")
    expected = stats.ttest_1samp([-0.10, -0.11, -0.12], 0)
    assert (row["a"], row["b"], row["protocol"], row["n_seeds"]) == ("before", "after", "strict", 3)
    assert (row["value_a"], row["value_b"]) == pytest.approx((0.42, 0.31))
    assert row["effect"] == pytest.approx(-0.11)
    interval = expected.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    # The two other metrics and augmentation have p = 1 (no change) or none: three tests in all.
    assert row["p_value"] == pytest.approx(3 * expected.pvalue)
    assert row["verdict"] == "B better"


def test_metrics_that_did_not_change_are_not_resolved():
    frame = comparison_frame([(Side(make_run_view(), "activa", "x"), Side(make_run_view(), "activa", "y"))])
    assert set(frame["verdict"]) == {"not resolved"}
    assert _row(frame, "cd")["effect"] == 0


def test_two_models_of_one_run():
    view = make_run_view()
    frame = comparison_frame([(Side(view, "activa", "activa"), Side(view, "real", "real"))])
    # Distance of rf_auc to 0.5: activa .40 .42 .47, real .01 .00 .01.
    assert _row(frame, "rf_auc")["effect"] == pytest.approx((-0.39 - 0.42 - 0.46) / 3)
    assert "augmentation_f1" not in set(frame["metric"])


def test_fewer_than_three_common_seeds_resolve_nothing():
    view = make_run_view()
    frame = comparison_frame([(Side(view, "activa", "activa"), Side(view, "scgan", "scgan"))])
    row = _row(frame, "rf_auc")
    # scGAN has no third seed, and its cd only the first.
    assert (row["n_seeds"], row["verdict"]) == (2, "not resolved")
    assert row["value_a"] == pytest.approx(0.91)
    assert math.isnan(row["p_value"])
    assert _row(frame, "cd")["n_seeds"] == 1


def test_the_augmentation_experiment_is_paired_by_subsampling_seed():
    a, b = make_run_view(), make_run_view()
    repeat_augmentation(a, "activa", [0.70, 0.80])
    repeat_augmentation(b, "activa", [0.80, 0.91])
    row = _row(comparison_frame([(Side(a, "activa", "a"), Side(b, "activa", "b"))]), "augmentation_f1")
    # Distances to 1 shrink by 0, .10 and .11.
    assert (row["n_seeds"], row["effect"]) == (3, pytest.approx(-0.07))


def test_values_of_different_protocols_are_rows_of_their_own():
    a, b = make_run_view(), make_run_view()
    for view in (a, b):
        view["run"]["protocols"] = ["strict", "activa2022"]
        for seed in range(3):
            copy = score_of(view, "activa", "mmd", seed) | {"protocol": "activa2022"}
            copy["values"] = {"mmd": 5.0 + seed}
            view["scores"][f"activa-main-{seed}"].append(copy)
    frame = comparison_frame([(Side(a, "activa", "a"), Side(b, "activa", "b"))])
    by_protocol = frame[frame["metric"] == "mmd"].set_index("protocol")["value_a"].to_dict()
    assert by_protocol == {"strict": pytest.approx(0.42), "activa2022": pytest.approx(6.0)}


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("dataset_key", "0ther", "prepared cells (5ca1ab1e)+ and 0ther"),
        ("n_cells", 99, "cells a side 140 and 99"),
    ],
)
def test_runs_on_other_cells_do_not_compare(name, value, what):
    a, b = make_run_view(), make_run_view()
    b["run"][name] = value
    with pytest.raises(ValueError, match=what):
        comparison_frame([(Side(a, "activa", "a"), Side(b, "activa", "b"))])
