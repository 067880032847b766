"""The leaderboard: places, brackets and sentences by hand, and where each number leads."""

import json

import pytest

from reports.site import site
from reports.site.boards import board_of, neighbours
from reports.site.markdown import results_page
from reports.site.provenance import numbers, origins
from reports.view import NamedRun
from tests.reports.run_view import built, make_run_view, record_of, score_of


def line_of(board, model):
    return next(line for line in board.lines if line.model == model)


@pytest.fixture(scope="module")
def board():
    return board_of(built(make_run_view()))


def test_places_have_the_colour_of_their_quarter(board):
    # mmd: floor .50, real .02; activa .42 lies 8/48 = 17 % of the way, scGAN's .85 behind the floor.
    activa = dict(zip([metric.name for metric in board.metrics], line_of(board, "activa").heat, strict=True))
    assert (activa["mmd"].words, activa["mmd"].level) == ("17 %", "step1")
    # cd: floor 5.0, real .9; activa 3.1 lies 1.9/4.1 = 46 % of the way.
    assert (activa["cd"].words, activa["cd"].level) == ("46 %", "step2")
    assert activa["mmd"].title == "mmd of activa: 0.420 [0.370, 0.470]"
    # Without floors there is no place: the value itself.
    assert (activa["augmentation_f1"].words, activa["augmentation_f1"].level) == ("0.750", "none")
    scgan = dict(zip([metric.name for metric in board.metrics], line_of(board, "scgan").heat, strict=True))
    assert (scgan["mmd"].words, scgan["mmd"].level) == ("−73 %", "worse")
    assert [cell.words for cell in line_of(board, "cscgan").heat] == ["diverged"] * 4
    assert {cell.level for cell in line_of(board, "real").heat if cell.level != "none"} == {"step5"}


def test_models_come_first_and_what_failed_last_of_them(board):
    assert [line.model for line in board.lines][:3] == ["activa", "scgan", "cscgan"]
    assert {line.role for line in board.lines[3:]} == {"ceiling", "floor", "cheat"}


def three_generators(*, gap):
    """Return a view in which scGAN finished, and stands so much behind activa."""
    view = make_run_view()
    for seed in range(3):
        mine = score_of(view, "activa", "mmd", seed)["values"]["mmd"]
        record = record_of(view, "scgan", seed)
        record |= {"status": "ok", "reason": ""}
        view["scores"][record["key"]] = [
            {
                "metric": "mmd",
                "protocol": "strict",
                "n_cells": 140,
                "values": {"mmd": mine + gap + 0.001 * seed},
            }
        ]
    return built(view)


def test_brackets_reach_over_all_places_that_are_not_told_apart():
    apart, together = (board_of(three_generators(gap=gap)) for gap in (0.2, 0.0))
    place = [metric.name for metric in apart.metrics].index("mmd")
    first, second = (line_of(apart, model).brackets[place] for model in ("activa", "scgan"))
    assert (first.words, first.left, first.width, first.dot) == ("1st", 0.0, 50.0, 25.0)
    assert (second.words, second.left, second.width) == ("2nd", 50.0, 50.0)
    tied = line_of(together, "scgan").brackets[place]
    assert (tied.words, tied.left, tied.width) == ("1st to 2nd", 0.0, 100.0)


def test_neighbours_are_better_or_tied():
    assert neighbours(three_generators(gap=0.2), "mmd") == ["activa is better than scgan"]
    assert neighbours(three_generators(gap=0.0), "mmd") == ["activa and scgan are tied"]
    assert neighbours(built(make_run_view(seeds=1)), "mmd") == [
        "activa, scgan: not resolved below three seeds"
    ]


def test_what_nobody_can_do_is_said_of_each_metric(board):
    assert board.open_questions == [
        "rf_auc: no generator is better than the best floor.",
        "mmd: the best, activa, is 17 % of the way from floor to real.",
        "cd: the best, activa, is 46 % of the way from floor to real.",
    ]


def test_what_contradicts_itself_is_marked_on_the_board(board):
    assert board.marks == {}
    view = make_run_view()
    for seed in range(3):
        score_of(view, "shuffle", "mmd", seed)["values"]["mmd"] = 0.01
    ((title, lines),) = board_of(built(view)).marks.items()
    assert title.startswith("Suspect")
    assert lines[0].startswith("mmd (ideal 0): shuffle 0.01 is not worse than real 0.02")
    page = site([NamedRun("run", built(view), "")], [[]], date="")["index.html"]
    assert "shuffle 0.01 is not worse than real 0.02" in page


