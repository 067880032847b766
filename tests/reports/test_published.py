"""Figures of papers beside a run's: values and verdicts worked out by hand."""

import math

import pytest
from scipy import stats

from reports.papers import papers
from reports.published import judged, measure, published
from reports.words import duration
from tests.reports.run_view import as_protocol, built, make_run_view, record_of, score_of
from tests.reports.test_donors import with_attack


def claims_of(view, **wanted):
    found = [
        claim
        for claim in published(built(view))
        if all(getattr(claim, name) == value for name, value in wanted.items())
    ]
    assert found, wanted
    return found


def brain_small(*, seeds: int = 3) -> dict:
    view = as_protocol(make_run_view(seeds=seeds), "activa2022")
    view["run"]["dataset"]["declared"] = "brain_small"
    return view


def test_every_figure_has_a_paper_a_protocol_and_numbers():
    assert sum(len(figure.printed) for paper in papers().values() for figure in paper.figures) >= 80
    for paper in papers().values():
        assert paper.note.startswith("Published: ")
        assert "\n" not in paper.note
        for figure in paper.figures:
            assert all(1 <= len(values) <= 2 for values in figure.printed.values())
        known = {model for figure in paper.figures for model in figure.printed}
        assert paper.budgets.keys() | paper.in_place.keys() <= known


def test_figures_of_the_papers_data_stand_beside_the_measured():
    (claim,) = claims_of(brain_small(), quantity="rf_auc", model="activa")
    assert (claim.published, claim.published_sd) == (0.62, 0.02)
    # 0.90, 0.92 and 0.97; its floors shuffle .95 and poisson .88, of which poisson is nearer to 0.5.
    assert claim.measured == pytest.approx(0.93)
    assert (claim.floor, claim.ceiling) == (pytest.approx(0.88), pytest.approx(0.50))
    assert claim.n_seeds == 3
    half = stats.t.ppf(0.975, 2) * 0.0360555 / math.sqrt(3)
    assert claim.measured - claim.low == pytest.approx(half, abs=1e-6)
    # 0.93 + 0.0896 would be more than an AUC can be.
    assert claim.high == 1.0


def test_only_under_the_papers_protocol_and_of_its_data():
    view = make_run_view(seeds=1)
    view["run"]["dataset"]["declared"] = "brain_small"
    assert published(built(view)) == []
    assert published(built(as_protocol(make_run_view(seeds=1), "activa2022"))) == []


@pytest.mark.parametrize("declared", [{}, {"declared": None}])
def test_a_file_of_a_published_name_gets_no_published_figures(declared):
    view = as_protocol(make_run_view(seeds=1), "activa2022")
    view["run"]["dataset"] |= {"name": "pbmc68k"} | declared
    assert published(built(view)) == []


def test_a_run_made_for_a_paper_has_a_row_for_each_of_its_figures_with_every_reason():
    view = make_run_view()
    view["run"]["papers"] = ["cfgen2026", "groundgan2024"]
    found = published(built(view))
    figures = [f for name in ("groundgan2024", "cfgen2026") for f in papers()[name].figures]
    # mmd of groundgan2024 also as a ratio to its control.
    assert len(found) == sum(len(figure.printed) for figure in figures) + 4
    assert {claim.verdict for claim in found} == {"not measured here"}
    assert all(claim.why for claim in found)
    (linear,) = claims_of(view, published_model="cfgen_linear", dataset="pbmc3k", quantity="mmd")
    assert linear.model == "latent_flow"
    assert linear.why == [
        "latent_flow is not in this run",
        "latent_flow stands in the place of cfgen_linear, which is not here",
        "other data: zheng in the place of pbmc3k",
    ]
    (control,) = claims_of(view, published_model="real", quantity="mmd")
    assert control.why == [
        "not scored under groundgan2024",
        "other data: zheng in the place of pbmc_ctl",
    ]


def with_budget(view: dict, model: str, budget: str, **hyperparameters) -> dict:
    for seed in range(3):
        record_of(view, model, seed)["job"] |= {"budget": budget, "hyperparameters": hyperparameters}
    return view


def set_scores(view: dict, model: str, metric: str, values: list[float]) -> None:
    for seed, value in enumerate(values):
        score_of(view, model, metric, seed)["values"][metric] = value


