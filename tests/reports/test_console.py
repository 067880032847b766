import re

import pytest
from rich.console import Console

from reports.console import print_report
from reports.side_by_side import blocks
from reports.view import NamedRun
from reports.words import figure
from tests.reports.run_view import (
    USUAL,
    as_protocol,
    break_score,
    built,
    fail_after_storing,
    fail_score,
    make_run_view,
    record_of,
    repeat_augmentation,
    score_of,
    unstart,
    with_further_columns,
)


def rendered(view, *, width=120):
    console = Console(record=True, width=width, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    print_report(built(view), console=console)
    return console.export_text()


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


def test_one_seed_at_120_columns_is_one_table():
    view = make_run_view(seeds=1)
    for record in view["records"]:
        record["memory"]["peak_device_bytes"] = None
    text = rendered(view)
    assert max(map(len, text.splitlines())) <= 120
    heading = text.splitlines()[:5]
    for part in (
        "zheng",
        "560 training and 140 test cells × 765 genes",
        "quick",
        "strict",
        "140 cells a side",
    ):
        assert part in " · ".join(heading)
    assert "AMD EPYC 7B13 · 2 cores (4 threads) · 16 GiB · 2 × NVIDIA V100 with 32 GiB" in text
    assert "budgets: activa 40 epochs, scgan 200 steps, cscgan 200 steps · not the paper's" in text
    activa = re.split(r"\s{2,}", line_of(text, "activa").strip())
    assert activa == ["activa", "30.0", "1.25", "0.900", "0.400", "3.00", "0.750"]
    lines = text.splitlines()
    assert lines[lines.index(line_of(text, "real")) + 1].split() == ["ceiling"]
    for ideal in ("→ 0.5", "→ 0 ", "→ 1"):
        assert ideal in text
    assert "10 % of the type kept" in text


def main_part(text):
    """Return the lines of the main table."""
    lines = text.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("protocol")]
    end = next(number for number, line in enumerate(lines) if line.startswith("n = "))
    return lines[start + 2 : end]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_eight_numeric_columns_stand_in_one_table_at_80_characters(seeds):
    view = with_further_columns(make_run_view(seeds=seeds))
    for model in ("poisson_factors", "activa"):
        record_of(view, model)["warnings"] = [f"{model} was trained in fp32"]
    lines = main_part(rendered(view, width=80))
    assert max(map(len, lines)) <= 80
    # Two lines of headings, the names of the quantities and their ideals.
    heading = " ".join(lines[:3])
    for word in ("training", "seconds", "100 000", "rf_auc", "mmd", "cd", "augm.", "copied_", "scarcest_"):
        assert heading.count(word) == 1
    rows = [line for line in lines if re.match(r"(activa|nb_copula|real)\S* ", line)]
    assert [len(line.split()) for line in rows] == [9, 9, 9]
    text = "\n".join(lines)
    # Names are broken behind an underscore, and whole again when put together.
    assert "poisson_\n" in re.sub(" +\n", "\n", re.sub(r"(poisson_) .*", r"\1", text))
    assert re.search(r"^shuffle_ .*\nwithin_type ", text, re.MULTILINE)
    assert "…" not in text and "strict+" not in text
    # Nothing that costs room and says little: no budget, status or standard deviation over folds.
    assert not re.search(r"budget|status|GiB|steps|±\.", text)
    numbers = re.findall(r"±?-?\d[\d.]*", "\n".join(lines[4:]))
    assert all(re.fullmatch(r"±?-?\d+(\.\d+)?", number) for number in numbers)


def test_half_an_interval_has_the_decimals_of_its_mean():
    view = with_further_columns(make_run_view())
    lines = main_part(rendered(view, width=80))
    place = next(number for number, line in enumerate(lines) if line.startswith("activa"))
    # 0.40, 0.44, 0.42: standard deviation 0.02; t(0.975, 2) = 4.302653; 4.302653 · 0.02 / √3 = 0.0497.
    assert lines[place].split()[4] == "0.420"
    assert lines[place + 1].split()[1] == "±0.050"
    # 0.0123, 0.0101, 0: standard deviation 0.006559, half an interval 0.01629.
    assert lines[place].split()[-2:] == ["0.00747", "0.564"]
    assert lines[place + 1].split()[-2] == "±0.01629"
    # As for rf_auc, a place between the best floor and real cells.
    assert lines[place + 2].split()[:2] == ["−13", "%"]


