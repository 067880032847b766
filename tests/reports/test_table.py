import io
import math

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console
from scipy import stats

from reports import table
from reports.augmentation import augmentation_frame
from reports.console import print_report
from reports.figures import save_figures
from reports.formats import as_json, as_markdown
from reports.html import html_report
from reports.rows import summarise
from reports.suspicion import copiers
from reports.table import results, results_frame, score_values, whole_frame
from reports.view import NamedRun, Score
from tests.reports.run_view import (
    as_protocol,
    built,
    checked,
    fail_after_storing,
    fail_score,
    make_run_view,
    record_of,
    repeat_augmentation,
    score_of,
    unstart,
)


def row(view, model):
    return results_frame(built(view)).set_index("model").loc[model]


def suspects(view):
    return results(built(view)).suspect


def test_rows_stand_in_order_models_ceiling_floors_cheat():
    view = make_run_view()
    view["records"].reverse()
    frame = results_frame(built(view))
    assert frame["role"].tolist() == ["model"] * 3 + ["ceiling", "floor", "floor", "cheat"]
    assert frame["model"].tolist() == ["cscgan", "scgan", "activa", "real", "poisson", "shuffle", "memorise"]


def test_a_single_seed_gives_its_own_values_and_no_interval():
    view = make_run_view(seeds=1)
    activa = row(view, "activa")
    assert activa["budget"] == "40 epochs"
    assert activa["training_seconds"] == 30.0
    assert activa["steps_per_second"] == pytest.approx(200 / 30)
    assert (activa["sample_cells"], activa["sample_seconds"], activa["sample_density"]) == (
        100_000,
        1.25,
        0.68,
    )
    assert activa["peak_rss_gib"] == 1.5
    assert (activa["rf_auc"], activa["rf_auc_sd"], activa["mmd"], activa["cd"]) == (0.90, 0.004, 0.40, 3.0)
    assert (activa["status"], activa["reason"], activa["n_seeds"]) == ("ok", "", 1)
    assert row(view, "scgan")["peak_device_gib"] == 3.0
    assert not [name for name in activa.index if name.endswith(("_low", "_high"))]


def test_three_seeds_give_mean_and_t_interval_worked_by_hand():
    activa = row(make_run_view(), "activa")
    # 30, 33, 36: mean 33, standard deviation 3; t(0.975, 2) = 4.302653.
    half = 4.302653 * 3 / math.sqrt(3)
    assert activa["training_seconds"] == 33.0
    assert activa["training_seconds_low"] == pytest.approx(33 - half, abs=1e-5)
    assert activa["training_seconds_high"] == pytest.approx(33 + half, abs=1e-5)
    low, high = stats.ttest_1samp([0.90, 0.92, 0.97], 0).confidence_interval(0.95)
    assert high > 1  # where no area can lie: the interval ends at the metric's bound
    assert (activa["rf_auc_low"], activa["rf_auc_high"]) == pytest.approx((low, 1.0))


def test_two_values_have_a_mean_but_no_interval():
    scgan = row(make_run_view(), "scgan")
    assert scgan["mmd"] == pytest.approx(0.85)
    assert math.isnan(scgan["mmd_low"])
    assert math.isnan(summarise([1.0, 3.0]).high)


def test_a_column_that_rests_on_fewer_values_than_the_row_says_on_how_many():
    view = make_run_view()
    assert row(view, "scgan")[["cd_n", "n_seeds"]].tolist() == [1, 2]
    # The augmentation experiment counts subsampling seeds.
    assert row(view, "activa")[["cd_n", "augmentation_f1_n", "n_seeds"]].tolist() == [3, 1, 3]
    uneven = {name for name in results_frame(built(view)) if name.endswith("_n")}
    assert uneven == {"cd_n", "augmentation_f1_n", "average_precision_n"}


def test_what_failed_is_a_row_with_status_and_reason():
    view = make_run_view()
    assert row(view, "scgan")[["status", "reason", "n_seeds"]].tolist() == [
        "2 ok, 1 killed",
        "ended by signal SIGKILL",
        2,
    ]
    cscgan = row(view, "cscgan")
    assert (cscgan["status"], cscgan["reason"], cscgan["n_seeds"]) == (
        "diverged",
        "critic loss is NaN at step 17",
        0,
    )
    assert np.isnan(cscgan[["training_seconds", "rf_auc", "cd"]].astype(float)).all()


def test_a_job_that_failed_after_its_cells_were_stored_keeps_its_scores():
    view = make_run_view()
    fail_after_storing(view, "activa", 2)
    activa = row(view, "activa")
    assert activa[["rf_auc", "training_seconds"]].tolist() == pytest.approx([0.93, 33.0])
    assert activa[["status", "n_seeds", "sample_seconds_n"]].tolist() == ["2 ok, 1 timeout", 3, 2]
    record_of(view, "activa", kind="augmentation")["status"] = "timeout"
    augmented = augmentation_frame(built(view)).set_index("augmenter").loc["activa"]
    assert augmented[["augmentation_f1", "status", "n_subsamples"]].tolist() == [0.75, "timeout", 1]


