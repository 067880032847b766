"""The report for programs and papers: data are not rounded, text is escaped."""

import io
import json
import math

import pandas as pd
import pytest

from reports.formats import as_csv, as_json, as_latex, as_markdown
from reports.side_by_side import runs_frame
from reports.table import results_frame
from reports.view import NamedRun
from tests.reports.run_view import as_protocol, break_score, built, make_run_view, record_of, score_of

THIRD = 1 / 3


def a_run(view=None, name="run-a"):
    return NamedRun(name, built(make_run_view() if view is None else view), "bench run")


def renamed(model):
    view = make_run_view(seeds=1)
    for record in view["records"]:
        if record["job"]["model"] == "activa":
            record["job"]["model"] = model
    return view


def test_csv_is_the_results_frame():
    view = make_run_view()
    view["scores"]["activa-main-0"][1]["values"]["mmd"] = THIRD
    run = a_run(view)
    read = pd.read_csv(
        io.StringIO(as_csv([run])), keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
    assert list(read.columns[:6]) == ["run", "dataset", "dataset_key", "n_cells", "hardware", "protocol"]
    frame = results_frame(built(view))
    shared = read[[name for name in frame if name in read]].fillna({"budget": "", "reason": ""})
    pd.testing.assert_frame_equal(
        shared, frame.fillna({"budget": "", "reason": ""}), check_dtype=False, check_exact=True
    )
    assert set(read["run"]) == {"run-a"} and set(read["protocol"]) == {"strict"}


def test_csv_of_two_runs_says_what_compares():
    other = make_run_view(seeds=1)
    other["run"]["n_cells"] = 99
    read = runs_frame([a_run(), a_run(other, "run-b")])
    assert read.groupby("run")["n_cells"].unique().map(list).to_dict() == {"run-a": [140], "run-b": [99]}
    assert len(read) == 14


def test_json_keeps_every_digit_and_knows_no_nan():
    view = make_run_view()
    view["scores"]["activa-main-0"][1]["values"]["mmd"] = THIRD

    def fail(name):
        raise AssertionError(f"{name} is no JSON")

    (run,) = json.loads(as_json([a_run(view)]), parse_constant=fail)["runs"]
    assert run["values"]["strict"]["activa"]["mmd"] == [THIRD, 0.44, 0.42]
    rows = {row["model"]: row for row in run["results"]}
    assert rows["activa"]["mmd"] == pytest.approx((THIRD + 0.44 + 0.42) / 3, abs=1e-15)
    assert rows["cscgan"]["mmd"] is None
    assert (run["command"], run["dataset"]["name"], run["train_shape"]) == ("bench run", "zheng", [560, 765])
    best = run["best"]["strict"]
    assert [row["model"] for row in best] == [None, *["activa"] * 3]
    assert best[0]["passed_over"] == {"worse than the floor poisson": ["activa", "scgan"]}
    assert best[0]["value"] is None
    assert [row["status"] for row in run["failures"]] == ["killed", *["diverged"] * 3, "timeout"]
    assert run["augmentation"]["strict"][0]["augmentation_f1"] == 0.2


def test_latex_has_booktabs_and_escapes_what_it_reads():
    text = as_latex([a_run(renamed(r"a_b&c%d#e$f{g}~h^i\j"))])
    name = r"a\_b\&c\%d\#e\$f\{g\}\textasciitilde{}h\textasciicircum{}i\textbackslash{}j"
    line, costs, places = (line for line in text.splitlines() if line.startswith(name))
    assert line.split(" & ")[1] == "30.0" and line.endswith(r"\\")
    assert costs.split(" & ")[1] == "40 epochs"
    assert places.split(" & ")[1:] == ["(1st)", "(1st)", "(1st) \\\\"]
    assert r" & 0.900 $-$5 \% & " in line
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrrrrr}"):
        assert word in text
    assert r"rf\_auc strict $\to$ 0.5" in text
    assert text.isascii(), sorted({sign for sign in text if not sign.isascii()})
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {6, 5, 3}


