"""``bench paper``: what it lists, what it plans, and what a run of it tells."""

import json

import pytest

from bench.request.papers import Beside
from reports.papers import Paper, papers

pytestmark = pytest.mark.slow


def test_papers_are_listed(answer):
    code, out, _ = answer("paper")
    assert code == 0
    for name in ("activa2022", "groundgan2024", "cfgen2026", "cfgen2025", "scmamamia2026"):
        assert name in out


def test_a_paper_shows_what_it_printed(answer):
    code, out, _ = answer("paper", "activa2022")
    assert code == 0
    assert "real 0.0619, activa 0.7715, scgan* 0.9686" in out
    assert "Measured here with activa, scgan, cscgan: bench paper activa2022 --dataset …" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nature2019"], "unknown paper 'nature2019': choose from activa2022, "),
        (["--dataset", "pbmc68k_reduced"], "paper --dataset pbmc68k_reduced: name papers, or all"),
        (["activa2022", "--label-key", "x"], "how to read cells was given, and no --dataset"),
        (["activa2022", "--dataset", "pbmc68k_reduced", "--budget", "soon"], "--budget 'soon'"),
        (["scmamamia2026", "--dataset", "pbmc68k_reduced"], "name the column of donors with --donor-key"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(answer, arguments, message):
    code, _, err = answer("paper", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_paper_is_planned_with_its_models_and_its_own_budgets(answer):
    code, out, _ = answer("paper", "activa2022", "--dataset", "pbmc68k_reduced", "--dry-run")
    assert code == 0
    assert "activa · seed 2" in out
    assert "30s" in out
    code, out, _ = answer(
        "paper", "activa2022", "--dataset", "pbmc68k_reduced", "--dry-run", "--budget", "paper"
    )
    assert code == 0
    assert "500 epochs" in out
    assert "1000000 steps" in out


@pytest.fixture
def tiny2026(monkeypatch):
    """A paper whose generator is here and needs no training."""
    figure = {"where": "Table 1", "dataset": "pbmc3k", "printed": {"real": [0.06], "scdesign2": [0.3]}}
    facts = {
        "title": "A paper",
        "doi": "10.1000/1",
        "note": "Published: nowhere.",
        "protocol": "cfgen2025",
        "in_place": {"scdesign2": "nb_copula"},
        "differences": {"cfgen2026": "cells projected without the mean"},
        "figures": [figure | {"quantity": "mmd"}, figure | {"quantity": "cd", "protocol": "strict"}],
    }
    monkeypatch.setitem(papers(), "tiny2026", Paper.model_validate(facts))


def test_a_run_stands_beside_the_paper_and_stays_so(answer, tmp_path, tiny2026):
    asked = ["tiny2026,scmamamia2026", "--dataset", "synthetic:400x60x2"]
    code, out, err = answer("paper", *asked, "--seeds", "0", "--out", str(tmp_path / "runs"))
    assert code == 0, err
    assert "Beside the paper: A paper" in out
    assert "nb_copula stands in the place of scdesign2, which is not here" in out
    assert "1 training, 30 s by their budgets; the whole run: " in out
    (run,) = (tmp_path / "runs").glob("*-synthetic*")
    code, out, _ = answer("report", str(run), "--format", "json")
    claims = {
        (claim["quantity"], claim["published_model"]): claim
        for claim in json.loads(out)["runs"][0]["published"]
    }
    for quantity in ("mmd", "cd"):
        assert claims[quantity, "scdesign2"]["model"] == "nb_copula"
        assert 0 < claims[quantity, "scdesign2"]["measured"] <= 100
    attack = claims["donor_attack of 10 donors", "scdesign2"]
    assert attack["measured"] is None
    assert attack["why"][0] == "the attack on donors did not run: it takes --donor-key"
    assert {claim["verdict"] for claim in claims.values()} == {"not measured here"}
    code, out, _ = answer("verify", str(run))
    assert code == 0
    assert "0 things differ, 0 could not be verified" in out


def test_only_sampling_that_a_paper_timed_is_timed():
    assert Beside.of(["activa2022", "groundgan2024"]).timed == {"activa"}
    assert Beside.of(["scmamamia2026"]).timed == set()


def test_a_metric_is_scored_under_the_protocols_that_printed_it(answer, tmp_path, tiny2026):
    asked = ["tiny2026", "--dataset", "synthetic:400x60x2", "--seeds", "0", "--out", str(tmp_path / "runs")]
    assert answer("paper", *asked)[0] == 0
    (run,) = (tmp_path / "runs").glob("*-synthetic*")

    plan = json.loads((run / "plan.json").read_text())
    assert {job["timing_cells"] for job in plan} == {0}

    def scored() -> set[str]:
        return {file.stem.partition("-")[2] for file in run.glob("jobs/*/scores/*.json")}

    # cd is not defined under cfgen2026.
    assert scored() == {"cfgen2025-mmd", "cfgen2026-mmd", "strict-cd"}
    assert answer("score", str(run), "--metrics", "mmd", "--protocol", "strict")[0] == 0
    assert scored() == {"cfgen2025-mmd", "cfgen2026-mmd", "strict-cd", "strict-mmd"}