def test_a_failed_job_without_scores_gives_no_figures():
    view = make_run_view(seeds=1)
    fail_after_storing(view, "activa")
    view["scores"][record_of(view, "activa")["key"]] = []
    assert np.isnan(row(view, "activa")[["training_seconds", "peak_rss_gib", "rf_auc"]].astype(float)).all()


def test_planned_jobs_that_have_not_run_are_rows():
    view = make_run_view(seeds=1)
    unstart(view, "memorise")
    unstart(view, "cscgan", kind="augmentation")
    assert row(view, "memorise")[["status", "reason", "n_seeds"]].tolist() == ["not run", "", 0]
    assert augmentation_frame(built(view)).iloc[-1][["status", "n_subsamples"]].tolist() == ["not run", 0]


def test_an_augmentation_score_that_failed_does_not_count():
    view = make_run_view(seeds=1)
    repeat_augmentation(view, "activa", [0.85])
    view["scores"]["activa-subsample-1"][0].update(values={}, error="no")
    augmented = augmentation_frame(built(view)).set_index("augmenter").loc["activa"]
    assert augmented[["augmentation_f1", "n_subsamples"]].tolist() == [0.75, 1]


def test_sample_seeds_are_averaged_within_a_job():
    view = make_run_view(seeds=1)
    scores = view["scores"][record_of(view, "activa")["key"]]
    again = score_of(view, "activa", "mmd") | {"sample_seed": 1, "values": {"mmd": 0.60}}
    scores.append(again)
    assert row(view, "activa")["mmd"] == pytest.approx(0.5)
    assert score_values([checked(Score, again), checked(Score, again | {"error": "no", "values": {}})]) == {
        "mmd": 0.60
    }


def test_scores_of_another_protocol_stay_out():
    view = make_run_view(seeds=1)
    scores = view["scores"][record_of(view, "activa")["key"]]
    scores.append(score_of(view, "activa", "mmd") | {"protocol": "activa2022", "values": {"mmd": 9.0}})
    assert row(view, "activa")["mmd"] == 0.40
    view["run"]["protocols"] = ["activa2022"]
    assert row(view, "activa")["mmd"] == 9.0


def test_the_augmentation_experiment_gives_its_score_and_nothing_of_its_cost():
    activa = row(make_run_view(seeds=1), "activa")
    assert activa["augmentation_f1"] == 0.75
    assert activa["average_precision"] == 0.8
    assert activa["training_seconds"] == 30.0


def test_the_main_table_takes_the_smallest_fraction_that_keeps_ten_cells():
    view = make_run_view(seeds=1)
    main = record_of(view, "activa", kind="augmentation")
    for fraction, kept, f1 in ((0.05, 10, 0.5), (0.01, 2, 0.1)):
        experiment = main["job"]["experiment"] | {"fraction": fraction, "kept_cells": kept}
        key = f"activa-{fraction}"
        view["records"].append(main | {"key": key, "job": main["job"] | {"experiment": experiment}})
        score = view["scores"][main["key"]][0]
        view["scores"][key] = [score | {"values": {"augmentation_f1": f1}}]
    assert built(view).headline_fraction == 0.05
    assert row(view, "activa")["augmentation_f1"] == 0.5
    frame = augmentation_frame(built(view))
    activa = frame[frame["augmenter"] == "activa"]
    assert activa[["fraction", "kept_cells", "augmentation_f1"]].values.tolist() == [
        [0.1, 19, 0.75],
        [0.05, 10, 0.5],
        [0.01, 2, 0.1],
    ]


def test_the_augmentation_table_puts_models_behind_the_cheap_augmenters():
    frame = augmentation_frame(built(make_run_view()))
    assert frame["augmenter"].tolist() == [
        "none",
        "class_weights",
        "duplication",
        "smote",
        "poisson_jitter",
        "activa",
        "cscgan",
    ]
    assert frame["augmentation_f1"].tolist()[:6] == [0.2, 0.3, 0.4, 0.5, 0.6, 0.75]
    assert frame["kept_cells"].unique().tolist() == [19]
    assert frame.iloc[-1][["status", "n_subsamples"]].tolist() == ["timeout", 0]


def test_a_run_without_records_gives_an_empty_table():
    view = make_run_view()
    view |= {"records": [], "scores": {}, "augmentation_baselines": []}
    frame = results_frame(built(view))
    assert frame.empty
    assert {"model", "training_seconds", "status"} <= set(frame.columns)
    assert augmentation_frame(built(view)).empty
    assert suspects(view) == []