def test_what_else_it_cost_stands_in_a_table_of_its_own():
    costs = rendered(make_run_view(seeds=1)).split("What it cost")[1]
    assert re.split(r"\s{2,}", line_of(costs, "scgan").strip()) == [
        "scgan", "200 steps", "2.00", "68 %", "1.50", "3.00",
    ]  # fmt: skip


def test_the_papers_budgets_carry_no_warning():
    view = make_run_view(seeds=1)
    view["run"]["profile"] = "paper"
    assert "not the paper's" not in rendered(view)
    view["run"]["own_budgets"] = True
    assert "not the paper's" in rendered(view)


def test_three_seeds_show_intervals_and_two_show_both_values():
    text = rendered(make_run_view(), width=160)
    assert "[2.85, 3.35]" in text
    assert "n = 3 seeds, mean and its 95 % t interval" in text
    lines = text.splitlines()
    scgan = next(number for number, line in enumerate(lines) if line.startswith("scgan"))
    assert "0.990" in lines[scgan]
    assert "0.980" in lines[scgan + 1]
    assert lines[scgan + 2].startswith("n=2")


@pytest.mark.parametrize("width", [80, 120])
def test_a_figure_that_rests_on_another_n_says_so(width):
    view = make_run_view()
    fail_score(view, "activa", "mmd", "too few cells", 2)
    for seed in (1, 2):
        fail_score(view, "poisson", "rf_auc", "too few cells", seed)
    text = rendered(view, width=width)
    assert max(map(len, text.splitlines())) <= width
    quality = text[text.index("rf_auc") :].splitlines()
    activa, poisson = (
        next(n for n, line in enumerate(quality) if line.startswith(m)) for m in ("activa", "poisson")
    )
    assert quality[activa + 2].split()[1] == "%"
    assert quality[activa + 3].split() == ["n=2"]
    assert "0.880" in quality[poisson]
    assert quality[poisson + 1].split()[:2] == ["floor", "n=1"]
    assert "n=… below a name or a figure: it rests on so many values" in text
    assert "n=" not in rendered(make_run_view(seeds=1), width=width)


def test_the_augmentation_score_counts_subsampling_seeds():
    view = make_run_view(seeds=1)
    repeat_augmentation(view, "activa", [0.76, 0.77, 0.78, 0.79])
    text = rendered(view, width=140)
    assert re.search(r"^activa .* 0\.770$", text, re.MULTILINE)
    assert "[0.750, 0.790]" in text
    assert "n = 1 seed\n" in text
    assert "over 5 subsampling seeds, mean and its 95 % t interval" in text
    assert "n=" not in text
    view["scores"]["activa-subsample-4"], view["records"][-1]["status"] = [], "failed"
    text = rendered(view, width=140)
    assert re.search(r"^ .* \[0\.\d+, 0\.\d+\] *\n +n=4 *$", text, re.MULTILINE)


def test_scores_of_a_job_that_failed_later_are_shown():
    view = make_run_view(seeds=1)
    fail_after_storing(view, "activa")
    text = rendered(view, width=140)
    assert re.search(r"^activa .* 0\.900 +0\.400 +3\.00 +0\.750 *\n  timeout ", text, re.MULTILINE)
    assert "activa · seed 0: timeout in sample_timing after 60.0 s: the wall-clock limit" in text


def test_what_has_not_run_is_a_row_and_no_failure():
    view = make_run_view(seeds=1)
    for record in view["records"]:
        if record["status"] != "ok":
            unstart(view, record["job"]["model"], kind=record["job"]["experiment"]["kind"])
    text = rendered(view, width=140)
    assert re.search(r"^cscgan( +–)+ *\n  not run ", text, re.MULTILINE)
    assert "Not finished" not in text


