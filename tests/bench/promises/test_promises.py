"""``bench test``: each planted fault is found, under its own name; what keeps its promises passes."""

import shutil

import pytest
from rich.console import Console

import datasets
from bench.cli import app
from bench.errors import RequestError
from bench.promises import broken_promises, check_promises
from bench.promises.asking import CELLS
from bench.promises.findings import Finding
from bench.promises.promises import LOADED, TRAINED
from bench.promises.table import print_checklist
from bench.promises.workbench import Workbench, names_here
from bench.promises.worker import ask
from bench.request.registry import MODELS, plugins, resolve_model
from bench.results.files import write_json
from tests.places import UNFAITHFUL

pytestmark = pytest.mark.slow

FILE = UNFAITHFUL
FAULTS = {
    "HasNoSpace": ("class attributes", "space is 'tpm', not one of counts, cp20k, log_cp20k"),
    "HasNoBudgetForAProfile": ("class attributes", "default_budgets must name smoke, quick, paper"),
    "HasABudgetNobodyReads": ("class attributes", "default_budgets['quick']: budget 'a while' is not like"),
    "HidesItsSettings": ("hyper-parameters in the signature", "the constructor takes **settings"),
    "SaysNoKindOfASetting": ("hyper-parameters in the signature", "hyper-parameter scale has no annotation"),
    "FailsInFit": ("prepare and fit", "RuntimeError: shapes do not match"),
    "ChangesTheTrainingCells": ("training cells unchanged", "fit changed the training cells: X.data"),
    "TellsMoreThanAll": ("progress", "monitor.advance was told a share of 1.5"),
    "StopsHalfway": ("progress", "training ended at 50% of its budget of 4 steps"),
    "DrawsTooFew": ("cells as promised", "sample returned 59 cells, 60 were asked for"),
    "DrawsFractions": ("cells as promised", "declared counts, but"),
    "DrawsNaN": ("cells as promised", "hold NaN or infinite values"),
    "DrawsOtherGenes": ("cells as promised", "sample returned other genes than those of the training cells"),
    "SortsTypes": ("types in the order asked for", "cells are not of the types asked for, in the order"),
    "RefusesWithAKeyError": ("types in the order asked for", "KeyError instead of Unsupported when a type"),
    "DrawsFromTheGlobalState": ("samples repeat by their seed", "one seed gave two samples"),
    "ForgetsTheSampleSeed": ("samples repeat by their seed", "two seeds gave one sample"),
    "ForgetsTheTrainingSeed": ("trainings repeat by their seed", "two trainings with one seed draw other"),
    "TakesAllCellsForInMemory": ("training from disk", "AttributeError: "),
    "LearnsTheFirstCellsAlone": ("training from disk", "trained on cells that are on disk it draws other"),
    "HoldsAllPieces": ("sampling in pieces", "sample_chunks returned list, which holds all pieces at once"),
    "CutsLargePieces": ("sampling in pieces", "60 cells in pieces of 25 came as 60"),
    "ReturnsTrainingCells": ("cells of its own", "100% of its cells are copies of training cells"),
    "Pickles": ("stored without pickle", "save wrote a pickle: weights.bin"),
    "StoresNothing": ("stored without pickle", "save wrote nothing"),
    "LosesItsMeansWhenStored": (
        "the same when loaded",
        "the stored model draws other cells than the trained",
    ),
    "CannotBeLoaded": ("the same when loaded", "FileNotFoundError: cells.h5ad"),
    "LeavesALog": ("no files beside", "it left training.log in the working folder"),
    "Crashes": ("stored without pickle", "the process was ended by SIGSEGV"),
}
IN_PROCESSES = {"Crashes", "StoresNothing", "LosesItsMeansWhenStored"}
ALSO = {
    "DrawsFromTheGlobalState": {
        "the same when loaded",
        "trainings repeat by their seed",
        "training from disk",
    },
    # What it adds to is no array where the cells are on disk.
    "ChangesTheTrainingCells": {"training from disk"},
    "ForgetsTheTrainingSeed": {"training from disk"},
}
ALSO["ForgetsTheSampleSeed"] = {"sampling in pieces"}
ALSO["StoresNothing"] = {"the same when loaded"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tiny_cells(tmp_path_factory):
    """The folder that a process of ``bench test`` finds, without its request."""
    prepared = datasets.prepare(CELLS, cache_folder=tmp_path_factory.mktemp("cache"))
    adata, folder = prepared.read(), tmp_path_factory.mktemp("cells")
    shutil.copyfile(prepared.path, folder / "cells.h5ad")
    facts = {"genes": list(adata.var_names), "cell_types": sorted(set(adata.obs["cell_type"].astype(str)))}
    write_json(folder / "facts.json", facts)
    return folder


def asked_here(fault, cells, folder):
    """Ask for all promises in this process: what ends no process needs none of its own."""
    shutil.copytree(cells, folder, dirs_exist_ok=True)
    bench = Workbench(resolve_model(f"{FILE}:{fault}").generator, {}, "cpu", folder, beside=names_here())
    found = list(ask(TRAINED, bench))
    if (folder / "model").is_dir():
        again = Workbench(bench.generator_class, {}, "cpu", folder, digests=bench.digests)
        found += ask(LOADED, again)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_under_its_name(fault, tiny_cells, tmp_path):
    if fault in IN_PROCESSES:
        found = check_promises(f"{FILE}:{fault}")
    else:
        (tmp_path / "bench").mkdir()
        found = asked_here(fault, tiny_cells, tmp_path / "bench")
    findings = {finding.promise: finding for finding in found}
    promise, told = FAULTS[fault]
    assert findings[promise].status == "broken"
    assert findings[promise].told.startswith(told) or told in findings[promise].told
    assert findings[promise].remedy
    # Nothing that is kept is called broken.
    broken = {finding.promise for finding in findings.values() if finding.status == "broken"}
    assert broken - ALSO.get(fault, set()) == {promise}


def test_what_keeps_every_promise_is_told_so():
    findings = check_promises(f"{FILE}:Faithful")
    assert {finding.status for finding in findings} <= {"kept", "noted"}
    assert len(findings) == 17


@pytest.mark.parametrize("name", sorted(set(plugins(MODELS)) - {"external"}))
def test_every_generator_of_ours_keeps_its_promises(name):
    if lacking := resolve_model(name).generator.missing():
        pytest.skip(lacking)
    assert broken_promises(name) == []


def test_what_cannot_run_is_told_so_and_asked_nothing_more(tmp_path):
    file = tmp_path / "lacking.py"
    words = "'it needs a package: pip install it'"
    file.write_text(
        f"{FILE.read_text()}\n\nclass Lacking(Faithful):\n"
        f"    @classmethod\n    def missing(cls):\n        return {words}\n"
    )
    findings = {finding.promise: finding for finding in check_promises(f"{file}:Lacking")}
    asked = findings["prepare and fit"]
    assert (asked.status, asked.told) == ("not asked", words.strip("'"))
    assert {(finding.status, finding.told) for finding in list(findings.values())[4:]} == {
        ("not asked", asked.told)
    }


def test_a_module_that_imports_its_framework_is_told(tmp_path):
    file = tmp_path / "heavy.py"
    file.write_text(f"{FILE.read_text()}\nimport scanpy\n")
    assert broken_promises(f"{file}:Faithful") == [
        "imports without its framework: importing its module imports scanpy: "
        "import torch, TensorFlow and the like inside the methods"
    ]


def test_a_process_that_takes_too_long_is_ended_and_told(tmp_path):
    file = tmp_path / "slow.py"
    slow = "class Slow(Faithful):\n    def shares(self):\n        signal.pause()\n"
    file.write_text(f"{FILE.read_text()}\n\n{slow}")
    findings = check_promises(f"{file}:Slow", limit_seconds=8)
    (slow,) = [finding for finding in findings if finding.status == "broken"]
    assert (slow.promise, slow.told) == ("prepare and fit", "it took longer than 8 s")


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("no_such", {}, "unknown model 'no_such'"),
        (f"{FILE}:Faithful", {"depth": 3}, "unknown hyper-parameter faithful.depth"),
    ],
)
def test_a_wrong_request_is_no_broken_promise(model, settings, message):
    with pytest.raises(RequestError, match=message):
        check_promises(model, settings=settings)


@pytest.mark.parametrize(("model", "code"), [("Faithful", 0), ("StoresNothing", 1)])
def test_the_exit_code_tells_whether_all_are_kept(model, code, capsys):
    assert app(["test", f"{FILE}:{model}"], standalone_mode=False) == code
    printed = capsys.readouterr().out
    assert ("0 broken" in printed) == (code == 0)


def test_the_checklist_prints_foreign_words_as_they_stand():
    console = Console(record=True, width=100, markup=False)
    finding = Finding("cells as promised", "broken", "no gene [bold]x[/]", "look [there]")
    print_checklist("[red]mine", [finding], console)
    text = console.export_text()
    assert "no gene [bold]x[/]" in text
    assert "✗ cells as promised: look [there]" in text
    assert "0 kept, 1 broken, 0 not asked" in text
