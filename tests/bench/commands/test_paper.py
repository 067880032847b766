"""``bench paper``: what it lists, what it plans, and what a run of it tells."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_papers_are_listed(answer):
    code, out, _ = answer("paper")
    assert code == 0
    for name in ("activa2022", "groundgan2024", "cfgen2026", "cfgen2025", "scmamamia2026"):
        assert name in out


def test_a_paper_shows_what_it_printed(answer):
    code, out, _ = answer("paper", "activa2022")
    assert code == 0
    assert "real 0.0619, activa 0.7715, scgan 0.9686" in out
    assert "Measured here with activa, scgan, cscgan: bench paper activa2022 --dataset …" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nature2019"], "unknown paper 'nature2019': choose from activa2022, "),
        (["--dataset", "pbmc68k_reduced"], "paper --dataset pbmc68k_reduced: name papers, or all"),
        (["activa2022", "--label-key", "x"], "how to read cells was given, and no --dataset"),
        (["activa2022", "--dataset", "pbmc68k_reduced", "--budget", "soon"], "--budget 'soon'"),
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
    assert "120s" in out
    code, out, _ = answer(
        "paper", "activa2022", "--dataset", "pbmc68k_reduced", "--dry-run", "--budget", "paper"
    )
    assert code == 0
    assert "500 epochs" in out
    assert "1000000 steps" in out


def test_a_run_stands_beside_the_paper_and_stays_so(answer, tmp_path):
    asked = ["cfgen2025,scmamamia2026", "--dataset", "synthetic:400x60x2", "--budget", "2steps"]
    code, out, err = answer("paper", *asked, "--seeds", "0", "--out", str(tmp_path / "runs"))
    assert code == 0, err
    assert "Beside the paper: CFGen, evaluation before it was mended" in out
    assert "latent_flow stands in the place of cfgen, which is not here" in out
    assert "trainings; the whole run: " in out
    (run,) = (tmp_path / "runs").glob("*-synthetic*")
    code, out, _ = answer("report", str(run), "--format", "json")
    claims = {
        (claim["quantity"], claim["published_model"]): claim
        for claim in json.loads(out)["runs"][0]["published"]
    }
    assert claims["mmd", "cfgen"]["model"] == "latent_flow"
    assert 0 < claims["mmd", "cfgen"]["measured"] <= 10
    attack = claims["donor_attack", "scdesign2"]
    assert attack["measured"] is None
    assert attack["why"][0] == "the attack on donors did not run: it takes --donor-key"
    assert {claim["verdict"] for claim in claims.values()} == {"not measured here"}
    code, out, _ = answer("verify", str(run))
    assert code == 0
    assert "0 things differ, 0 could not be verified" in out
