"""Stored baselines: accepted with a reason, checked, refused."""

import io
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench import cli
from bench.errors import RequestError
from bench.gate import command
from tests.bench.gate.test_files import sides
from tests.bench.gate.test_quality import Folder
from tests.places import GATED

pytestmark = pytest.mark.slow

PLAIN = f"{GATED}:Plain"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
            patch.delenv(name, raising=False)
        yield


def gate(baseline, *, current=None, models=(), factor=1.1):
    output = io.StringIO()
    code = command.gate(
        str(baseline),
        current=current,
        models=models,
        factor=factor,
        device="cpu",
        seed=0,
        markdown_file=None,
        console=Console(file=output, width=200),
    )
    return code, output.getvalue()


def accept(baseline, **options):
    given = {"reason": "because", "current": None, "models": (PLAIN,), "console": Console(quiet=True)}
    return command.accept(str(baseline), **given | options)


def test_accept_keeps_the_reason_and_the_gate_holds_it(tmp_path):
    baseline = tmp_path / "baselines" / "gate.json"
    with pytest.raises(RequestError, match="there is none yet; store one with bench gate"):
        gate(baseline)
    assert accept(baseline, reason=" the first ") == 0
    stored = json.loads(baseline.read_text())
    assert stored["counts"][PLAIN]["accepted"]["reason"] == "the first"
    assert stored["counts"][PLAIN]["accepted"]["date"].startswith("20")
    assert stored["counts"][PLAIN]["counts"] == {"training steps": 300}
    assert gate(baseline)[0] == 0
    stored["counts"][PLAIN]["counts"]["training steps"] = 299
    baseline.write_text(json.dumps(stored))
    code, text = gate(baseline)
    assert code == 3 and "299" in text and "300" in text
    # What was accepted before is counted anew without being named.
    accept(baseline, models=(), reason="one step more is right")
    again = json.loads(baseline.read_text())["counts"]
    assert list(again) == [PLAIN] and again[PLAIN]["accepted"]["reason"] == "one step more is right"
    assert gate(baseline)[0] == 0


def test_a_branch_with_one_operator_more_fails(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch", "main")
    shutil.copy(GATED, "mine.py")
    accept("gate.json", models=("./mine.py:Tiny",))
    git("add", ".")
    git("commit", "--message", "A generator and its counts")
    git("switch", "--create", "change")
    mine = Path("mine.py").read_text()
    Path("mine.py").write_text(
        mine.replace("(self.decoder(self.encoder(cells))", "(self.decoder(self.encoder(cells * 1.0))")
    )
    git("commit", "--all", "--message", "One operator more")
    code, text = gate("gate.json")
    assert code == 3
    rows = [line for line in text.splitlines() if "step operators" in line]
    assert len(rows) == 1 and "regression" in rows[0]
    git("switch", "main")
    assert gate("gate.json")[0] == 0


def test_scores_are_accepted_with_a_run_and_compared(tmp_path, monkeypatch):
    baseline, runs = tmp_path / "gate.json", {"good": [0.70, 0.71, 0.72], "bad": [0.9, 0.9, 0.9]}
    monkeypatch.setattr(command, "open_whole", lambda path: Folder(runs[path.name]))
    accept(baseline, current="good", models=())
    whole = json.loads(baseline.read_text())
    assert whole["counts"] == {}  # a count must not be accepted unseen
    stored = whole["quality"]["mine · strict"]
    assert stored["accepted"]["reason"] == "because" and stored["metrics"]["rf_auc"]["ideal"] == 0.5
    assert gate(baseline, current="good")[0] == 0
    code, text = gate(baseline, current="bad")
    assert code == 3 and "mine · strict · rf_auc" in text


def test_a_baseline_of_other_metric_code_is_refused_with_a_command_that_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "open_whole", lambda path: Folder([0.70, 0.71, 0.72]))
    baseline = tmp_path / "my gate.json"
    accept(baseline, current="good", models=())
    stored = json.loads(baseline.read_text())
    stored["quality"]["mine · strict"]["metrics"]["rf_auc"]["code"] = ["older"]
    baseline.write_text(json.dumps(stored))
    with pytest.raises(RequestError, match="other metric code") as refused:
        gate(baseline, current="good")
    words = shlex.split(str(refused.value).partition("with ")[2])
    assert words[:2] == ["bench", "gate"] and "--accept" in words
    assert words[words.index("--baseline") + 1] == str(baseline)
    assert words[words.index("--current") + 1] == "good"
    accept(baseline, current="good", models=(), reason="other metric code")
    assert gate(baseline, current="good")[0] == 0


def test_a_run_of_which_something_failed_is_not_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "open_whole", lambda path: Folder([0.7, 0.7, 0.7]))
    monkeypatch.setattr(command, "exit_code", lambda run: 1)
    with pytest.raises(RequestError, match="--current crashed: a Job or a score of it failed"):
        accept(tmp_path / "gate.json", current="crashed", models=())
    assert not (tmp_path / "gate.json").exists()


def test_two_runs_are_compared(tmp_path, monkeypatch):
    runs = {"good": [0.70, 0.71, 0.72], "bad": [0.9, 0.9, 0.9]}
    monkeypatch.setattr(command, "open_whole", lambda path: Folder(runs[path.name]))
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "plan.json").write_text("[]")
    assert gate(tmp_path / "good", current="bad")[0] == 3
    with pytest.raises(RequestError, match="give the run to compare with --current"):
        gate(tmp_path / "good")


def test_benchmark_files_go_through_the_same_gate(tmp_path):
    base, head = (",".join(map(str, side)) for side in sides(tmp_path, 9, 1.2))
    assert gate(base, current=head)[0] == 3
    assert gate(base, current=base)[0] == 0
    with pytest.raises(RequestError, match="give those to compare"):
        gate(base)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--accept"], "--accept wants --reason"),
        (["--accept", "--reason", "x", "--baseline", "main"], "no file to store in"),
        (["--baseline", "nowhere.json"], "there is none yet"),
        (["--baseline", "no-such-branch"], "neither a file, nor a folder, nor a git reference"),
        (["--factor", "1"], "give a slowdown above 1"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_code_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "gate", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in error and error.count("\n") == 1