def test_the_same_reason_in_many_rows_and_columns_is_one_footnote():
    view = make_run_view(seeds=1)
    for metric in ("mmd", "cd"):
        for model in ("real", "shuffle", "memorise"):
            fail_score(view, model, metric, "controls keep their library sizes")
        fail_score(view, "scgan", metric, "library sizes are unknown")
    fail_score(view, "activa", "cd", "too few cells")
    text = rendered(view, width=140)
    assert "³ cd: too few cells" in text
    assert text.count("² library sizes are unknown") == text.count("unknown") == 1
    assert re.search(r"^scgan.* –² +–²", text, re.MULTILINE)
    # What a control is not scored with is no news that anybody could act on.
    assert "controls keep" not in text
    assert re.search(r"^memorise .* – +– ", text, re.MULTILINE)


def test_failures_are_listed_with_phase_time_and_reason():
    text = rendered(make_run_view())
    assert "2 ok, 1" in text
    assert "scgan · seed 2: killed in fit after 12.3 s: ended by signal SIGKILL" in text
    assert "cscgan · 10 % of Dendritic · subsample 0: timeout in fit after 60.0 s" in text


def test_failed_scores_are_listed_with_metric_and_reason():
    view = make_run_view()
    break_score(view, "activa", "mmd", "ValueError: infinite distance", seed=1)
    assert "activa · seed 1: score failed in mmd, strict: ValueError: infinite distance" in rendered(view)


def test_footnotes_carry_warnings_and_reasons_once_and_no_remarks():
    view = make_run_view(seeds=2)
    score_of(view, "activa", "cd")["notes"] = ["3 genes are constant"]
    text = rendered(view, width=160)
    assert re.search(r"^scgan¹ .* 4\.00² ", text, re.MULTILINE)
    assert "¹ critic loss rose during the last tenth of the training" in text
    assert text.count("² cd: no cluster has a gene") == 1
    # These stand on the page.
    assert "constant" not in text
    assert "12 cells had fewer than 10 genes" not in text


def test_the_page_and_the_files_tell_everything_that_was_noted():
    view = make_run_view(seeds=2)
    for model in ("shuffle", "poisson"):
        score_of(view, model, "cd")["notes"] = ["3 genes are constant"]
    for metric in ("mmd", "cd"):
        score_of(view, "poisson", metric)["notes"] += ["1 cell is all zero"]
    fail_score(view, "real", "cd", "exempt")
    block = next(iter(blocks([NamedRun("a", built(view))], everything=True)))
    names = [cell.plain.split("\n")[0] for cell in block.table.name.cells]
    assert {"scgan¹", "shuffle²", "poisson² ³"} <= set(names)
    assert block.remarks[-5:] == [
        "¹ critic loss rose during the last tenth of the training",
        "² cd: 3 genes are constant",
        "³ 1 cell is all zero",
        "⁴ cd: no cluster has a gene",
        "⁵ cd: exempt",
    ]


def test_the_augmentation_table_names_every_augmenter():
    text = rendered(make_run_view(seeds=1))
    section = text[text.index("Augmentation experiment") :]
    assert "10 % of Dendritic, 19 cells" in section
    for line, f1, precision in (
        ("none", "0.200", "0.500"),
        ("class weights", "0.300", "0.550"),
        ("SMOTE-like", "0.500", "0.600"),
        ("Poisson jitter", "0.600", "0.700"),
        ("activa", "0.750", "0.800"),
    ):
        assert re.search(rf"{line}\s+{f1}\s+{precision}\s+1\s+ok", section)


def test_synthetic_and_suspect_runs_say_so():
    view = make_run_view(seeds=1)
    assert "SUSPECT" not in rendered(view)
    view["run"]["dataset"]["name"] = "synthetic:700x765"
    score_of(view, "shuffle", "mmd")["values"]["mmd"] = 0.01
    text = rendered(view)
    assert "synthetic data: for speed and scale, never for quality claims" in text
    assert "SUSPECT RUN" in text
    assert "mmd (ideal 0): shuffle 0.01 is not worse than real 0.02" in text
    fail_score(view, "real", "mmd", "too few cells")
    assert "no ceiling: real has no mmd" in rendered(view)


def test_published_figures_come_with_their_caveat():
    view = make_run_view(seeds=1)
    view["run"]["dataset"]["declared"] = "pbmc68k"
    assert "164 839" not in rendered(view)
    text = rendered(as_protocol(view, "activa2022"))
    assert re.search(r"scgan\s+164 839 ±503.73\S*\s+100 .*not measured here", text)
    assert "integrated" in text


