"""Jobs that others worked beside: no time of theirs stands anywhere, and why stands everywhere."""

import json
import math

import pytest

from bench.tracking import naming
from reports.figures.pareto import pareto_figure
from reports.formats import as_csv, as_json, as_markdown
from reports.site.provenance import origins
from reports.table import results_frame
from reports.view import NamedRun
from tests.reports.run_view import built, make_run_view, record_of
from tests.reports.test_published import brain_small, claims_of

WHY = "carried out beside 3 other Jobs on one machine: not timed"


def disturbed(*seeds):
    """Return a view in which activa was trained beside others with these seeds, as Records tell it."""
    view = make_run_view()
    for seed in seeds:
        record_of(view, "activa", seed=seed).update(beside=seed + 1, training=None, timing=None)
    return view


def row(view):
    return results_frame(built(view)).set_index("model").loc["activa"]


def test_the_table_has_no_time_and_says_why():
    found = row(disturbed(0, 1, 2))
    assert found[["training_seconds", "steps_per_second", "sample_seconds"]].isna().all()
    assert found["peak_rss_gib"] == row(make_run_view())["peak_rss_gib"]
    assert found["mmd"] == row(make_run_view())["mmd"]
    assert found["not_timed"] == WHY
    others = results_frame(built(disturbed(0, 1, 2))).set_index("model")["not_timed"].drop("activa")
    assert set(others) == {""}
    assert "not_timed" not in results_frame(built(make_run_view()))


def test_seeds_that_were_alone_keep_their_times():
    whole, found = row(make_run_view()), row(disturbed(2))
    of_seeds = [record_of(make_run_view(), "activa", seed=seed)["training"]["seconds"] for seed in (0, 1, 2)]
    assert whole["training_seconds"] == pytest.approx(sum(of_seeds) / 3)
    assert found["training_seconds"] == pytest.approx(sum(of_seeds[:2]) / 2)
    assert found["training_seconds_n"] == 2
    assert found["not_timed"] == WHY


def test_every_format_names_the_reason():
    run = NamedRun("run-a", built(disturbed(0, 1, 2)))
    (plain,) = json.loads(as_json([run]))["runs"]
    (told,) = [one for one in plain["results"] if one["model"] == "activa"]
    assert (told["not_timed"], told["training_seconds"]) == (WHY, None)
    assert WHY in as_csv([run])
    markdown = as_markdown([run])
    assert f"{WHY}: activa · seed 0, activa · seed 1, activa · seed 2" in markdown
    header = next(line for line in markdown.splitlines() if line.startswith("| model | training"))
    assert "seconds¹" in header or "seconds²" in header
    assert WHY not in as_markdown([NamedRun("run-a", built(make_run_view()))])


def test_the_figure_of_costs_says_why_there_is_no_point():
    figure = pareto_figure(built(disturbed(0, 1, 2)))
    assert WHY in figure.get_suptitle()
    assert "without a point: activa" in figure.get_suptitle()
    assert WHY not in pareto_figure(built(make_run_view())).get_suptitle()


def test_provenance_says_it_of_the_job():
    facts = [dict(origin.facts) for origin in origins(NamedRun("run-a", built(disturbed(2))), "activa")]
    told = [(one.get("Not timed"), "Training" in one) for one in facts[:3]]
    assert told == [(None, True), (None, True), ([WHY], False)]


def test_a_speed_up_of_what_was_not_timed_is_none():
    view = brain_small()
    record_of(view, "activa").update(beside=3, training=None, timing=None)
    (claim,) = claims_of(view, quantity="training speed-up over scgan")
    assert math.isnan(claim.measured)
    assert WHY in claim.why


def test_mlflow_gets_the_reason_and_no_seconds():
    view = built(disturbed(2))
    beside, alone = (
        next(one for one in view.records if (one.job.model, one.job.seed) == ("activa", seed))
        for seed in (2, 0)
    )
    assert naming.tags(beside)["not_timed"] == WHY
    assert "not_timed" not in naming.tags(alone)
    seconds = [name for name in naming.scalars(beside, [], view) if "second" in name]
    assert seconds == []
    assert "seconds/fit" in naming.scalars(alone, [], view)
