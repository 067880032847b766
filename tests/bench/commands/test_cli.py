"""The command line: quick to answer, one line for every wrong word, the exit codes it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.hardware import has_cuda
from tests.places import THROWAWAY

pytestmark = pytest.mark.slow

GENERATORS = THROWAWAY
HEAVY = (
    "torch",
    "tensorflow",
    "scanpy",
    "anndata",
    "mlflow",
    "pandas",
    "numpy",
    "sklearn",
    "pydantic",
    "matplotlib",
)


def bench(*arguments, **options):
    """Run a command as a user does, in a process that imports everything anew."""
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['bench', '--help']\n"
        "from bench.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Benchmark generative models" in printed
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run", "--nope"], "No such option: --nope"),
        (["run", "--cells", "many"], "'--cells'"),
        (["run", "--profile", "fast"], "--profile 'fast': Input should be 'smoke', 'quick' or 'paper'"),
        (["run", "--models", "activva"], "unknown model 'activva': choose from activa"),
        (["run", "--metrics", "all,mmd"], "--metrics all,mmd: give all alone, or names"),
        (["run", "--metrics", "fid"], "unknown metric 'fid': choose from"),
        (["run", "--dataset", "brian_small"], "brian_small"),
        (["run", "--dataset", "missing.h5ad"], "missing.h5ad"),
        (["run", "--set", "activa.objective=best"], "activa.objective='best'"),
        (["run", "--set", "activa.colour=red"], "unknown hyper-parameter activa.colour"),
        (["run", "--budget", "activa=forever"], "'forever' is not like 200steps"),
        (["run", "--hardware", "abacus"], "--hardware abacus"),
        (["run", "--label-key", "nope"], "nope"),
        (["run", "--resume", "nowhere"], "is not a run folder"),
        (["run", "--resume", "nowhere", "--seeds", "1"], "give no other option"),
        (["score"], "missing: --real --train --synthetic"),
        (["report", "nowhere"], "is not a run folder"),
        pytest.param(
            ["run", "--device", "cuda"],
            "--device cuda: no NVIDIA GPU",
            marks=pytest.mark.skipif(has_cuda(), reason="there is a GPU here"),
        ),
        (["run", "--out", __file__], "is a file: give a folder"),
        (["run", "--seeds", "0-999999999"], "more than 1000 seeds"),
        (["run", "--models", f"{GENERATORS}:NamedReal"], "'real' is the name of a baseline or control"),
        (["run", "--models", f"{GENERATORS}:Broken"], "broken: no licence file"),
        (["run", "--models="], "names nothing"),
        (["run", "--models", "./cells.csv:Model"], "must end in .py"),
        (["run", "--models", ":Model"], "must end in .py"),
        (["list", "everything"], "choose from models, metrics, datasets"),
        (["data", "info", "brian_small"], "brian_small"),
        (["data", "add", "pbmc68k", "missing.tar.gz"], "missing.tar.gz"),
    ],
)
def test_a_wrong_word_gets_one_line_and_leaves_nothing(answer, arguments, message):
    code, _, errors = answer(*arguments)
    assert code == 2, errors
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "arguments", [["run", "--models", "activva"], ["run", "--metrics", "fid"], ["run", "--dataset", "a.h5ad"]]
)
def test_the_one_line_is_all_that_a_process_of_its_own_says(tmp_path, answer, arguments):
    ended = bench(*arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == answer(*arguments)
    assert ended.returncode == 2 and ended.stdout == ""


def test_a_folder_that_shadows_ours_is_named(tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    ended = bench("list", "models", cwd=tmp_path)
    assert ended.returncode == 2
    assert str(tmp_path / "datasets") in ended.stderr
    assert "bench new-model NAME --external" in ended.stderr


def test_hardware_is_shown(answer):
    code, output, _ = answer("hardware")
    assert code == 0
    assert "fingerprint" in output


@pytest.mark.parametrize("what", ["models", "metrics", "datasets"])
def test_what_is_installed_is_listed(answer, what):
    code, output, _ = answer("list", what)
    assert code == 0
    expected = {"models": "cscgan", "metrics": "augmentation_f1", "datasets": "neurocovid"}[what]
    assert expected in output
    if what == "metrics":
        head, *rows = (line.strip() for line in output.splitlines() if line.strip())
        (row,) = [row for row in rows if row.startswith("rf_auc_by_type")]
        assert (head.split()[:2], row.split()[1]) == (["name", "default"], "no")
