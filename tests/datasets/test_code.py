"""What counts as a change of code."""

import hashlib
import shutil

import pytest

from datasets.code import imported_with, meaning_of

SOURCE = '''"""A module."""

import os


class Box:
    """Holds a value."""

    size: int = 3
    """How large."""

    def grow(self, by=None):
        """Grow."""
        return {**vars(self), "size": self.size + 1}
'''


def meaning(text, folder):
    file = folder / "module.py"
    file.write_text(text)
    return meaning_of([file])


def test_the_hash_is_of_the_tree_written_down(tmp_path):
    text = "module.pyModule(body=[Assign(targets=[Name(id='x',ctx=Store())],value=Constant(1))])"
    assert meaning("x = 1  # one\n", tmp_path) == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import os", "# for paths\nimport os"),
        ('"""A module."""', '"""Another module."""'),
        ('        """Grow."""\n', ""),
        ('    """How large."""\n', ""),
        ("by=None", "by = None"),
        ('{**vars(self), "size"', "{\n            **vars(self),\n            'size'"),
    ],
)
def test_what_people_alone_read_changes_nothing(tmp_path, old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new), tmp_path) == meaning(SOURCE, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import os", "import os.path"),
        ("= 3", '= "3"'),
        ("= 3", "= 3.0"),
        ("by=None", "by"),
        ("by=None", "by=False"),
        ("**vars(self)", "None: vars(self)"),
        ("+ 1", "- 1"),
        ('"size":', '"Size":'),
    ],
)
def test_what_a_computer_reads_does(tmp_path, old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new, 1), tmp_path) != meaning(SOURCE, tmp_path)


FILES = {
    "plug/__init__.py": "",
    "plug/model.py": "import numpy\nfrom . import deep\nfrom .parts.wheel import Wheel\nimport shared.base",
    "plug/deep.py": "def late():\n    from plug import late",
    "plug/late.py": "import beside",
    "plug/parts/__init__.py": "from ..axle import Axle",
    "plug/parts/wheel.py": "",
    "plug/axle.py": "",
    "plug/unlike.py": "",
    "beside.py": "",
    "alone.py": "import beside\nimport folder.inside\nfrom plug.axle import Axle",
    "folder/inside.py": "",
    "elsewhere/shared/__init__.py": "",
    "elsewhere/shared/base.py": "from shared import more",
    "elsewhere/shared/more.py": "",
    "elsewhere/shared/unlike.py": "",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def found(tree, name, **options):
    return [file.relative_to(tree).as_posix() for file in imported_with(tree / name, **options)]


def test_a_module_stands_for_what_it_imports_of_its_package(tree):
    names = ["__init__", "axle", "deep", "late", "model", "parts/__init__", "parts/wheel"]
    # `beside` is no part of the package, `shared` none that was asked for.
    assert found(tree, "plug/model.py") == [f"plug/{name}.py" for name in names]


def test_and_of_packages_that_are_named(tree):
    added = set(found(tree, "plug/model.py", packages={"shared": tree / "elsewhere"}))
    added -= set(found(tree, "plug/model.py"))
    assert added == {f"elsewhere/shared/{name}.py" for name in ("__init__", "base", "more")}


def test_a_file_alone_stands_for_what_it_imports_of_its_folder(tree):
    expected = ["alone.py", "beside.py", "folder/inside.py", "plug/__init__.py", "plug/axle.py"]
    assert found(tree, "alone.py") == expected


@pytest.mark.parametrize("place", ["a", "z"])
def test_the_hash_does_not_depend_on_where_the_packages_lie(tree, place):
    def key(shared):
        return meaning_of(imported_with(tree / "plug/model.py", packages={"shared": shared}))

    (tree / place).mkdir()
    shutil.copytree(tree / "elsewhere" / "shared", tree / place / "shared")
    assert key(tree / place) == key(tree / "elsewhere")
