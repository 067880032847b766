import re
from io import StringIO

import pytest
from rich.console import Console

from bench.request.choices import declaration_of
from bench.request.registry import plugins, resolve_metric
from metrics.selftest.ladder import LADDERS
from metrics.selftest.traps import TRAPS
from reports.metric_cards import NOT_MEASURED, SCORES_A_RETRAINING, declared, metric_page
from reports.selftest_results import SelfTest
from reports.selftest_tables import failures, print_self_test
from reports.view import MetricFacts
from tests.places import REPOSITORY

PAGE = REPOSITORY / "docs" / "metrics.md"

DECLARATION = {
    "name": "evenness",
    "description": "share of even cells",
    "better": "higher",
    "ideal": 0.5,
    "bounds": (0.0, float("inf")),
    "reference": "doi:10.1000/even",
    "cost": "one look",
    "floors": ("shuffle", "poisson"),
    "needs_types": True,
    "default": True,
    "group": "use",
    "exempt": ("real",),
    "protocols": ("strict",),
    "alarm": 0.25,
    "catches": ("memorise",),
    "experiment": "main",
}
CARD = """\
### `evenness`

Share of even cells.

- Nearer to the ideal 0.5 is better, from either side; 0 to ∞.
- Definition: [doi:10.1000/even](https://doi.org/10.1000/even). Protocols: strict.
- Cost: one look.
- Must be worse than real cells: shuffle, poisson.
- Does not score the controls real.
- From 0.25 on a model is reported as copying; memorise must reach it.
- Needs cell types.
- Computed when no metrics are named."""


def declaration(**changes):
    return MetricFacts.model_validate(DECLARATION | changes)


def found(values, answer, expected=None, passed=None):
    return {"values": values, "answer": answer, "expected": expected, "passed": passed}


def results(**changes):
    report = {
        "clean": [0.5, 0.48],
        "tolerance": 0.03,
        "seconds": 0.25,
        "floors": {"shuffle": 0.1, "poisson": None},
        "errors": ["3 cells are odd"],
        "failure": None,
        "ladders": {
            "wrong_zeros": found([0.5, 0.25], "worse", "worse", True),
            "lost_type": found([0.5, 0.51], "none"),
        },
    }
    plain = {
        "passed": True,
        "ladders": [
            {"name": "wrong_zeros", "description": "zeros put in", "rungs": ["0 %", "5 %"]},
            {"name": "lost_type", "description": "a type lost", "rungs": ["0 %", "100 %"]},
        ],
        "traps": [{"name": "row order", "description": "rows", "passed": True, "words": "1 metric unmoved"}],
        "metrics": {"evenness": report | changes},
        "dataset": "tiny",
        "protocol": "strict",
        "n_cells": 100,
        "n_genes": 1287,
        "n_train": 300,
        "n_withdrawn": 250,
        "n_test": 120,
        "draws": 2,
        "seed": 7,
        "bench_version": "0.1.0",
        "versions": {"numpy": "2.0", "scipy": "1.14", "scikit-learn": "1.6"},
        "hardware": {
            "cpu_model": "abacus",
            "physical_cores": 2,
            "logical_cores": 4,
            "memory_bytes": 2**33,
            "gpus": [],
            "fingerprint": "0123456789ab",
        },
    }
    return SelfTest.model_validate(plain)


def printed(outcome):
    console = Console(file=StringIO(), width=120)
    print_self_test(outcome, console=console)
    return console.file.getvalue()


def test_a_card_says_what_is_declared():
    assert declared(declaration()) == CARD


def test_an_ideal_at_the_end_of_the_bounds_has_one_direction():
    assert "- Higher is better; ideal 1; 0 to 1." in declared(declaration(ideal=1.0, bounds=(0.0, 1.0)))


def test_names_in_descriptions_keep_their_letters():
    card = declared(declaration(description="rf_auc within types"))
    assert card.splitlines()[2] == "rf_auc within types."