def test_markdown_is_a_table_that_names_cannot_break():
    text = as_markdown([a_run(renamed("a|b<script>_c_"))])
    line, *_ = (line for line in text.splitlines() if line.startswith(r"| a\|b\<script\>\_c\_ |"))
    assert r"| 0.900<br>−5 % |" in line
    header = next(line for line in text.splitlines() if line.startswith("| model |"))
    assert header.count("|") == line.replace(r"\|", "").count("|") == 8
    assert "- cscgan · seed 0: diverged in fit: critic loss is NaN at step 17" in text


def test_headings_that_a_terminal_breaks_are_whole():
    view = make_run_view(seeds=1)
    view["metrics"] = [m | {"name": m["name"].replace("cd", "sliced_wasserstein")} for m in view["metrics"]]
    for score in (score for scores in view["scores"].values() for score in scores):
        if score["metric"] == "cd":
            score |= {"metric": "sliced_wasserstein", "values": {"sliced_wasserstein": 3.0}}
    assert r"sliced\_wasserstein strict $\to$ 0" in as_latex([a_run(view)])
    assert r"| sliced\_wasserstein<br>strict<br>→ 0 |" in as_markdown([a_run(view), a_run(view, "run-b")])


def test_protocols_never_share_a_table():
    strict, other = make_run_view(), as_protocol(make_run_view(), "activa2022")
    view = make_run_view()
    view["run"]["protocols"] = ["strict", "activa2022"]
    for key, scores in other["scores"].items():
        view["scores"][key] = [*strict["scores"][key], *scores]
    text = as_markdown([a_run(view)])
    headers = [line for line in text.splitlines() if line.startswith("| model |")]
    (costs,) = [line for line in headers if "budget" in line]
    headers.remove(costs)
    assert ["strict" in line for line in headers] == [True, False]
    assert ["activa2022" in line for line in headers] == [False, True]
    (run,) = json.loads(as_json([a_run(view)]))["runs"]
    assert [row["protocol"] for row in run["results"]] == ["strict"] * 7 + ["activa2022"] * 7


def test_a_failure_without_a_time_has_none():
    view = make_run_view()
    record_of(view, "scgan", seed=2)["seconds_to_failure"] = None
    (run,) = json.loads(as_json([a_run(view)]))["runs"]
    assert run["failures"][0]["seconds"] is None
    assert not math.isnan(run["failures"][1]["seconds"])


def test_failed_scores_stand_behind_failed_jobs_with_metric_and_reason():
    view = make_run_view(seeds=1)
    break_score(view, "activa", "mmd", "ValueError: infinite distance")
    # Of two samples that fail alike one is enough.
    view["scores"]["activa-main-0"].append(score_of(view, "activa", "mmd") | {"sample_seed": 1})
    (run,) = json.loads(as_json([a_run(view)]))["runs"]
    *jobs, score = run["failures"]
    assert [(row["status"], row["metric"]) for row in jobs] == [("diverged", ""), ("timeout", "")]
    assert score == {
        "job": "activa · seed 0",
        "status": "score failed",
        "phase": "",
        "metric": "mmd",
        "protocol": "strict",
        "seconds": None,
        "reason": "ValueError: infinite distance",
    }
    assert "- activa · seed 0: score failed in mmd, strict: ValueError: infinite distance" in as_markdown(
        [a_run(view)]
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/home/me/cells/zheng.h5ad", "zheng.h5ad"),
        ("/home/me/mtx", "mtx"),
        ("https://example.org/zheng.h5ad", "https://example.org/zheng.h5ad"),
        ("/home/me/a.gz; https://example.org/b.gz", "a.gz; https://example.org/b.gz"),
        ("synthetic:100x20", "synthetic:100x20"),
    ],
)
def test_json_tells_no_folder_of_this_machine(source, told):
    view = make_run_view(seeds=1)
    view["run"]["dataset"]["source"] = source
    (run,) = json.loads(as_json([a_run(view)]))["runs"]
    assert run["dataset"] == view["run"]["dataset"] | {"source": told, "declared": None}
