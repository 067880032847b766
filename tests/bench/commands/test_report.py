"""``bench report``: what is written where, the command that makes a run again, what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from bench import cli
from bench.commands.report import report as report_command
from bench.commands.report import run_command, score_commands
from bench.commands.score import score as score_command
from bench.commands.tracking import sync
from bench.errors import RequestError
from bench.request.plan import Experiment, Job
from bench.request.spec import IN_MEMORY, RunSpec
from bench.results.files import read_json, write_json
from bench.results.run_folder import RunFolder
from reports.table import whole_frame
from reports.view import Score
from tests.reports.run_view import built, make_run_view

pytestmark = pytest.mark.slow


def stored(out, *, seeds=3):
    """Write the view that the tests of `reports` use as a run folder."""
    view = make_run_view(seeds=seeds)
    run = RunFolder.create(out, "zheng")
    facts = {"reference": "", "version": "1", "source_hash": "", "content": "", "timing_cells": 0}
    facts |= {"timing_repeats": 1, "timing_limit_seconds": 1.0}
    jobs = []
    for record in view["records"]:
        job = Job(**record["job"] | facts | {"experiment": Experiment(**record["job"]["experiment"])})
        jobs.append(job)
        write_json(run.job_folder(job).record, record | {"key": job.key})
        for score in view["scores"][record["key"]]:
            file = run.job_folder(job).score_file(0, score["metric"], "strict")
            write_json(file, score | {"failed": False})
    write_json(run.baselines / "0.json", {"scores": view["augmentation_baselines"]})
    context = {name: value for name, value in view["run"].items() if name not in ("folder", "profile")}
    spec = RunSpec(dataset="zheng.h5ad", seeds=tuple(range(seeds)), budget={"activa": "40epochs"})
    run.write_request(spec, jobs, metrics=view["metrics"], **context)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("runs"))


def report(*paths, html=None, format=None, output=None):
    return report_command(paths, html=html, format_=format, output=output)


def test_html_is_one_file_with_the_numbers_and_the_command(run, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert report(run.path, html=page) == 1
    text = page.read_text()
    assert "[0.840, 1.00]" in text
    assert "bench run --dataset zheng.h5ad --budget activa=40epochs --seeds 0,1,2" in text
    assert "collapsed modes" in text
    assert str(page) in capsys.readouterr().out.replace("\n", "")
    # What the run folder holds is left as it was.
    assert not run.figures.exists()


@pytest.mark.parametrize("format", ["csv", "json", "latex", "markdown"])
def test_a_format_is_printed_or_written(run, tmp_path, capsys, format):
    assert report(run.path, format=format) == 1
    printed = capsys.readouterr().out
    assert report(run.path, format=format, output=tmp_path / "file") == 1
    assert (tmp_path / "file").read_text() == printed
    assert capsys.readouterr().out == ""


def test_json_tells_the_run_and_its_values(run, capsys):
    report(run.path, format="json")
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert told["name"] == run.path.name
    frame = whole_frame(run.view()).set_index("model")
    assert {row["model"]: row["cd"] for row in told["results"]} == frame["cd"].astype(object).where(
        frame["cd"].notna(), None
    ).to_dict()


def test_two_runs_stand_side_by_side(run, tmp_path, capsys):
    other = stored(tmp_path, seeds=1)
    assert report(run.path, other.path, format="csv") == 1
    written = capsys.readouterr().out
    (tmp_path / "both.csv").write_text(written)
    # Folders of one name (made in the same second) are told apart by their paths.
    same = run.path.name == other.path.name
    wanted = {str(run.path), str(other.path)} if same else {run.path.name, other.path.name}
    assert set(pd.read_csv(tmp_path / "both.csv")["run"]) == wanted
    report(run.path, other.path)
    assert "The runs differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "--format 'xml': choose from csv, json, latex, markdown"),
        ({"format": "csv", "html": "page.html"}, "not both"),
        ({"output": "file"}, "--output file: say in which --format"),
        ({"html": "missing/page.html"}, "'missing/page.html' cannot be written: No such file"),
    ],
)
def test_what_is_refused(run, tmp_path, monkeypatch, options, message):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    paths = {name: Path(value) if name != "format" else value for name, value in options.items()}
    with pytest.raises(RequestError, match=message):
        report(run.path, **paths)


def test_a_run_is_not_compared_with_itself(run):
    with pytest.raises(RequestError, match="names a run twice"):
        report(run.path, run.path)


def test_a_run_of_an_earlier_version_is_named_with_the_remedy(tmp_path):
    old = stored(tmp_path, seeds=1)
    request = read_json(old.request)
    del request["protocols"]
    write_json(old.request, request)
    for act in (report, score_command, sync):
        with pytest.raises(RequestError) as caught:
            act(old.path)
        assert str(old.path) in str(caught.value)
        assert str(caught.value).endswith("run it again")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"models": ("activa", "./my models.py:Mine"), "seeds": (0, 2, 7), "sample_seeds": (1, 2)},
        {"budget": {"*": "15min"}, "timeout": 900.0, "device": "cpu", "out": "some where"},
        {"budget": {"activa": "40epochs", "*": "2000steps"}, "profile": "paper", "cells": 500},
        {
            "settings": {
                "activa": {"objective": "release", "layers": "[512, 256]"},
                "scgan": {"z": "$HOME 'x'"},
            }
        },
        {"metrics": ("all",)},
        {
            "metrics": ("cd", "mmd"),
            "protocol": ("strict", "strict+observed"),
            "split_by": "donor",
            "donor_key": "donor",
        },
        {"dataset": "data/it's mine.h5ad", "label_key": "cell type", "split_seed": 3, "hardware": "v100"},
    ],
)
def test_the_command_reads_back_as_the_same_request(monkeypatch, options):
    import shlex

    spec, read = RunSpec(**options), []
    monkeypatch.setattr("bench.commands.run.begin", lambda spec, **_rest: read.append(spec) or 0)
    program, *arguments = shlex.split(run_command(spec))
    assert program == "bench"
    cli.app(arguments, standalone_mode=False)
    # As it is stored, but for where its results lie: paths and tuples come back as such.
    stored = json.loads(spec.model_dump_json(exclude={"out"}))
    assert read == [RunSpec.checked(**stored)]


def test_numbers_come_back_as_the_text_that_means_the_same():
    command = run_command(RunSpec(settings={"activa": {"layers": [512, 256], "rate": 0.1, "fast": True}}))
    assert command.endswith("--set 'activa.layers=[512, 256]' --set activa.rate=0.1 --set activa.fast=true")


def test_the_command_holds_no_folder_of_this_machine():
    spec = RunSpec(
        dataset="/home/me/cells/zheng.h5ad",
        models=("activa", "/home/me/mine.py:Mine"),
        hardware="/home/me/v100.toml",
        out="/home/me/runs",
    )
    wanted = "bench run --models activa,mine.py:Mine --dataset zheng.h5ad --hardware v100.toml"
    assert run_command(spec) == wanted


USUAL = {"strict": ["cd", "mmd"], "activa2022": ["mmd"]}


def scored_with(declared, scored):
    """Return a run of one Job that has scores of these metrics under these protocols."""
    usual = built(make_run_view(seeds=1))
    (record,) = [record for record in usual.records_of("main") if record.job.model == "activa"]
    scores = [
        Score(metric=name, protocol=protocol, n_cells=30, values={name: 1.0})
        for protocol, names in scored.items()
        for name in names
    ]
    return replace(
        usual,
        run=usual.run.but(protocols=tuple(scored)),
        records=[record],
        scores={record.key: scores},
        metrics=[usual.metrics[0].but(name=name, floors=()) for name in declared],
    )


@pytest.mark.parametrize(
    ("asked", "protocols", "scored", "commands"),
    [
        ((), ("strict",), {"strict": ["cd", "mmd"]}, []),
        (("cd",), ("strict",), {"strict": ["cd"]}, []),
        # Fewer were asked for than were scored: the default set, one more than it, a part of it.
        (("rare",), ("strict",), {"strict": ["rare", "cd", "mmd"]}, ["bench score RUN"]),
        (
            ("cd",),
            ("strict",),
            {"strict": ["cd", "mmd", "rare"]},
            ["bench score RUN", "bench score RUN --metrics rare"],
        ),
        (("rare",), ("strict",), {"strict": ["rare", "cd"]}, ["bench score RUN --metrics cd"]),
        # Another protocol than was asked for.
        (
            (),
            ("strict",),
            {"strict": ["cd", "mmd"], "activa2022": ["mmd"]},
            ["bench score RUN --protocol activa2022"],
        ),
        (
            ("cd",),
            ("strict",),
            {"strict": ["cd", "rare"], "activa2022": ["rare"]},
            ["bench score RUN --metrics rare --protocol strict,activa2022"],
        ),
        (
            ("cd",),
            ("strict", "activa2022"),
            {"strict": ["cd", "rare"], "activa2022": ["rare"]},
            ["bench score RUN --metrics rare"],
        ),
    ],
)
def test_what_was_scored_later_has_a_command_of_its_own(monkeypatch, asked, protocols, scored, commands):
    def usual(named, profile, under):
        # Without an experiment of its kind, a metric of the default set is not missed.
        kinds = {"augmentation_f1": "augmentation"}
        names = [*USUAL[under[0]], "augmentation_f1"]
        return [SimpleNamespace(name=name, experiment=kinds.get(name, "main")) for name in names]

    monkeypatch.setattr("bench.request.choices.choose_metrics", usual)
    view = scored_with(("cd", "mmd", "rare"), scored)
    assert score_commands(RunSpec(metrics=asked, protocol=protocols), view) == commands


def test_a_request_for_all_metrics_leaves_nothing_to_score_later():
    names = ("mmd", "rf_auc_by_type")
    view = scored_with(names, {"strict": names})
    assert score_commands(RunSpec(metrics=("all",)), view) == []
    assert score_commands(RunSpec(metrics=("mmd",)), view) == ["bench score RUN --metrics rf_auc_by_type"]


def test_a_run_scored_with_more_than_its_request_says_so(tmp_path, capsys):
    scored = stored(tmp_path, seeds=1)
    request = read_json(scored.request)
    write_json(scored.request, request | {"spec": request["spec"] | {"metrics": ["rf_auc"]}})
    report(scored.path, format="json")
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    first, second = told["command"].splitlines()
    assert first.endswith("--metrics rf_auc")
    assert second == "bench score RUN --metrics mmd,cd,augmentation_f1"
    report(scored.path, html=tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert f"{second}</code>" in text and "RUN is the folder that the first line makes." in text


def test_cells_from_python_have_no_command():
    assert run_command(RunSpec(dataset=IN_MEMORY)) == ""