def test_a_number_tells_its_seeds_and_its_origin():
    view = built(make_run_view())
    (mmd,) = [number for number in numbers(view, "activa") if number.metric == "mmd"]
    assert (mmd.anchor, mmd.value, mmd.interval, mmd.place) == (
        "strict-mmd",
        "0.420",
        "[0.370, 0.470]",
        "17 %",
    )
    assert [seed[1:3] for seed in mmd.seeds] == [
        ("seed 0", "0.400"),
        ("seed 1", "0.440"),
        ("seed 2", "0.420"),
    ]
    jobs = origins(NamedRun("run", view), "activa")
    assert len({job.key for job in jobs}) == sum(record.job.model == "activa" for record in view.records)
    stored = json.loads(jobs[0].record)
    assert stored["record"]["job"]["model"] == "activa"
    assert {score["metric"] for score in stored["scores"]} == {"rf_auc", "mmd", "cd"}
    told = dict(jobs[0].facts)
    assert told["Ended"][0] == "ok"


def test_a_copier_under_one_protocol_is_one_under_all_and_wherever_it_stands():
    view = make_run_view()
    view["run"]["protocols"] = ["strict", "activa2022"]
    copied = {
        "name": "copied_share",
        "better": "lower",
        "ideal": 0.0,
        "bounds": [0.0, 1.0],
        "alarm": 0.25,
        "group": "memorisation",
    }
    view["metrics"] = [*view["metrics"], copied]
    for seed in range(3):
        record = record_of(view, "activa", seed)
        scores = view["scores"][record["key"]]
        scores += [score | {"protocol": "activa2022"} for score in scores]
        found = {"metric": "copied_share", "protocol": "strict", "values": {"copied_share": 0.9}}
        scores.append(found | {"n_cells": 140})
    seen = built(view)
    other = board_of(seen.under("activa2022"))
    assert line_of(other, "activa").said == ["of training cells"]
    assert {bracket.words for bracket in line_of(other, "activa").brackets} == {"–"}
    found = site([NamedRun("run", seen, "")], [[]], date="")
    assert "of training cells" in found["0-zheng/0-activa.html"]
    assert found["index.html"].count("model, of training cells") > 3


def test_the_column_of_sampling_says_how_many_cells_were_drawn():
    view = make_run_view()
    for record in view["records"]:
        if record["timing"]:
            record["timing"]["n_cells"] = 2000
    page = results_page([NamedRun("run", built(view), "")])
    plain = page.replace("\u202f", " ").replace("\xa0", " ")
    assert "| training seconds | sampling 2 000 cells, s |" in plain
    assert "100 000" not in page
    assert "\n\n\n" not in page


def test_what_did_not_finish_is_said_on_the_first_page_and_in_markdown():
    run = NamedRun("run", built(make_run_view()), "")
    page = site([run], [[]], date="")["index.html"]
    assert "of scgan, cscgan not every training finished" in page
    assert "2 of 3 seeds" in page
    assert "of scgan, cscgan not every training finished" in results_page([run])
    assert "Not finished:" in results_page([run])


def test_runs_of_one_data_set_are_told_apart():
    view = built(make_run_view(seeds=1))
    page = site([NamedRun("first", view, ""), NamedRun("second", view, "")], [[], []], date="")["index.html"]
    assert "zheng · first" in page
    assert "zheng · second" in page


def test_names_that_are_no_file_names_have_pages_of_their_own():
    view = make_run_view(seeds=1)
    for record in view["records"]:
        record["job"]["model"] = {"activa": "a/b", "scgan": "a b"}.get(
            record["job"]["model"], record["job"]["model"]
        )
    found = site([NamedRun("run", built(view), "")], [[]], date="2026-01-02")
    pages = [name for name in found if name.endswith(".html")]
    assert len(pages) == 1 + len({record["job"]["model"] for record in view["records"]})
    assert all(name.count("/") <= 1 for name in pages)
    assert "2026-01-02" in found["index.html"]


def test_the_page_of_markdown_has_controls_verdicts_and_the_command():
    page = results_page([NamedRun("run", three_generators(gap=0.2), "bench run --seeds 0-2")])
    lines = page.splitlines()
    assert r"| activa | model | 33.0 | 1.25 | 0.930 \[0.840, 1.00\] −13 % |" in next(
        line for line in lines if line.startswith("| activa |")
    )
    assert any(line.startswith("| real (ceiling) |") for line in lines)
    assert "bench run --seeds 0-2" in page
    assert "- measured on 2026-01-02" in lines
    assert any(line.startswith("Neighbours by rf\\_auc: ") for line in lines)