def test_a_sound_run_is_not_suspect():
    assert suspects(make_run_view()) == []


def test_a_floor_nearer_to_the_ideal_than_real_is_suspect():
    view = make_run_view(seeds=1)
    # rf_auc's ideal lies in the middle: 0.40 is 0.10 away, the ceiling's 0.62 is 0.12 away.
    score_of(view, "poisson", "rf_auc")["values"]["rf_auc"] = 0.40
    score_of(view, "real", "rf_auc")["values"]["rf_auc"] = 0.62
    assert suspects(view) == ["rf_auc (ideal 0.5): poisson 0.4 is not worse than real 0.62"]


def test_a_tie_is_suspect_and_what_is_missing_is_not():
    view = make_run_view(seeds=1)
    score_of(view, "shuffle", "mmd")["values"]["mmd"] = 0.02
    fail_score(view, "shuffle", "cd", "no cluster has a gene")
    assert suspects(view) == ["mmd (ideal 0): shuffle 0.02 is not worse than real 0.02"]


def test_floors_without_a_ceiling_are_suspect():
    view = make_run_view(seeds=1)
    fail_score(view, "real", "rf_auc", "too few cells")
    assert suspects(view) == ["no ceiling: real has no rf_auc"]
    for floor in ("shuffle", "poisson"):
        fail_score(view, floor, "rf_auc", "too few cells")
    assert suspects(view) == []
    view["records"] = [record for record in view["records"] if record["job"]["model"] != "real"]
    assert suspects(view) == ["no ceiling: real has no mmd", "no ceiling: real has no cd"]


def test_a_place_lies_between_the_best_floor_and_real():
    frame = results_frame(built(make_run_view(seeds=1))).set_index("model")
    # Distances to 0.5: activa .40, poisson .38 (the best floor), real .01.
    assert frame.loc["activa", "rf_auc_position"] == pytest.approx((0.38 - 0.40) / (0.38 - 0.01))
    assert frame.loc["real", "rf_auc_position"] == pytest.approx(1)
    assert frame.loc["poisson", "rf_auc_position"] == pytest.approx(0)
    assert np.isnan(frame.loc["cscgan", "rf_auc_position"])


def test_a_value_below_an_ideal_is_placed_as_one_as_far_above_it():
    above, below = make_run_view(seeds=1), make_run_view(seeds=1)
    score_of(below, "activa", "rf_auc")["values"]["rf_auc"] = 0.10
    places = [
        results_frame(built(view)).set_index("model").loc["activa", "rf_auc_position"]
        for view in (above, below)
    ]
    assert places[0] == pytest.approx(places[1])
    assert places[1] < 0


def test_values_on_both_sides_of_the_ideal_do_not_make_up_for_each_other():
    view = make_run_view()
    for seed, value in enumerate((0.2, 0.5, 0.8)):
        score_of(view, "activa", "rf_auc", seed)["values"]["rf_auc"] = value
    frame = results_frame(built(view)).set_index("model")
    assert frame.loc["activa", "rf_auc"] == pytest.approx(0.5)
    # Distances .3, 0, .3 of activa, .01, 0, .01 of real cells, .38 of the best floor.
    place = (0.38 - 0.2) / (0.38 - 0.02 / 3)
    assert frame.loc["activa", "rf_auc_position"] == pytest.approx(place)


def test_a_rare_type_that_is_copied_whole_raises_the_alarm():
    view = make_run_view(seeds=1)
    view["metrics"] = [
        metric | ({"alarm": 0.05} if metric["name"] == "mmd" else {}) for metric in view["metrics"]
    ]
    shares = {"activa": (0.04, 0.125), "scgan": (0.04, 0.049), "memorise": (0.04, 0.125)}
    for model, (overall, by_type) in shares.items():
        score_of(view, model, "mmd")["values"] = {"mmd": overall, "mmd_by_type": by_type}
    found = results(built(view))
    assert found.copying == ["activa: mmd_by_type 0.125 (ideal 0, alarm 0.05)"]
    assert copiers(found.rows, found.metrics) == {"activa"}


def test_without_a_floor_worse_than_real_there_is_no_scale():
    view = make_run_view(seeds=1)
    score_of(view, "shuffle", "mmd")["values"]["mmd"] = 0.01
    fail_score(view, "real", "cd", "too few cells")
    frame = results_frame(built(view))
    assert "mmd_position" not in frame
    assert "cd_position" not in frame


