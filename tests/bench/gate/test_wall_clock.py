"""Base and head of a real repository, timed in real processes."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from bench.errors import RequestError
from bench.gate import command, sides
from bench.gate.sides import base_of, here, in_both
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

MINE = '''
import time

from models.base import Generator

STEP, SAMPLE = 0.005, 0.02


class Mine(Generator):
    """Sleeps as long as its work would take."""

    name = "mine"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        with monitor.phase("descent"):
            for step in range(int(budget.amount)):
                time.sleep(STEP)
                monitor.advance((step + 1) / budget.amount)

    def sample(self, n_cells, *, cell_types=None, seed):
        time.sleep(SAMPLE)

    def save(self, folder):
        pass

    @classmethod
    def load(cls, folder, *, device="cpu"):
        return cls()
'''


# As a module called sitecustomize, in place of the machine's clock: on a busy machine, too, the work takes
# what it says, give or take a hundredth.
STEADY_CLOCK = """
import random
import time

now = 0.0


def pass_time(seconds):
    global now
    now += seconds
    return now


time.perf_counter = lambda: pass_time(1e-6)
time.sleep = lambda seconds: pass_time(seconds * random.uniform(0.99, 1.01))
"""


@pytest.fixture
def steady_clock(tmp_path, monkeypatch):
    """Give the processes that are timed the steady clock."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(STEADY_CLOCK)
    found = [str(tmp_path / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(found))


@pytest.fixture(params=["steady", pytest.param("real", marks=pytest.mark.long)])
def clock(request):
    """The clock of the processes that are timed; the real one needs a machine with nothing else to do."""
    if request.param == "steady":
        request.getfixturevalue("steady_clock")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
            patch.delenv(name, raising=False)
        yield


def git(*arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A third party's repository: an empty first commit, then mine.py."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "-m", "nothing yet")
    git("tag", "empty")
    Path("mine.py").write_text(MINE)
    git("add", "mine.py")
    git("commit", "--quiet", "-m", "a generator")
    return folder


def gate(baseline, *, models=("./mine.py:Mine",), **options):
    files = {"markdown_file": None} | options
    output = io.StringIO()
    code = command.gate(
        baseline,
        current=None,
        models=models,
        factor=1.1,
        device="cpu",
        seed=0,
        console=Console(file=output, width=200),
        **files,
    )
    return code, output.getvalue()


def leftovers():
    """Work trees beside the repository's own."""
    return git("worktree", "list").count("\n") - 1


def test_a_planted_slowdown_is_a_regression(repository, tmp_path, clock):
    Path("mine.py").write_text(MINE.replace("STEP, SAMPLE = 0.005", "STEP, SAMPLE = 0.0065"))
    code, text = gate("main", markdown_file=tmp_path / "gate.md")
    assert code == 3, text
    rows = [line for line in (tmp_path / "gate.md").read_text().splitlines() if ":Mine · " in line]
    step, _, sample = rows
    assert "Mine · step" in step and "❌ regression" in step
    assert "Mine · sample" in sample and "❌" not in sample
    assert "the calibration kernel" in text
    assert leftovers() == 0


def test_the_same_code_passes(repository, clock):
    code, text = gate("HEAD")
    assert code == 0 and "3 no regression" in text, text
    assert leftovers() == 0


def test_a_model_that_base_lacks_has_nothing_to_compare_with(repository):
    code, text = gate("empty")
    assert (
        code == 0
        and "not comparable" in text
        and "the base does not run" in text
        and "does not exist" in text
    )
    assert leftovers() == 0


def test_a_head_that_fails_is_a_failure(repository):
    Path("mine.py").write_text(MINE.replace("time.sleep(STEP)", "raise KeyError('gone')"))
    code, text = gate("main")
    assert code == 1 and "KeyError: 'gone'" in text
    assert leftovers() == 0


@pytest.fixture(params=["bench/request/registry.py", "bench/registry.py"])
def checkout(tmp_path, request):
    """Another version of this package, as far as the gate looks at it."""
    folder = tmp_path / "version"
    for file in ("bench/__init__.py", request.param, "models/base.py", "mine.py"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    return folder


def test_a_base_without_a_worker_is_told_from_a_crash(repository, checkout):
    code, text = gate(str(checkout))
    assert code == 0 and "the base has no gate worker yet: nothing to compare" in text


@pytest.mark.parametrize("where", ["bench/work/serve.py", "bench/gate/worker.py"])
def test_a_base_of_another_protocol_is_named(repository, checkout, where):
    worker = checkout / where
    worker.parent.mkdir()
    (worker.parent / "__init__.py").write_text("")
    worker.write_text("print('{\"gate_worker\": 2}')")
    code, text = gate(str(checkout))
    assert code == 0 and "the base has a gate worker of protocol 2, this is 1" in text


def test_folders_of_the_repository_that_have_our_names_are_not_taken_for_ours(repository, steady_clock):
    for package in ("bench", "models", "datasets"):
        Path(package).mkdir()
        Path(package, "__init__.py").write_text("raise RuntimeError('not this one')")
    Path("mine.py").write_text(MINE.replace("import time\n", "import time\n\nimport datasets\n"))
    git("add", ".")
    git("commit", "--quiet", "-m", "names that we use, too")
    code, text = gate("HEAD")
    assert code == 0 and "3 no regression" in text, text


def test_a_module_that_only_head_has_is_not_lent_to_base(repository, monkeypatch):
    Path("mine.py").write_text(MINE.replace("import time\n", "import time\n\nimport helper\n"))
    git("commit", "--quiet", "-am", "without its helper")
    Path("lib").mkdir()
    Path("lib", "helper.py").write_text("")
    # As an editable installation does it.
    lent = [str(repository / "lib"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(lent))
    code, text = gate("HEAD")
    assert code == 0 and "1 not comparable" in text
    assert "the base does not run: ImportError: module helper comes from the other checkout" in text


def test_a_worker_that_does_not_answer_is_a_failure_that_names_the_limit(repository, monkeypatch):
    monkeypatch.setattr(sides, "LIMIT_SECONDS", 0.01)
    code, text = gate("HEAD")
    assert code == 1 and "start: no answer within 0.01 s, the limit of an answer" in text


def test_code_that_is_in_neither_checkout_is_not_compared_with_itself(repository):
    code, text = gate("main", models=("real",))
    assert code == 0 and "base and head both load" in text


def test_references_mean_each_checkouts_own_file(repository, monkeypatch):
    head = here()
    assert in_both("activa", head) == "activa" and in_both("a.b:C", head) == "a.b:C"
    assert in_both(f"{repository}/mine.py:Mine", head) == "mine.py:Mine"
    with pytest.raises(RequestError, match="base and head would be the same"):
        in_both("../other.py:Mine", head)
    (repository / "sub").mkdir()
    monkeypatch.chdir(repository / "sub")
    inside = here()
    assert in_both("../mine.py:Mine", inside) == "../mine.py:Mine"
    with base_of(inside, "main") as base:
        assert base.prefix == Path("sub") and base.root != inside.root


def test_an_unknown_baseline_is_refused_and_a_failure_leaves_nothing(repository):
    with (
        pytest.raises(RequestError, match="neither a file, nor a folder, nor a git reference"),
        base_of(here(), "gone"),
    ):
        pass
    with pytest.raises(KeyError), base_of(here(), "main") as base:
        assert (base.root / "mine.py").exists()
        raise KeyError
    assert not base.root.exists()
    assert leftovers() == 0


def test_the_six_lines_of_the_documentation_work(repository, tmp_path, steady_clock):
    page = REPOSITORY / "docs" / "ci.md"
    lines = page.read_text(encoding="utf-8").split("```yaml\n", 1)[1].split("```", 1)[0]
    assert len(lines.splitlines()) == 6
    *_, install, command_line = [step["run"] for step in yaml.safe_load(lines) if "run" in step]
    assert install == "pip install scgenbench"
    Path("mine.py").write_text(MINE.replace("class Mine(", "class MyGenerator("))
    git("commit", "--quiet", "-am", "a name of its own")
    git("clone", "--quiet", str(repository), str(tmp_path / "clone"))
    summary = tmp_path / "summary.md"
    environment = os.environ | {
        "GITHUB_ACTIONS": "true",
        "GITHUB_BASE_REF": "main",
        "GITHUB_STEP_SUMMARY": str(summary),
        # `bench` as pip installs it.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        ["bash", "-e", "-c", command_line],
        cwd=tmp_path / "clone",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MyGenerator · step" in summary.read_text()
