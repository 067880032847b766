"""Every command that a page shows: given to the command line at a small size, or left out for a reason.

Pages write placeholders: RUN, ``mine.h5ad``, ``./mine.py:MyGenerator``. What is small and real takes their
place here. Whatever a page shows must be understood by the command line, also where it is not carried out.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import anndata
import pytest
import typer
import typer.main

from bench import cli, draft, flow
from bench.request import registry
from bench.request.registry import ModelChoice
from bench.scoring import processes as scoring
from bench.scoring import tasks
from bench.work import processes
from datasets import pipeline
from reports import figures
from tests.conftest import make_prepared
from tests.documented import Command, blocks, documented, pages
from tests.places import REPOSITORY, THROWAWAY

pytestmark = pytest.mark.slow

LEFT_OUT = {
    # Ours: understood by the command line, and not carried out.
    "bench ui": "serves until Ctrl-C; tests/browser and tests/bench/tracking",
    "bench gate": "times two checkouts, or counts a training: tests/bench/gate; .ci/run gives it",
    "bench speed": "a minute or more: tests/bench/speed",
    "bench loaders": "a minute or more: tests/bench/speed",
    "bench test": "half a minute in a process of its own: tests/bench/promises",
    "bench test-metrics": "minutes: tests/metrics/selftest",
    "bench run --gpus": "wants GPUs, which tests/bench/request/test_sharing.py stands in for",
    "bench job": "takes a key of the run at hand: tests/bench/faults/test_elsewhere.py",
    "bench merge": "takes pieces of one run, made on several machines: tests/bench/results/test_packs.py",
    "bench site": "takes packs of several studies: tests/browser/test_site.py",
    "bench data fetch": "asks another machine: tests/datasets does it on 127.0.0.1",
    "bench data add": "takes a file of hundreds of megabytes: tests/datasets",
    # Of others: nothing here can tell whether they are right.
    "pip install": "installs; .ci/run does it from an empty environment",
    "tox run": "makes environments; .ci/run does it",
    "python -m benchmarks.activa": "a laboratory of minutes: tests/benchmarks",
    "pytest": "a test suite of its own, which tox.ini runs",
    "cd": "of a shell",
    "export": "of a shell",
    "python VAE/VAE_train.py": "scDiffusion's own, not run here, as the page says",
    "python cell_train.py": "scDiffusion's own, not run here, as the page says",
    "python classifier_train.py": "scDiffusion's own, not run here, as the page says",
    "python scripts/train.py": "scLDM's own, not run here, as the page says",
    "python scripts/train_ldm.py": "scLDM's own, not run here, as the page says",
    "python scripts/inference.py": "scLDM's own, not run here, as the page says",
}
IN_PLACE = {
    **dict.fromkeys(
        ("brain_small", "pbmc68k", "pbmc3k.h5ad", "pbmc3k_fifth.h5ad", "kang_half.h5ad", "kang.h5ad"),
        "mine.h5ad",
    ),
    "kang_ctrl_12261x1287.h5ad": "mine.h5ad",
    "./mine.py:MyGenerator": f"{THROWAWAY}:Mean",
    "./mine.py:Mine": f"{THROWAWAY}:Mean",
    "./mine/mine.py:Mine": f"{THROWAWAY}:Mean",
    "mine": f"{THROWAWAY}:Mean",
    "cell_type_scanpy": "cell_type",
    "CD14+ Monocyte": "alpha",
    "100000": "100",
    "2000": "20",
    "docs/examples/r/negative_binomial.toml": "mine.toml",
    "theirs/theirs.toml": "mine.toml",
}
"""A word of a page, or a name in a list of its names → what stands for it where it is carried out."""


def answered(*words: str) -> tuple[Any, str]:
    """Give a command to this process: its exit code, and all that it printed."""
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["bench", *words]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return ended.value.code, printed.getvalue()


def reason(command: Command) -> str | None:
    """Return why a command is not carried out."""
    for length in (3, 2, 1):
        if found := LEFT_OUT.get(" ".join(command.words[:length])):
            return found
    return None


@pytest.fixture(scope="module")
def looked_up_once():
    """Plan without looking through all packages, all code and this machine again for each command."""
    of_choice: Any = ModelChoice.source_hash
    meaning = cache(pipeline.meaning_of)
    once = cache(lambda generator: of_choice.fget(ModelChoice("", generator)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "plugins", cache(registry.plugins))
        patch.setattr(importlib.metadata, "version", cache(importlib.metadata.version))
        patch.setattr(pipeline, "meaning_of", lambda files: meaning(tuple(files)))
        patch.setattr(draft, "all_settled", lambda *_asked, **_named: {})
        patch.setattr(ModelChoice, "source_hash", property(lambda choice: once(choice.generator)))
        yield


@pytest.fixture(scope="module")
def scored_here():
    """Score in this process, and neither draw nor track: a map alone takes longer than all these commands.

    That processes are started, watched and outlived has tests of its own; so have figures and MLflow.
    """

    def at_once(arguments, **_options):
        return processes.Outcome(tasks.main([*arguments[1:], "1"]), False, False, 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "run_worker", at_once)
        patch.setattr(scoring, "scoring_processes", lambda *_sizes, **_named: 1)
        patch.setattr(tasks, "die_with_parent", lambda _parent: None)
        patch.setattr(tasks, "store_embeddings", lambda *_things, **_named: None)
        patch.setattr(flow, "present", lambda *_things: None)
        patch.setattr(figures, "save_figures", lambda *_things, **_named: [])
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory, looked_up_once, scored_here):
    """A folder with all that the pages presuppose: small cells, cells made elsewhere, a program, a run."""
    home = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("BENCH_CACHE", str(home / "cache"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        prepared = make_prepared(n_cells=300, n_genes=40)
        obs = prepared.obs[["cell_type", "split"]].assign(donor=[f"donor{row % 8}" for row in range(300)])
        cells = anndata.AnnData(prepared.layers["counts"], obs=obs, var=prepared.var)
        for name in ("mine", "all"):
            cells.write_h5ad(home / f"{name}.h5ad")
        for name, split in (("train", "train"), ("test", "test"), ("theirs", "test")):
            cells[obs["split"] == split].write_h5ad(home / f"{name}.h5ad")
        (home / "study.toml").write_text(study())
        assert answered("new-model", "theirs", "--external")[0] == 0
        shutil.copytree(home / "theirs", home, dirs_exist_ok=True)
        shutil.copy(home / "theirs.toml", home / "mine.toml")
        options = ("--split-from", "split", "--metrics", "mmd,copied_share", "--models", "nb_copula")
        code, printed = answered("run", "--profile", "smoke", "--dataset", "mine.h5ad", *options)
        assert code == 0, printed
        (plan,) = home.glob("runs/*/plan.json")
        yield home, plan.parent


def study() -> str:
    """Return the request that the page of commands shows as a file."""
    (page,) = (path for path in pages() if path.name == "commands.md")
    (block,) = (block for block in blocks(page) if block.language == "toml")
    return block.text


def small(command: Command) -> tuple[str, ...]:
    """Return the words of a command at its small size, without ``bench``."""
    name, *words = (word for word in command.words[1:])
    if name == "new-model":
        # Here `mine` is a name that is free.
        return name, *words
    words = [",".join(IN_PLACE.get(part, part) for part in word.split(",")) for word in words]
    if name in ("sample", "compare"):
        # The small run trained one model.
        words = [
            {"activa": "nb_copula", "activa,nb_copula": "nb_copula,real"}.get(word, word) for word in words
        ]
    if name == "score" and "--metrics" not in words:
        words += ["--metrics", "mmd"]
    trains = name in ("run", "paper") and "--resume" not in words and (name == "run" or "--dataset" in words)
    return name, *words, *["--dry-run"] * (trains and "--dry-run" not in words)


def understood(words: list[str]) -> None:
    """Parse words as the command line does, and carry nothing out."""
    group: Any = GROUP
    context: Any = group.make_context("bench", list(words), resilient_parsing=False)
    while hasattr(group, "resolve_command"):
        name, group, words = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, words, parent=context)


GROUP = typer.main.get_command(cli.app)
INDEX = REPOSITORY / "docs" / "index.md"
COMMANDS = documented()
OURS = {str(command.words): command for command in COMMANDS if command.is_ours}
CARRIED_OUT = {small(command): command for command in OURS.values() if reason(command) is None}


def test_every_block_says_what_it_is():
    unsaid = [
        f"{block.page}:{block.line}" for path in pages() for block in blocks(path) if not block.language
    ]
    assert unsaid == [], "a fence without a language: sh for commands, text for what they print"


def test_a_command_is_ours_or_is_left_out_for_a_reason():
    assert len(COMMANDS) > 60
    assert [str(command) for command in COMMANDS if not command.is_ours and reason(command) is None] == []


def test_no_reason_has_lost_its_command():
    shown = {" ".join(command.words[:length]) for command in COMMANDS for length in (1, 2, 3)}
    assert LEFT_OUT.keys() - shown == set()


@pytest.mark.parametrize("command", OURS.values(), ids=str)
def test_it_is_understood(command):
    understood([word for word in command.words[1:] if word != "…"])


@pytest.mark.parametrize("words", [["run", "--modles", "activa"], ["rnu"], ["data", "inform", "x"]])
def test_what_is_misspelt_is_found(words):
    with pytest.raises(typer.BadParameter.__bases__[0]):
        understood(words)


@pytest.mark.parametrize("words", CARRIED_OUT, ids=lambda words: str(CARRIED_OUT[words]))
def test_it_does_what_the_page_says(words, place, tmp_path, monkeypatch):
    home, run = place
    monkeypatch.chdir(tmp_path if words[0] == "new-model" else home)
    for name in {"RUN", "RUN_A", "RUN_B"}.intersection(words):
        # Whole, whatever an earlier command has scored or written.
        shutil.rmtree(home / name, ignore_errors=True)
        shutil.copytree(run, home / name)
    code, printed = answered(*words)
    assert code == 0, f"{CARRIED_OUT[words]}\n{printed[-2000:]}"


def test_scripts_are_bash():
    for path in pages():
        for block in blocks(path):
            if block.language == "bash":
                subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_each_page_is_in_reach_of_the_first():
    """A page that no list of contents names is found by nobody."""
    lines = INDEX.read_text(encoding="utf-8").splitlines()
    listed = {Path(f"docs/{line.rpartition('<')[2].rstrip('>')}.md") for line in lines}
    docs = {path.relative_to(REPOSITORY) for path in pages() if path.parent == INDEX.parent}
    assert docs - listed == {Path("docs/index.md")}
