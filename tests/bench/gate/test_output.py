"""What people, CI services and GitHub are shown."""

import io

import pytest
from rich.console import Console

from bench.gate.command import write_outputs
from bench.gate.findings import Finding, Outcome, markdown, print_outcome, workflow_commands

SLOWER = Finding("wall clock", "mine", "step", "regression", 0.010, 0.0131, "s", 1.31, "1.28 … 1.33, 9 pairs")
COUNT = Finding("counts", "mine", "fit bytes written", "no regression", 12345, 12345, "", 1.0, "exact")
OPEN = Finding("wall clock", "mine", "sample", "undecided", 2.0, 2.2, "s", 1.1, "0.9 … 1.3, 25 pairs")
BROKEN = Finding("counts", "a|b", "", "failed", note="KeyError: 100% <gone>, sorry")
OUTCOME = Outcome([SLOWER, COUNT, OPEN, BROKEN], ["the machine was quiet"])


@pytest.mark.parametrize(
    ("findings", "code"), [([SLOWER, BROKEN], 3), ([BROKEN, COUNT], 1), ([OPEN, COUNT], 0), ([], 0)]
)
def test_exit_codes(findings, code):
    assert Outcome(findings).exit_code == code


def test_the_table_has_every_row_and_a_headline():
    console = Console(file=io.StringIO(), width=200)
    print_outcome(OUTCOME, console=console)
    text = console.file.getvalue()
    for words in (
        "10 ms",
        "13.1 ms",
        "1.310",
        "12 345",
        "a|b: KeyError: 100% <gone>",
        "the machine was quiet",
    ):
        assert words in text
    assert "gate: 1 regression, 1 failed, 1 undecided, 1 no regression" in text


def test_markdown_is_a_table_that_bars_do_not_break():
    lines = markdown(OUTCOME).splitlines()
    assert lines[0] == "## Gate: 1 regression, 1 failed, 1 undecided, 1 no regression"
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert rows[0] == (
        "| wall clock | mine · step | 10 ms | 13.1 ms | 1.310 | 1.28 … 1.33, 9 pairs | ❌ regression |"
    )
    assert "a\\|b" in rows[3] and len(rows) == 4
    assert "- the machine was quiet" in lines and lines[-1].startswith("- *undecided*")
    assert "*undecided*" not in markdown(Outcome([COUNT]))


def test_annotations_escape_what_github_reads():
    lines = workflow_commands(OUTCOME)
    assert lines[0].startswith("::error title=gate%3A mine · step::regression: 13.1 ms against 10 ms")
    assert lines[1].startswith("::warning title=")
    assert "100%25 <gone>, sorry" in lines[2] and len(lines) == 3


def test_outputs_go_where_they_are_wanted(tmp_path, capsys):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    environment = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": "true"}
    write_outputs(OUTCOME, markdown_file=tmp_path / "gate.md", environment=environment)
    assert summary.read_text() == "before\n" + markdown(OUTCOME)
    assert (tmp_path / "gate.md").read_text() == markdown(OUTCOME)
    assert capsys.readouterr().out.startswith("::error ")
    write_outputs(OUTCOME, markdown_file=None, environment={})
    assert capsys.readouterr().out == ""


def test_names_and_notes_are_shown_as_they_are_written():
    # As benchmarks are called, and as the last words of a worker may be.
    odd = Finding(
        "benchmarks", "test_step[cpu-fp32]", "", "failed", note="lost [/tmp/x]\n\x1b[31m<b>two lines"
    )
    console = Console(file=io.StringIO(), width=200)
    print_outcome(Outcome([odd]), console=console)
    text = console.file.getvalue()
    assert text.count("test_step[cpu-fp32]") == 2 and "[/tmp/x]" in text
    row = markdown(Outcome([odd])).splitlines()[4]
    assert row.startswith("| benchmarks |") and row.endswith("two lines) |") and "&lt;b>" in row
