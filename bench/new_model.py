"""``bench new-model NAME``: a small package, or a program of its own, that keeps every promise."""

from __future__ import annotations

import keyword
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Final

from bench.errors import RequestError, refused
from bench.request.names import require_name
from bench.request.registry import MODELS, plugins

TAKEN: Final = frozenset({"bench", "datasets", "metrics", "models", "reports", "test", "tests"})
"""Names of modules that would shadow ours, or Python's own."""
PACKAGE: Final = {
    "model/pyproject.toml": "pyproject.toml",
    "model/README.md": "README.md",
    "model/generator.py": "{module}.py",
    "model/test_generator.py": "tests/test_{module}.py",
    "tests.yml": ".github/workflows/tests.yml",
}
EXTERNAL: Final = {
    "external/README.md": "README.md",
    "external/program.toml": "{module}.toml",
    "external/fit.py": "fit.py",
    "external/sample.py": "sample.py",
    "external/test_program.py": "test_{module}.py",
    "tests.yml": ".github/workflows/tests.yml",
}
"""Template → what is written."""


def write_new_model(name: str, parent: Path, *, external: bool = False) -> list[Path]:
    """Write the folder `name`: a generator that keeps every promise, its test, and what its CI runs.

    Parameters
    ----------
    name
        Name of the generator and of its folder.
    parent
        Folder in which the new folder is made.
    external
        Whether to write a program that is driven through files instead of an imported package: for other
        languages and environments, and for repositories with packages called ``models`` or ``datasets``.

    Returns
    -------
    list of Path
        The files, in the order of their importance.

    Raises
    ------
    RequestError
        If the folder exists, or nothing can be called so.
    """
    words = _words(name)
    folder = parent / name
    words["install"] = " h5py numpy" if external else " ."
    written = []
    with refused(OSError, f"NAME {name!r}: {folder}: "):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise RequestError(f"NAME {name!r}: {folder} exists: choose another name, or move it") from None
        try:
            for template, target in (EXTERNAL if external else PACKAGE).items():
                path = folder / target.format(**words)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_filled(template, words), encoding="utf-8")
                written.append(path)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return written


def _words(name: str) -> dict[str, str]:
    """Return what the templates put in place: the name, and a module and a class called alike."""
    require_name(name, of="NAME")
    module = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    class_name = "".join(part.capitalize() for part in module.split("_"))
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or not module.isidentifier() or keyword.iskeyword(module):
        raise RequestError(f"NAME {name!r}: begin with a letter, and take letters, digits, - . and _ alone")
    if module in TAKEN or name in plugins(MODELS):
        raise RequestError(f"NAME {name!r} is taken: choose another one")
    return {"name": name, "module": module, "class_name": class_name}


def _filled(template: str, words: dict[str, str]) -> str:
    from jinja2 import Environment, StrictUndefined

    source = files("bench") / "templates" / f"{template}.jinja"
    jinja = Environment(
        # Python, TOML and YAML are full of braces.
        variable_start_string="<<",
        variable_end_string=">>",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return jinja.from_string(source.read_text(encoding="utf-8")).render(words)
