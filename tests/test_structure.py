"""How the code is laid out: no import goes in a circle, and no file is too long to be read at once."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
PACKAGES = ("bench", "models", "metrics", "datasets", "reports")


def modules(top: Path, packages=PACKAGES) -> dict[str, Path]:
    """Return name → file of every module."""
    found = {}
    for package in packages:
        for file in sorted((top / package).rglob("*.py")):
            parts = file.relative_to(top).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(name: str, known: dict[str, Path]) -> set[str]:
    """Return which of the known modules one imports: at its top, within a function, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{known[name]} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else str(node.module))
    return found & known.keys() - {name}


def circle(top: Path, packages=PACKAGES) -> list[str]:
    """Return the modules of a circle, or none."""
    known = modules(top, packages)
    try:
        TopologicalSorter({name: imported(name, known) for name in known}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_import_goes_in_a_circle():
    assert circle(TOP) == []


@pytest.mark.parametrize("planted", ["from pack.a import A", "def late():\n    import pack.a"])
def test_a_circle_is_found(tmp_path, planted):
    (tmp_path / "pack").mkdir()
    for name, text in {"__init__": "", "a": "from pack import b\nA = 1", "b": "from pack import c"}.items():
        (tmp_path / "pack" / f"{name}.py").write_text(text)
    (tmp_path / "pack" / "c.py").write_text("")
    assert circle(tmp_path, ["pack"]) == []
    (tmp_path / "pack" / "c.py").write_text(planted)
    assert set(circle(tmp_path, ["pack"])) == {"pack.a", "pack.b", "pack.c"}


@pytest.mark.parametrize(
    ("folders", "most"), [((*PACKAGES, "benchmarks", "baselines"), 400), (("tests",), 500)]
)
def test_no_file_is_too_long(folders, most):
    sizes = {
        str(file.relative_to(TOP)): len(file.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for file in (TOP / folder).rglob("*.py")
    }
    assert len(sizes) > 100
    assert {name: lines for name, lines in sizes.items() if lines > most} == {}
