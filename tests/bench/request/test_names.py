"""Names are text: refused where files and commands cannot hold them, printed as they stand elsewhere."""

import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from bench.console import plain_console
from bench.errors import RequestError
from bench.progress import Progress
from bench.request.choices import made
from bench.request.names import MOST_SIGNS, require_name
from bench.request.registry import resolve_model
from bench.results.run_folder import RunFolder

UNFIT = ["", "  ", "a/b", "..", ".hidden", "-x", "a\\b", "a,b", "*", "a\nb", "a\x00b", " a", "x" * 300]
FIT = ["gan.v2", "[bold]", "$foo$", "a_b^c", "模型", "x" * MOST_SIGNS]
MODEL = """
from tests.bench.generators.throwaway import Mean

class Named(Mean):
    name = {name!r}
"""
PROGRAM = """
[program]
name = {name}
space = "counts"
fit = "true"
sample = "true"
"""


def named(folder, name):
    file = folder / "model.py"
    file.write_text(MODEL.format(name=name), encoding="utf-8")
    return resolve_model(f"{file}:Named")


@pytest.mark.parametrize("name", UNFIT)
def test_a_model_whose_name_files_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(
        RequestError, match=r"model '.*:Named' has (the name|a name of 300 characters)"
    ) as told:
        named(tmp_path, name)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 250 + len(str(tmp_path))


@pytest.mark.parametrize("name", FIT)
def test_all_other_names_are_taken_as_they_are(tmp_path, name):
    assert named(tmp_path, name).name == name
    assert require_name(name, of="it") == name


@pytest.mark.parametrize("name", ["../weights", "x" * 300, ""])
def test_a_program_gives_its_own_name_under_the_same_rule(tmp_path, name):
    file = tmp_path / "program.toml"
    file.write_text(PROGRAM.format(name=f'"{name}"'))
    with pytest.raises(RequestError, match="model 'external' has"):
        made(resolve_model("external"), {"config": str(file)})


@pytest.mark.parametrize("name", ["../../escape", "x" * 300, "a\nb", "synthetic:9x9", "", "..", "数据"])
def test_a_run_is_named_after_any_data_set_and_stays_where_it_belongs(tmp_path, name):
    run = RunFolder.create(tmp_path / "runs", name)
    assert run.path.parent == (tmp_path / "runs").resolve()
    assert re.fullmatch(r"\d{8}-\d{6}-[\w.-]{1,60}", run.path.name, re.ASCII)


HOSTILE = "[/] [bold]x[/bold] :cat: $\\foo$ [link=a]"


def test_the_console_prints_what_others_wrote_as_it_stands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    console = plain_console()
    console.print(HOSTILE)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    assert capsys.readouterr().out.count(HOSTILE) == 4


def test_bars_show_names_as_they_stand():
    screen = io.StringIO()
    progress = Progress(Console(file=screen, width=200, force_terminal=True, emoji=False))
    with progress.stage("training", total=1) as stage:
        stage.follow({"title": f"mean · {HOSTILE}", "phase": "fit", "fraction": 0.5})
    with progress.transfers() as report:
        report(HOSTILE, 1, 2)
    assert screen.getvalue().count(HOSTILE) >= 2