def test_where_real_is_exempt_held_out_cells_are_the_ceiling():
    view = make_run_view(seeds=1)
    copies = {"floors": ["memorise"], "exempt": ["real"], "ideal": 1.0, "judged_by": "cd_test"}
    view["metrics"] = [metric | (copies if metric["name"] == "cd" else {}) for metric in view["metrics"]]
    fail_score(view, "real", "cd", "exempt")
    for model, value in {"activa": 0.7, "scgan": 0.9, "memorise": 0.0}.items():
        score_of(view, model, "cd")["values"] = {"cd": value, "cd_test": 0.6}
    for floor in ("shuffle", "poisson"):
        score_of(view, floor, "cd")["values"] = {"cd": 0.9, "cd_test": 0.6}
    frame = results_frame(built(view)).set_index("model")
    # Distances to 1: memorise 1, held-out cells 0.4, activa 0.3.
    assert frame.loc["activa", "cd_position"] == pytest.approx((1 - 0.3) / (1 - 0.4))
    assert suspects(view) == []
    score_of(view, "memorise", "cd")["values"]["cd"] = 0.6
    assert suspects(view) == ["cd (ideal 1): memorise 0.6 is not worse than held-out real cells"]
    assert "cd_position" not in results_frame(built(view))


def test_where_real_is_exempt_and_nothing_stands_for_it_the_ideal_is_the_ceiling():
    view = make_run_view(seeds=1)
    copies = {"floors": ["memorise"], "exempt": ["real"]}
    view["metrics"] = [metric | (copies if metric["name"] == "cd" else {}) for metric in view["metrics"]]
    fail_score(view, "real", "cd", "exempt")
    frame = results_frame(built(view)).set_index("model")
    # memorise 1.0 and activa 3.0 from the ideal 0.
    assert frame.loc["activa", "cd_position"] == pytest.approx((1 - 3) / 1)


def test_a_control_that_should_be_caught_and_is_not_makes_the_run_suspect():
    view = make_run_view(seeds=1)
    caught = {"alarm": -3.0, "catches": ["memorise"]}
    view["metrics"] = [metric | (caught if metric["name"] == "cd" else {}) for metric in view["metrics"]]
    assert suspects(view) == ["cd (ideal 0): memorise 1 did not reach the alarm -3"]
    score_of(view, "memorise", "cd")["values"]["cd"] = -3.5
    assert suspects(view) == []


def test_the_whole_table_has_rows_for_each_protocol():
    view = make_run_view(seeds=1)
    for key, scores in as_protocol(view, "activa2022")["scores"].items():
        view["scores"][key] += [
            score | {"values": {n: 2 * v for n, v in score["values"].items()}} for score in scores
        ]
    view["run"]["protocols"] = ["strict", "activa2022"]
    frame = whole_frame(built(view)).set_index(["protocol", "model"])
    assert frame.loc[("strict", "activa"), "mmd"] == pytest.approx(0.40)
    assert frame.loc[("activa2022", "activa"), "mmd"] == pytest.approx(0.80)


def two_protocols(folder):
    view = make_run_view(folder, seeds=1)
    for key, scores in as_protocol(view, "activa2022")["scores"].items():
        view["scores"][key] += scores
    view["run"]["protocols"] = ["strict", "activa2022"]
    return view


@pytest.mark.parametrize(
    "show",
    [
        lambda view, folder: html_report([NamedRun("a", built(view))], [[]], sights={}),
        lambda view, folder: print_report(built(view), console=Console(file=io.StringIO())),
        lambda view, folder: save_figures(built(view), folder / "figures"),
        lambda view, folder: as_json([NamedRun("a", built(view))]),
        lambda view, folder: as_markdown([NamedRun("a", built(view))]),
    ],
    ids=["page", "terminal", "figures", "json", "markdown"],
)
def test_results_are_computed_once_for_each_protocol(tmp_path, monkeypatch, show):
    computed, compute = [], table._values_by_model

    def counted(view):
        computed.append(view.protocol)
        return compute(view)

    monkeypatch.setattr(table, "_values_by_model", counted)
    show(two_protocols(tmp_path), tmp_path)
    assert sorted(computed) == ["activa2022", "strict"]


def test_a_view_gives_the_same_results_however_it_came_under_a_protocol(tmp_path):
    draft = two_protocols(tmp_path)
    view = built(draft)
    assert results_frame(view) is results_frame(view)
    assert view.under("activa2022").under("strict") is view
    for name in draft["run"]["protocols"]:
        alone = built({**draft, "run": {**draft["run"], "protocols": [name]}})
        assert results_frame(view.under(name)).equals(results_frame(alone))
    # Whoever writes all protocols below one another leaves what is kept as it was.
    whole_frame(view)
    assert "protocol" not in results_frame(view)


def test_nobody_changes_what_a_view_holds():
    view = built(make_run_view(seeds=1))
    for facts, name in ((view, "records"), (view.records[0], "status"), (view.metrics[0], "ideal")):
        with pytest.raises((AttributeError, ValidationError)):
            setattr(facts, name, None)
    with pytest.raises(TypeError, match="Record has no satus"):
        view.records[0].but(satus="ok")
    with pytest.raises(ValidationError, match="finished"):
        view.records[0].but(finished=3)