def test_another_budget_is_not_measured_and_says_how_long_the_papers_would_take():
    # 30, 33 and 36 s for 40 epochs: of the first Record 500 take 375 s.
    (claim,) = claims_of(brain_small(), quantity="cd", model="activa")
    assert claim.verdict == "not measured here"
    assert claim.why == [
        "40 epochs of training at 6.67 steps/s in the place of 500 epochs, which would take about 6 min here"
    ]
    # 200 steps in 30 s; 560 cells are 5 batches of 128, 500 epochs 2500 steps: 375 s.
    view = with_budget(brain_small(), "activa", "30s", batch_size=128)
    (claim,) = claims_of(view, quantity="cd", model="activa")
    assert claim.why == [
        "30s of training at 6.67 steps/s in the place of 500 epochs, which would take about 6 min here"
    ]
    view = with_budget(brain_small(), "activa", "30s")
    (claim,) = claims_of(view, quantity="cd", model="activa")
    assert claim.why == ["30s of training at 6.67 steps/s in the place of 500 epochs"]


def test_a_budget_of_steps_takes_what_its_rate_says():
    # 200 steps took 30 s, the start included; at 6.67 a second a million take 150 000 s.
    view = with_budget(brain_small(), "scgan", "200 steps")
    (claim,) = claims_of(view, quantity="cd", model="scgan")
    rate = record_of(view, "scgan")["training"]["steps_per_second"]
    assert claim.why[0].endswith(f"which would take about {duration(1e6 / rate)} here")


def test_what_was_asked_otherwise_than_the_paper_did_is_not_measured():
    view = with_budget(brain_small(), "activa", "500 epochs")
    view["run"] |= {"own_settings": ["activa"], "own_cells": 50}
    (claim,) = claims_of(view, quantity="cd", model="activa")
    assert claim.why == [
        "other hyper-parameters: --set was given for activa",
        "50 cells a side, as --cells asked",
    ]
    (control,) = claims_of(view, quantity="mmd", model="real")
    assert control.why == ["50 cells a side, as --cells asked"]


def test_figures_of_models_that_others_made_are_second_hand():
    found = {claim.published_model: claim.second_hand for claim in published(built(brain_small()))}
    assert (found["activa"], found["real"], found["scgan"]) == (False, False, True)


def test_a_speed_up_is_that_of_the_papers_budgets_at_the_rates_seen():
    # scGAN: 100 s for 200 steps, so 500 000 s for a million; ACTIVA: 375 s for 500 epochs.
    (claim,) = claims_of(brain_small(), quantity="training speed-up over scgan")
    assert claim.measured == pytest.approx(500_000 / 375)
    assert claim.verdict == "not measured here"


def test_times_of_other_hardware_are_never_reproduced():
    view = with_budget(brain_small(), "activa", "500 epochs")
    (claim,) = claims_of(view, quantity="training_seconds", model="activa")
    assert claim.verdict == "not measured here"
    assert claim.why == ["other hardware: printed for the GPU named in its supplement"]


def test_reproduced_within_the_interval_of_one_more_training():
    view = with_budget(brain_small(), "activa", "500 epochs")
    # Mean .60, s .02: t .975 with 2 degrees of freedom 4.3027 x .02 x sqrt(4/3) = .0994 either side.
    set_scores(view, "activa", "rf_auc", [0.58, 0.60, 0.62])
    (claim,) = claims_of(view, quantity="rf_auc", model="activa")
    assert (claim.verdict, claim.why) == ("reproduced", [])
    for shift, verdict in ((0.10, "reproduced"), (0.13, "not reproduced")):
        # .72 - .62 = .10, of which half a unit of the last digit, .005, is rounding.
        set_scores(view, "activa", "rf_auc", [0.60 + shift, 0.62 + shift, 0.64 + shift])
        (claim,) = claims_of(view, quantity="rf_auc", model="activa")
        assert claim.verdict == verdict


def test_the_control_has_no_budget_and_three_seeds_are_needed():
    view = brain_small()
    set_scores(view, "real", "mmd", [0.0610, 0.0619, 0.0625])
    (claim,) = claims_of(view, quantity="mmd", model="real")
    assert claim.verdict == "reproduced"
    (claim,) = claims_of(brain_small(seeds=1), quantity="mmd", model="real")
    assert claim.why == ["fewer than 3 trainings: no interval"]
    assert claim.verdict == "not measured here"


