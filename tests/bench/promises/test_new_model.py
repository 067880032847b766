"""What ``bench new-model`` writes keeps every promise before anybody has touched it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import RequestError
from bench.new_model import write_new_model
from bench.promises import check_promises
from bench.request.registry import resolve_model
from models.base import Budget, SilentMonitor
from models.external import External
from tests.models.test_external import training_cells

pytestmark = pytest.mark.slow


def its_own_tests(folder):
    """Run the tests that were written, as its CI does, with this interpreter called ``python``."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (bin_folder / "python").chmod(0o755)
    paths = {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=os.environ | paths, capture_output=True, text=True)


def test_a_new_package_keeps_every_promise_and_its_own_tests_pass(tmp_path):
    files = write_new_model("two-words", tmp_path)
    folder = tmp_path / "two-words"
    assert {path.relative_to(folder).as_posix() for path in files} == {
        "pyproject.toml",
        "README.md",
        "two_words.py",
        "tests/test_two_words.py",
        ".github/workflows/tests.yml",
    }
    assert not any("<<" in path.read_text() for path in files)
    choice = resolve_model(f"{folder / 'two_words.py'}:TwoWords")
    assert choice.name == "two-words"
    findings = check_promises(choice.reference)
    assert {finding.promise for finding in findings if finding.status not in ("kept", "noted")} == {
        "training from disk"
    }
    done = its_own_tests(folder)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_new_program_keeps_every_promise_in_its_own_test(tmp_path):
    files = write_new_model("mine", tmp_path, external=True)
    assert not any("<<" in path.read_text() for path in files)
    done = its_own_tests(tmp_path / "mine")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_new_program_draws_the_means_of_each_type(tmp_path):
    write_new_model("mine", tmp_path, external=True)
    config, interpreter = tmp_path / "mine" / "mine.toml", shlex.quote(sys.executable)
    config.write_text(config.read_text().replace('"python ', f'"{interpreter} '))
    generator = External(config=str(config))
    generator.fit(training_cells(), seed=0, budget=Budget(1, "seconds"), monitor=SilentMonitor())
    cells = generator.sample(4_000, cell_types=["T", "B"] * 2_000, seed=1)
    assert list(cells.obs["cell_type"]) == ["T", "B"] * 2_000
    assert cells.X.toarray()[::2].mean(axis=0) == pytest.approx([0, 5, 0.5], abs=0.2)
    assert cells.X.toarray()[1::2].mean(axis=0) == pytest.approx([2, 0, 1], abs=0.2)
    again = generator.sample(4_000, cell_types=["T", "B"] * 2_000, seed=1)
    assert np.array_equal(again.X.toarray(), cells.X.toarray())
    assert set(generator.sample(50, seed=2).obs["cell_type"]) == {"B", "T"}


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="mine exists: choose another name, or move it"):
        write_new_model("mine", tmp_path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models", "is taken"),
        ("activa", "is taken"),
        ("2fast", "begin with a letter"),
        ("class", "begin with a letter"),
        ("a b", "letters, digits"),
        ("../x", "leave out /"),
        ("", "characters"),
    ],
)
def test_what_nothing_can_be_called(tmp_path, name, message):
    with pytest.raises(RequestError, match=message):
        write_new_model(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_templates_are_part_of_the_package():
    import bench

    home = Path(bench.__file__).parent / "templates"
    assert len(list(home.rglob("*.jinja"))) == 10
