"""The attack on donors as a table: means by hand, who counts as found, what is said below."""

import math

import pytest

from reports.donors import CONTROL, attacked, finds_what_it_should
from reports.further_tables import donors_remarks, donors_tables
from tests.reports.run_view import built, make_run_view, record_of

TRAINED, LEFT_OUT = ["a", "b"], ["c", "d"]


def with_attack(scores_of_model, *, draws_from="model", n_splits=3):
    """Add the experiment to a run: scores of the donors a, b (trained on), c, d by attack, for each split."""
    view = make_run_view(seeds=1)
    view["metrics"] = [*view["metrics"], METRIC]
    for model, scores in scores_of_model.items():
        main = record_of(view, "activa")
        for split in range(n_splits):
            experiment = {
                "kind": "donors",
                "subsample_seed": split,
                "added_cells": 100,
                "trained_donors": [f"{name}{split}" for name in TRAINED],
                "left_out_donors": [f"{name}{split}" for name in LEFT_OUT],
                "reference_donors": ["k"],
            }
            job = main["job"] | {"model": model, "experiment": experiment, "draws_from": draws_from}
            key = f"{model}-donors-{split}"
            view["records"].append(main | {"key": key, "job": job})
            view["scores"][key] = [] if scores is None else [score(scores, split)]
    return view


METRIC = {
    "name": "donor_attack",
    "better": "lower",
    "ideal": 0.5,
    "bounds": [0.0, 1.0],
    "experiment": "donors",
    "group": "memorisation",
}


def score(scores, split):
    if isinstance(scores, str):
        return {"metric": "donor_attack", "protocol": "strict", "n_cells": 100, "values": {}, "error": scores}
    named = {
        attack: {f"{name}{split}": value for name, value in zip("abcd", values, strict=True)}
        for attack, values in scores.items()
    }
    even = {f"{name}{split}": 0.0 for name in "abcd"}
    return {
        "metric": "donor_attack",
        "protocol": "strict",
        "n_cells": 100,
        "values": {"donor_attack": 0.5},
        "details": {
            "trained": [f"{name}{split}" for name in TRAINED],
            "scores": named,
            "control": {"likelihood": even, "density": even},
        },
    }


def test_the_stronger_attack_decides():
    scores = {"likelihood": [3.0, 1.0, 2.0, 0.0], "density": [3.0, 2.0, 1.0, 0.0]}
    control, row = attacked(built(with_attack({"activa": scores})))
    assert row.auc["likelihood"].mean == pytest.approx(0.75)
    assert (row.stronger, row.auc["density"].mean, row.found) == ("density", 1.0, 1.0)
    assert (row.auc["density"].low, row.auc["density"].high) == (1.0, 1.0)
    assert (row.verdict, row.n_splits, row.n_donors) == ("donors are found", 3, 4)
    assert (control.model, control.auc["density"].mean, control.verdict) == (CONTROL, 0.5, "not resolved")


def test_an_interval_that_holds_one_half_resolves_nothing():
    scores = {"likelihood": [3.0, 0.0, 2.0, 1.0], "density": [0.0, 0.0, 0.0, 0.0]}
    row = attacked(built(with_attack({"activa": scores})))[1]
    # 3 > 2, 3 > 1, 0 < 2, 0 < 1; a alone lies above all others.
    assert (row.auc["likelihood"].mean, row.found, row.verdict) == (0.5, 0.5, "not resolved")
    assert row.auc["likelihood"].low < 0.5 < row.auc["likelihood"].high


def test_where_no_copies_were_attacked_nothing_tells_whether_the_attack_works():
    even = {"likelihood": [0.0] * 4, "density": [0.0] * 4}
    for view in (with_attack({"activa": even}), with_attack({"memorise": None}, draws_from="training cells")):
        assert finds_what_it_should(built(view)) is None
    remarks = " ".join(donors_remarks(built(with_attack({"activa": even}))))
    assert "nothing tells whether the attack works here" in remarks
    assert "this run resolves nothing" not in remarks


def test_two_splits_have_no_interval_and_so_no_finding():
    scores = {"likelihood": [3.0, 2.0, 1.0, 0.0], "density": [3.0, 2.0, 1.0, 0.0]}
    row = attacked(built(with_attack({"activa": scores}, n_splits=2)))[1]
    assert math.isnan(row.auc["likelihood"].low)
    assert row.verdict == "not resolved"


def test_the_table_says_that_nothing_is_resolved_where_not_even_copies_are_found():
    even = {"likelihood": [0.0] * 4, "density": [0.0] * 4}
    view = built(with_attack({"memorise": even}, draws_from="training cells"))
    assert not finds_what_it_should(view)
    assert "this run resolves nothing" in " ".join(donors_remarks(view))
    told = {"likelihood": [3.0, 2.0, 1.0, 0.0], "density": [3.0, 2.0, 1.0, 0.0]}
    view = built(with_attack({"memorise": told}, draws_from="training cells"))
    assert finds_what_it_should(view)
    remarks = " ".join(donors_remarks(view))
    assert "this run resolves nothing" not in remarks
    assert "asks of 4 donors, half of whom were trained on" in remarks


def test_what_has_no_score_is_a_row_with_its_reason():
    reason = "the attack looks at whole counts, and these cells are cp20k"
    view = built(with_attack({"activa": reason}))
    (row,) = attacked(view)
    assert (row.auc, row.verdict, row.reason) == ({}, "", reason)
    # Of what was not scored nothing is said but why: neither how many donors nor that the attack failed.
    assert donors_remarks(view) == [f"activa: {reason}"]
    ((_, table, said),) = donors_tables(view)
    assert said == donors_remarks(view)
    assert [cell.plain for cell in table.columns[-1].cells] == ["not scored"]
    names = [cell.plain for cell in table.name.cells]
    assert names == ["activa"]


def test_without_the_experiment_there_is_no_table():
    view = built(make_run_view(seeds=1))
    assert donors_tables(view) == []
    assert donors_remarks(view) == []


def test_the_attack_is_told_where_the_first_protocol_is_another():
    told = {"likelihood": [3.0, 2.0, 1.0, 0.0], "density": [3.0, 2.0, 1.0, 0.0]}
    view = with_attack({"activa": told})
    view["run"] |= {"protocols": ["activa2022", "strict"]}
    assert attacked(built(view))[1].auc["density"].mean == 1.0