def test_ratios_to_the_control_are_taken_on_both_sides():
    (claim,) = claims_of(brain_small(), quantity="mmd / real", model="activa")
    assert claim.published == pytest.approx(0.7715 / 0.0619)
    assert claim.measured == pytest.approx(0.42 / 0.02)


def test_what_another_protocol_meets_is_explained_by_the_difference():
    view = as_protocol(make_run_view(), "cfgen2025")
    view["run"] |= {"papers": ["cfgen2025"], "protocols": ["cfgen2025", "cfgen2026"]}
    view["run"]["dataset"]["declared"] = "dentate_gyrus"
    for key, scores in view["scores"].items():
        under = [score | {"protocol": "cfgen2026", "values": dict(score["values"])} for score in scores]
        for score in under:
            if score["metric"] == "mmd" and key.startswith("activa"):
                score["values"]["mmd"] = 1.1 + 0.01 * int(key[-1])
        scores += under
    paper = papers()["cfgen2025"].but(in_place={"cfgen": "activa"})
    (figure,) = [figure for figure in paper.figures if figure.quantity == "mmd"]
    seen = built(view)
    measured = measure(seen, figure, "activa", protocol="cfgen2025", paper=paper)
    assert measured.summary.mean == pytest.approx(0.42)
    verdict, why = judged(seen, paper, figure, "cfgen", 1.114, measured)
    assert verdict == "explained"
    assert why == ["synthetic cells projected without subtracting the mean: met under cfgen2026"]
    assert judged(seen, paper, figure, "cfgen", 3.0, measured) == ("not reproduced", [])


def test_figures_of_the_augmentation_experiment_stand_at_their_fraction():
    view = make_run_view()
    view["run"]["dataset"]["declared"] = "pbmc68k"
    (claim,) = claims_of(view, quantity="augmentation_f1 at 1 %", published_model="activa")
    assert math.isnan(claim.measured)
    assert claim.why[0] == "1 % was not kept of any type in this run"
    for record in view["records"]:
        if record["job"]["experiment"]["kind"] == "augmentation":
            record["job"]["experiment"]["fraction"] = 0.01
    for baseline in view["augmentation_baselines"]:
        baseline["fraction"] = 0.01
    (claim,) = claims_of(view, quantity="augmentation_f1 at 1 %", published_model="activa")
    assert claim.measured == pytest.approx(0.75)
    (none,) = claims_of(view, quantity="augmentation_f1 at 1 %", published_model="none")
    assert none.measured == pytest.approx(0.2)


def test_an_experiment_is_found_where_the_first_protocol_is_another():
    view = make_run_view()
    view["run"] |= {"protocols": ["activa2022", "strict"], "papers": ["activa2022"]}
    for record in view["records"]:
        if record["job"]["experiment"]["kind"] == "augmentation":
            record["job"]["experiment"]["fraction"] = 0.01
    (claim,) = claims_of(view, quantity="augmentation_f1 at 1 %", published_model="activa")
    assert claim.measured == pytest.approx(0.75)


def test_why_a_generator_was_not_attacked_is_said_of_it_alone():
    (paper,) = [paper for paper in papers().values() if any(one.donors for one in paper.figures)]
    figure = next(one for one in paper.figures if one.donors)
    found = {
        given: measure(
            built(with_attack({"activa": given} if given else {})),
            figure,
            "activa",
            protocol="strict",
            paper=paper,
        ).why_none
        for given in ("these cells are no counts", "")
    }
    assert found == {
        "these cells are no counts": "not attacked: these cells are no counts",
        "": "the attack on donors did not run: it takes --donor-key",
    }


def test_why_there_is_no_score_is_said_and_a_name_makes_no_data():
    view = as_protocol(make_run_view(), "activa2022")
    view["run"] |= {"papers": ["activa2022"]}
    view["run"]["dataset"]["name"] = "brain_small"
    for seed in range(3):
        score_of(view, "activa", "cd", seed).update(values={}, error="too few types")
    (claim,) = claims_of(view, quantity="cd", published_model="activa", dataset="brain_small")
    assert claim.why[:2] == [
        "no cd: too few types",
        "other data: a file of that name in the place of brain_small",
    ]