def test_the_page_says_on_what_it_was_measured_and_how_each_metric_answered():
    page = metric_page([declaration()], results())
    assert (
        "Measured on tiny under `strict`: 100 synthetic against 100 test cells × 1 287 genes, "
        "of 120 test, 250 withdrawn and 300 training cells; 2 draws, seed 7; "
        "scgenbench 0.1.0, numpy 2.0, scipy 1.14, scikit-learn 1.6; abacus"
    ) in page
    assert "| `evenness` | **●** | · |" in page
    assert "| row order | rows | avoided | 1 metric unmoved |" in page
    measured = page.partition(CARD)[2].strip().splitlines()
    assert measured == [
        "Measured:",
        "",
        "- Real cells: 0.480 to 0.500; chance ± 0.0300.",
        "- Floors: shuffle 0.100, poisson –.",
        "- Took 0.250 s of processor time.",
        "- **Sees** wrong zeros (0.500 → 0.250).",
        "- **Blind to** lost type.",
        "- 3 cells are odd.",
    ]


def test_a_metric_that_was_not_tested_has_a_card_that_says_so():
    page = metric_page([declaration(name="oddness")], results())
    assert page.endswith(f"no metrics are named.\n\n{NOT_MEASURED}\n")


def test_tables_show_ladders_and_collect_metrics_without_an_answer():
    text = printed(results())
    assert re.search(r"evenness +0\.500 +0\.250 +0\.0300 +worse +✓", text)
    assert "no answer: evenness" in text
    assert text.rstrip().endswith("all as expected")
    assert "not all as expected" not in text


def test_each_wrong_answer_and_failure_has_a_line_with_its_numbers():
    wrong = results(
        ladders={
            "wrong_zeros": found([0.5, 0.51], "none", "worse", False),
            "lost_type": found([0.5, 0.51], "none"),
        },
        failure="lost_type 100 %: ValueError: no",
    )
    trap = wrong.traps[0].but(passed=False, words="evenness moved")
    wrong = wrong.but(passed=False, traps=[trap])
    assert failures(wrong) == [
        "evenness: must answer wrong_zeros with 'worse', answered 'none' (0.500 → 0.510; tolerance 0.0300)",
        "trap row order: evenness moved",
        "evenness failed on lost_type 100 %: ValueError: no",
    ]
    assert "not all as expected" in printed(wrong)


def test_a_metric_of_retrainings_has_a_card_that_says_why_nothing_was_measured():
    page = metric_page([declaration(experiment="augmentation")], results())
    assert page.endswith(f"{CARD}\n\n{SCORES_A_RETRAINING}\n")


def test_a_metric_without_a_floor_or_a_control_to_catch_says_so():
    card = declared(declaration(floors=(), catches=()))
    assert "- No control is its floor, so that values have no place between floor and ceiling." in card
    assert "- From 0.25 on a model is reported as copying.\n" in card


def test_a_metric_that_must_be_asked_for_does_not_say_that_it_is_computed():
    assert "Computed when" not in declared(declaration(default=False))


def installed_metrics():
    return [resolve_metric(name) for name in plugins("bench.metrics")]


@pytest.mark.parametrize("metric", installed_metrics(), ids=lambda metric: metric.name)
def test_the_committed_page_follows_the_declarations(metric):
    remedy = f"docs/metrics.md is out of date for {metric.name}: bench test-metrics … --out docs/metrics.md"
    assert declared(declaration_of(metric)) + "\n" in PAGE.read_text(encoding="utf-8"), remedy


def test_the_committed_page_has_no_metric_ladder_or_trap_that_is_gone():
    page = PAGE.read_text(encoding="utf-8")
    cards = set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE))
    assert cards == {metric.name for metric in installed_metrics()}
    for name, ladder in LADDERS.items():
        row = f"| {name.replace('_', ' ')} | {ladder.description} | {', '.join(ladder.labels)} |"
        assert row in page
    for trap in TRAPS:
        assert f"| {trap.name} | {trap.description} |" in page