def test_a_run_that_measured_nothing_still_prints():
    view = make_run_view(seeds=1)
    view["records"] = [record_of(view, "cscgan")]
    view["augmentation_baselines"] = []
    text = rendered(view)
    assert "cscgan · seed 0: diverged in fit" in text
    assert line_of(text, "  diverged")


def test_square_brackets_in_reasons_are_text():
    view = make_run_view(seeds=1)
    record_of(view, "cscgan")["reason"] = "shape [red] is [/none]"
    assert "shape [red] is [/none]" in rendered(view)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.00123, "0.00123"), (1.5e-7, "1.5e-07"), (0.9996, "1.00"), (1.2, "1.20"),
        (12.34, "12.3"), (99.96, "100"), (-0.25, "-0.250"), (8074.91, "8 075"), (142238.1, "142 238"),
        (float("nan"), "–"), (None, "–"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value, text):
    assert figure(value) == text


def test_each_score_names_its_protocol_and_protocols_have_tables_of_their_own():
    view = make_run_view(seeds=1)
    other = as_protocol(view, "activa2022")
    score_of(other, "activa", "mmd")["values"]["mmd"] = 7.77
    for key, scores in other["scores"].items():
        view["scores"][key] += scores
    view["run"]["protocols"] = ["strict", "activa2022"]
    first, second = rendered(view, width=140).split("protocol activa2022")
    assert "0.400" in first
    assert "7.77" not in first
    assert "7.77" in second
    assert re.search(r"^ .* activa2022 +activa2022 ", second, re.MULTILINE)
    assert re.search(r"^activa2022 +", rendered(view, width=40), re.MULTILINE)
    # What training cost is told once.
    assert "seconds" not in second and second.count("What it cost") == 1


def test_metrics_beside_the_default_ones_stand_in_tables_of_their_groups():
    view = make_run_view(seeds=1)
    recall = USUAL | {"name": "recall", "ideal": 1.0, "group": "coverage", "default": False}
    view["metrics"] += [recall, recall | {"name": "scarcest_type", "default": True}]
    for name, value in (("recall", 0.123), ("scarcest_type", 0.456)):
        score = score_of(view, "activa", "mmd") | {"metric": name, "values": {name: value}}
        view["scores"]["activa-main-0"].append(score)
    main, coverage = rendered(view, width=140).split("Coverage: ")
    assert "0.456" in main and "0.123" not in main
    assert re.search(r"^activa +0\.123", coverage, re.MULTILINE)
    assert "0.456" not in coverage


def test_a_model_that_copies_is_named():
    view = make_run_view(seeds=1)
    view["metrics"] = [
        metric | ({"alarm": -3.0} if metric["name"] == "cd" else {}) for metric in view["metrics"]
    ]
    assert "COPIES" not in rendered(view)
    score_of(view, "activa", "cd")["values"]["cd"] = -4.0
    score_of(view, "memorise", "cd")["values"]["cd"] = -9.0
    text = rendered(view)
    assert "COPIES OF TRAINING CELLS" in text
    assert "activa: cd -4 (ideal 0, alarm -3)" in text
    assert "memorise: cd" not in text


def test_intervals_over_test_cells_stand_apart():
    view = make_run_view(seeds=1)
    assert "test cells" not in rendered(view).split("cells a side")[1]
    score_of(view, "activa", "mmd")["interval"] = (0.31, 0.52)
    score_of(view, "activa", "rf_auc")["p_value"] = 0.0012
    section = rendered(view).split("bootstrap of the test cells")[1]
    assert re.search(r"activa +rf_auc +0\.900 +– +0\.0012", section)
    assert re.search(r"mmd +0\.400 +\[0\.310, 0\.520\] +–", section)


def test_what_was_left_to_the_machine_is_said_once_with_its_reason():
    view = make_run_view(seeds=3)
    for record in view["records"]:
        if record["job"]["model"] == "activa":
            record["job"]["hyperparameters"]["precision"] = "fp32"
            record["job"]["settled"] = {"precision": "this CPU has no bf16 units"}
    text = rendered(view)
    assert text.count("activa: precision fp32: this CPU has no bf16 units") == 1
