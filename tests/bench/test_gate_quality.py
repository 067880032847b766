"""Scores against those of a baseline's seeds."""

import numpy as np
import pytest

from bench.errors import RequestError
from bench.gate.quality import accepted_quality, compare_quality, highest_mean, judge_metric, quality_of

RF_AUC = {"name": "rf_auc", "better": "lower", "ideal": 0.5}


def test_the_prediction_interval_worked_by_hand():
    # Mean 2, s = 1; t of 2 degrees of freedom at 1 % is 6.9646; √(1/3 + 1/3) = 0.8165.
    assert highest_mean([1, 2, 3], 3, error=0.01, resolution=0) == pytest.approx(
        2 + 6.9646 * 0.8165, abs=1e-3
    )
    # One new value scatters more than a mean of many.
    assert highest_mean([1, 2, 3], 1, error=0.01, resolution=0) > highest_mean(
        [1, 2, 3], 10, error=0.01, resolution=0
    )


def test_a_new_mean_is_outside_as_often_as_allowed():
    draws = np.random.default_rng(0).normal(5, 2, (4000, 7))
    outside = [new[4:].mean() > highest_mean(new[:4], 3, error=0.05, resolution=0) for new in draws]
    assert np.mean(outside) == pytest.approx(0.05, abs=0.012)


class Folder:
    """A run of a model, with two samples a seed; a seed whose value is None failed to be scored once."""

    def __init__(
        self,
        values,
        *,
        n_cells=600,
        budget="40 epochs",
        dataset_key="k",
        role="model",
        metrics=(RF_AUC,),
        reason="",
    ):
        self.values, self.n_cells, self.budget = values, n_cells, budget
        self.dataset_key, self.role = dataset_key, role
        self.metrics, self.reason = metrics, reason

    def jobs(self):
        return []

    def job_folder(self, job):
        raise AssertionError(job)

    def view(self):
        jobs = {
            f"job{seed}": {
                "experiment": {"kind": "main"},
                "role": self.role,
                "model": "mine",
                "seed": seed,
                "dataset": "cells",
                "dataset_key": self.dataset_key,
                "budget": self.budget,
            }
            for seed in range(len(self.values))
        }
        return {
            "run": {"protocols": ["strict"], "protocol_facts": {"strict": {"n_cells": self.n_cells}}},
            "metrics": self.metrics,
            "records": [{"key": key, "job": job, "reason": self.reason} for key, job in jobs.items()],
            "scores": {
                key: [] if self.reason else [scored(0.69 if value is None else value - 0.01), last(value)]
                for key, value in zip(jobs, self.values, strict=True)
            },
        }


def scored(value):
    return {"metric": "rf_auc", "protocol": "strict", "values": {"rf_auc": value}, "error": None}


def last(value):
    crashed = {"values": {}, "error": "ValueError: no trees", "failed": True}
    return scored(0.0) | crashed if value is None else scored(value + 0.01)


def test_scores_are_read_by_seed_and_averaged_over_samples():
    found = quality_of(Folder([0.7, 0.8, 0.9]))["mine · strict"]
    assert found["metrics"]["rf_auc"]["values"] == pytest.approx({"0": 0.7, "1": 0.8, "2": 0.9})
    assert (found["n_cells"], found["budget"]) == (600, "40 epochs")
    assert quality_of(Folder([0.7], role="floor")) == {}


def status(before, after):
    return compare_quality(quality_of(Folder(before)), quality_of(Folder(after))).findings[0].status


def test_worse_is_farther_from_the_ideal_than_the_seeds_allow():
    seeds = [0.70, 0.71, 0.72]
    # Distances 0.20, 0.21, 0.22; t at 5 % is 2.920: up to 0.21 + 2.920 · 0.01 · 0.8165 = 0.2338.
    assert status(seeds, [0.733] * 3) == "no regression"
    assert status(seeds, [0.735] * 3) == "regression"
    assert status(seeds, [0.6] * 3) == "no regression"
    # Below the ideal is as far from it.
    assert status(seeds, [0.26] * 3) == "regression"


def test_two_seeds_decide_nothing_and_equal_seeds_leave_room_for_a_cell():
    assert status([0.7, 0.7], [0.99] * 3) == "undecided"
    assert status([0.7] * 3, [0.7] * 3) == "no regression"
    # One cell of 600 stands for the scatter: 2.920 · 0.8165 / 600 = 0.0040.
    assert status([0.7] * 3, [0.7035] * 3) == "no regression"
    assert status([0.7] * 3, [0.7045] * 3) == "regression"


def test_scores_share_the_error():
    wide = judge_metric(
        "m",
        "rf_auc",
        {**RF_AUC, "values": {"0": 0.70, "1": 0.71, "2": 0.72}},
        {"values": {"0": 0.735}, "lost": {}},
        error=0.001,
        resolution=0,
    )
    assert wide.status == "no regression"


def finding(before, after):
    [found] = compare_quality(quality_of(before), quality_of(after)).findings
    return found


def test_a_metric_that_crashes_fails_the_gate():
    good = Folder([0.70, 0.71, 0.72])
    lost = finding(good, Folder([0.70, None, 0.72]))
    assert lost.status == "failed"
    assert lost.note == "1 of 3 seeds have no value; seed 1: ValueError: no trees"
    assert compare_quality(quality_of(good), quality_of(Folder([None] * 3))).exit_code == 1
    # Nor may a seed whose training failed vanish from the mean.
    untrained = finding(good, Folder([0.7] * 3, reason="the loss is not finite"))
    assert untrained.status == "failed" and "3 of 3" in untrained.note and "not finite" in untrained.note


def test_a_metric_that_was_not_asked_for_or_that_the_baseline_lacks_is_no_failure():
    good = Folder([0.70, 0.71, 0.72])
    assert finding(good, Folder([0.7] * 3, metrics=())).status == "not comparable"
    assert compare_quality(quality_of(Folder([None] * 3)), quality_of(good)).findings == []


def test_only_metrics_of_which_every_seed_has_a_value_are_accepted():
    assert accepted_quality(Folder([0.70, None, 0.72])) == {}
    stored = accepted_quality(Folder([0.7, 0.8]))["mine · strict"]["metrics"]["rf_auc"]
    assert stored.keys() == {"better", "ideal", "values"}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"n_cells": 500}, "n_cells 500, its baseline 600"),
        ({"budget": "2 epochs"}, "budget 2 epochs, its baseline 40 epochs"),
        ({"dataset_key": "z"}, r"data set cells \(z\), its baseline cells \(k\)"),
    ],
)
def test_unlike_runs_are_refused_by_name(other, words):
    with pytest.raises(RequestError, match=words):
        compare_quality(quality_of(Folder([0.7] * 3)), quality_of(Folder([0.7] * 3, **other)))


def test_nothing_in_common_is_refused():
    with pytest.raises(RequestError, match="the baseline of nothing"):
        compare_quality({}, quality_of(Folder([0.7] * 3)))


def test_a_model_that_has_no_scores_any_more_fails():
    stored = quality_of(Folder([0.7] * 3))
    (lost,) = [
        one
        for one in compare_quality(stored | {"gone · strict": {}}, stored).findings
        if one.note[:7] == "the run"
    ]
    assert (lost.subject, lost.status) == ("gone · strict", "failed")
