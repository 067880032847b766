import inspect
import shutil
import sys
from pathlib import Path

import pytest

import models.base
from bench.errors import RequestError
from bench.request.hyperparameters import hyperparameters
from bench.request.registry import MODELS, plugins, resolve_model
from models.external import External
from tests.places import THROWAWAY

FILE = THROWAWAY


def test_a_class_in_a_file_is_found_again_by_its_reference():
    choice = resolve_model(f"{FILE}:Mean")
    again = resolve_model(choice.reference)
    assert (choice.name, again.name) == ("mean", "mean")
    assert choice.source_hash == again.source_hash


def test_a_class_object_stands_for_the_place_it_was_defined():
    generator = resolve_model(f"{FILE}:Mean").generator
    assert resolve_model(generator).reference == f"{FILE.resolve()}:Mean"


def test_a_class_of_a_module_beside_a_script_is_found_by_its_file(tmp_path, monkeypatch):
    (tmp_path / "beside_the_script.py").write_text(FILE.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_script

    assert resolve_model(beside_the_script.Mean).reference == f"{tmp_path / 'beside_the_script.py'}:Mean"


@pytest.mark.parametrize(("added", "differs"), [("# another line", False), ("scale = 2", True)])
def test_editing_a_model_changes_its_hash_and_a_remark_does_not(tmp_path, added, differs):
    copy = tmp_path / "mine.py"
    copy.write_text(FILE.read_text())
    before = resolve_model(f"{copy}:Mean").source_hash
    copy.write_text(f"{FILE.read_text()}\n{added}\n")
    assert (resolve_model(f"{copy}:Mean").source_hash != before) == differs


def test_a_built_in_is_known_by_what_its_code_means_alone():
    """What else a generator adds to a Job's key is a text that a remark would change: built-ins have none."""
    for name in plugins(MODELS):
        assert resolve_model(name).generator.content in (models.base.Generator.content, External.content)


def test_the_built_ins_use_the_same_door():
    assert {"activa", "scgan", "cscgan", "real", "shuffle", "poisson", "memorise"} <= set(plugins(MODELS))


def test_listing_generators_imports_no_framework():
    import subprocess

    code = (
        "import sys; from bench.request.registry import resolve_model\n"
        "for name in ('activa', 'scgan', 'cscgan', 'external', 'real'): resolve_model(name).source_hash\n"
        "print([name for name in ('torch', 'tensorflow', 'scanpy', 'anndata') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("activva", "unknown model 'activva': choose from .*activa"),
        (f"{FILE}:Nothing", "defines no Nothing"),
        (f"{FILE}:np", "is not a subclass"),
        ("/nowhere/mine.py:Model", "does not exist"),
        ("no_such_module:Model", "cannot be imported"),
        ("pathlib:Path", "is not a subclass"),
    ],
)
def test_what_is_no_model(choice, message):
    with pytest.raises(RequestError, match=message):
        resolve_model(choice)


def test_hyperparameters_are_read_from_the_constructor():
    generator = resolve_model(f"{FILE}:Mean").generator
    assert hyperparameters(generator) == {"scale": 1.0, "mode": "a", "sizes": (4, 2)}
    given = hyperparameters(generator, {"scale": "2.5", "mode": "b", "sizes": "[8, 4]"})
    assert given == {"scale": 2.5, "mode": "b", "sizes": (8, 4)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": "3"}, "unknown hyper-parameter mean.depth: mean has scale, mode, sizes"),
        ({"scale": "large"}, "hyper-parameter mean.scale='large'"),
        ({"mode": "c"}, "hyper-parameter mean.mode='c': Input should be 'a' or 'b'"),
    ],
)
def test_wrong_hyperparameters_are_named(given, message):
    with pytest.raises(RequestError, match=message):
        hyperparameters(resolve_model(f"{FILE}:Mean").generator, given)


NEIGHBOURS = {
    "mine.py": "from layers import Dense\nfrom models.base import Generator\n"
    "class Mine(Generator):\n    name = 'mine'\n"
    "    def fit(self, *a, **k): ...\n"
    "    def sample(self, *a, **k): ...\n    def save(self, folder): ...\n"
    "    @classmethod\n    def load(cls, folder, **k): ...\n",
    "layers.py": "Dense = 1\n",
    "unlike.py": "",
}


def test_a_file_imports_the_modules_beside_it_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "plug").mkdir()
    (tmp_path / "plug" / "the_helper_beside.py").write_text("SCALE = 3.0\n")
    text = FILE.read_text().replace("import numpy as np", "import numpy as np\nimport the_helper_beside", 1)
    (tmp_path / "plug" / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert resolve_model("plug/mine.py:Mean").name == "mean"
    assert sys.path[-1] == str(tmp_path / "plug")


@pytest.mark.parametrize(("changed", "differs"), [("layers.py", True), ("unlike.py", False)])
def test_another_neighbour_is_another_source(tmp_path, monkeypatch, changed, differs):
    for name, text in NEIGHBOURS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    choice = resolve_model(f"{tmp_path / 'mine.py'}:Mine")
    before = choice.source_hash
    with (tmp_path / changed).open("a") as file:
        file.write("x = 2\n")
    assert (choice.source_hash != before) == differs


@pytest.mark.parametrize(("changed", "differs"), [("base.py", True), ("external.py", False)])
def test_our_own_modules_that_a_file_imports_count(tmp_path, monkeypatch, changed, differs):
    copy = tmp_path / "models"
    shutil.copytree(Path(inspect.getfile(models.base)).parent, copy)
    before = resolve_model(f"{FILE}:Mean").source_hash
    with (copy / changed).open("a") as file:
        file.write("x = 2\n")
    monkeypatch.setattr(models, "__path__", [str(copy)])
    assert (resolve_model(f"{FILE}:Mean").source_hash != before) == differs
