"""Scores against those of a baseline's seeds."""

import copy

import numpy as np
import pytest

from bench.errors import RequestError
from bench.gate.quality import accepted_quality, compare_quality, quality_of
from reports.comparison import Side, comparison_frame
from tests.reports.run_view import built, make_run_view, record_of

RF_AUC = {"name": "rf_auc", "better": "lower", "ideal": 0.5}


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
        draft = make_run_view(seeds=1)
        usual, metric = record_of(draft, "activa"), draft["metrics"][0]
        job = usual["job"] | {"role": self.role, "model": "mine", "budget": self.budget}
        job |= {"dataset": "cells", "dataset_key": self.dataset_key}
        seeds = range(len(self.values))
        draft["run"]["protocol_facts"] = {"strict": {"n_cells": self.n_cells}}
        draft["metrics"] = [metric | declared for declared in self.metrics]
        draft["records"] = [
            usual | {"key": f"job{seed}", "job": job | {"seed": seed}, "reason": self.reason}
            for seed in seeds
        ]
        draft["scores"] = {
            f"job{seed}": []
            if self.reason
            else [scored(0.69 if value is None else value - 0.01), last(value)]
            for seed, value in zip(seeds, self.values, strict=True)
        }
        return built(draft)


def scored(value):
    facts = {"metric": "rf_auc", "protocol": "strict", "n_cells": 600}
    return facts | {"values": {"rf_auc": value}, "error": None}


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
    # Farther by .033, .023, .013: t = .023 / (.01 / √3) = 3.98 on two degrees of freedom, p = .058.
    assert status(seeds, [0.733] * 3) == "no regression"
    # By .035, .025, .015: t = 4.33, p = .049.
    assert status(seeds, [0.735] * 3) == "regression"
    assert status(seeds, [0.6] * 3) == "no regression"
    # Below the ideal is as far from it.
    assert status(seeds, [0.26] * 3) == "regression"


def test_two_seeds_decide_nothing_and_equal_seeds_leave_room_for_a_cell():
    assert status([0.7, 0.7], [0.99] * 3) == "undecided"
    assert status([0.7] * 3, [0.7] * 3) == "no regression"
    # One cell of 600 stands for the scatter: t = .0035 · 600 · √3 = 3.64, p = .068; .0045: 4.68, .043.
    assert status([0.7] * 3, [0.7035] * 3) == "no regression"
    assert status([0.7] * 3, [0.7045] * 3) == "regression"


def numbered(values, *, seeds=(0, 1, 2), n_metrics=1):
    """Return scores as `quality_of` does, of as many metrics as there are rows of values."""
    metrics = {
        f"m{number}": {
            "better": "lower",
            "ideal": 0.5,
            "judged_by": None,
            "real": [],
            "code": ["c"],
            "values": dict(zip(map(str, seeds), row, strict=True)),
            "lost": {},
        }
        for number, row in enumerate(values)
    }
    facts = {"dataset": "d", "dataset_key": "k", "budget": None, "protocol": "strict", "n_cells": 600}
    return {"mine · strict": facts | {"metrics": metrics}}


def test_other_seeds_decide_nothing_and_say_so():
    [found] = compare_quality(
        numbered([[0.7, 0.7, 0.7]]), numbered([[0.9, 0.9, 0.9]], seeds=(1, 2, 3))
    ).findings
    assert found.status == "undecided"
    assert found.note == "2 seeds are common with the baseline; a verdict needs 3"


def test_scores_share_the_error_of_a_build():
    before, after = [0.70, 0.71, 0.72], [0.735] * 3
    assert compare_quality(numbered([before]), numbered([after])).exit_code == 3
    # p = .049 is the least of two: Holm doubles it.
    both = compare_quality(numbered([before] * 2), numbered([after, before]))
    assert both.exit_code == 0
    assert both.remarks == ["quality: 5% of false verdicts shared by 2 scores"]


def test_builds_in_which_nothing_changed_fail_as_seldom_as_is_said():
    rng = np.random.default_rng(0)
    n_builds, failed = 600, 0
    for _ in range(n_builds):
        sides = (numbered(rng.normal(5, 1, (8, 3)).tolist()) for _ in range(2))
        failed += compare_quality(*sides).exit_code == 3
    # Half of 5 %, and three standard errors of 0.64 %.
    assert failed / n_builds <= 0.025 + 0.019


