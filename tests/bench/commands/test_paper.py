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
    asked = [
        "paper",
        "groundgan2024",
        "--dataset",
        "synthetic:300x60x2",
        "--budget",
        "1steps",
        "--seeds",
        "0",
    ]
    code, out, err = answer(*asked, "--out", str(tmp_path / "runs"))
    assert code == 0, err
    assert "Beside the paper: Zinati et al. 2024, GRouNdGAN" in out
    assert "nb_copula stands in the place of scdesign2, which is not here" in out
    assert "trainings; the whole run: " in out
    (run,) = (tmp_path / "runs").glob("*-synthetic*")
    code, out, _ = answer("report", str(run), "--format", "json")
    claims = {
        (claim["quantity"], claim["published_model"]): claim
        for claim in json.loads(out)["runs"][0]["published"]
    }
    # Five models of three quantities, and the ratios of four to the control.
    assert len(claims) == 19
    assert claims["rf_auc", "scdesign2"]["model"] == "nb_copula"
    assert 0 <= claims["rf_auc", "scdesign2"]["measured"] <= 1
    assert claims["rf_auc", "groundgan"]["why"][0] == "groundgan is not in this run"
    assert {claim["verdict"] for claim in claims.values()} == {"not measured here"}