def with_precision(view, values):
    declared = view["metrics"][0] | {"name": "precision", "ideal": 1.0, "floors": [], "judged_by": "real"}
    view["metrics"] = [*view["metrics"], declared | {"better": "higher"}]
    view["run"]["protocol_facts"] = {"strict": {"n_cells": 140}}
    for model, of_seeds in values.items():
        for seed, value in enumerate(of_seeds):
            scores = view["scores"][f"{model}-main-{seed}"]
            scores.append(scores[0] | {"metric": "precision", "values": {"precision": value}})
    return view


class Viewed:
    def __init__(self, view):
        self.view = lambda: built(view)


def both_verdicts(before, after):
    """Return what the gate and what `bench compare` say of activa's precision in two runs."""
    a, b = (with_precision(make_run_view(), values) for values in (before, after))
    outcome = compare_quality(*(quality_of(Viewed(copy.deepcopy(view))) for view in (a, b)))
    [gate] = [
        one for one in outcome.findings if (one.subject, one.measure) == ("activa · strict", "precision")
    ]
    frame = comparison_frame([(Side(built(a), "activa", "a"), Side(built(b), "activa", "b"))])
    return gate, frame[frame["metric"] == "precision"].iloc[0]["verdict"]


REAL = [0.79, 0.80, 0.81]


def test_the_gate_and_compare_give_one_verdict_on_a_collapse():
    """Cells that crowd among real ones have a precision that real cells do not reach."""
    gate, verdict = both_verdicts(
        {"real": REAL, "activa": [0.79, 0.78, 0.80]}, {"real": REAL, "activa": [0.97, 0.96, 0.98]}
    )
    assert (gate.status, verdict) == ("regression", "A better")
    assert gate.allowed == "0.01 from 0.8 (real cells), now 0.17"
    # And the way back is none.
    gate, verdict = both_verdicts(
        {"real": REAL, "activa": [0.97, 0.96, 0.98]}, {"real": REAL, "activa": [0.79, 0.78, 0.80]}
    )
    assert (gate.status, verdict) == ("no regression", "B better")


@pytest.mark.parametrize("seed", range(8))
def test_the_gate_and_compare_give_one_verdict(seed):
    rng = np.random.default_rng(seed)
    before, after = (rng.normal(0.8, 0.02, 3).tolist() for _ in range(2))
    after = [value + 0.02 * seed for value in after]
    gate, verdict = both_verdicts({"real": REAL, "activa": before}, {"real": REAL, "activa": after})
    assert (gate.status == "regression") == (verdict == "A better")


def test_without_the_control_neither_gives_one():
    gate, verdict = both_verdicts({"activa": [0.79] * 3}, {"activa": [0.97] * 3})
    assert (gate.status, verdict) == ("undecided", "not resolved: needs the control")
    assert gate.note == "neither side says what real cells score (real)"


def test_what_real_cells_score_is_stored_with_the_baseline():
    view = with_precision(make_run_view(), {"real": REAL, "activa": [0.79] * 3})
    stored = accepted_quality(Viewed(view))["activa · strict"]["metrics"]["precision"]
    assert (stored["judged_by"], stored["real"]) == ("real", REAL)
    without = with_precision(make_run_view(), {"activa": [0.97] * 3})
    outcome = compare_quality({"activa · strict": stored_of(view)}, quality_of(Viewed(without)))
    assert [one.status for one in outcome.findings if one.measure == "precision"] == ["regression"]


def stored_of(view):
    return accepted_quality(Viewed(view))["activa · strict"]


def test_a_baseline_of_other_metric_code_is_refused_with_the_command_that_accepts_a_new_one():
    before, after = numbered([[0.7] * 3]), numbered([[0.7] * 3])
    before["mine · strict"]["metrics"]["m0"]["code"] = ["older"]
    with pytest.raises(
        RequestError,
        match=r"m0 of mine · strict .*\(older\) than --current \(c\): accept .* --accept --reason",
    ):
        compare_quality(before, after)
    # A baseline of earlier versions does not say what code made it.
    del before["mine · strict"]["metrics"]["m0"]["code"]
    with pytest.raises(RequestError, match=r"\(unknown\)"):
        compare_quality(before, after)


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
    assert stored.keys() == {"better", "ideal", "judged_by", "real", "code", "values"}


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
