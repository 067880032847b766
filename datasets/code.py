"""What Python files mean: their syntax and that of what they import, without comments and docstrings.

Content keys are made of it, so that a comment makes nothing stale and a line of code does.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_NOTHING: Mapping[str, Path] = {}


def meaning_of(files: Iterable[Path]) -> str:
    """Return a short SHA-256 over the names of Python files and what they say.

    Comments, docstrings, blank lines and line breaks say nothing. The version of Python does not matter.

    Parameters
    ----------
    files
        Python files, in an order that is always the same.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(_written(ast.parse(file.read_bytes())).encode())
    return digest.hexdigest()[:16]


def imported_with(file: Path, *, packages: Mapping[str, Path] = _NOTHING) -> list[Path]:
    """Return a Python file and the modules that it imports, at any depth.

    They are sorted as they lie in their packages, wherever these lie.

    Imports are read, not run: those inside functions count, too, and modules that are loaded by other means
    are not seen.

    Parameters
    ----------
    file
        Module in a package, or alone in its folder.
    packages
        Top-level packages whose modules count in addition to those of the module's own package (or folder, if
        it is alone), each with the folder that holds it.
    """
    home, package = _home(file)
    known = {**packages, **({package[0]: home} if package else {})}
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found[module] = None
        for name in _imported_names(module):
            if (folder := known.get(name[0], None if package else home)) is not None:
                waiting += _files_of(name, folder)
    return sorted(found, key=lambda module: module.relative_to(_home(module)[0]))


def _home(file: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder from which a module is imported, and the names of the packages it lies in."""
    folder = file.parent
    package: tuple[str, ...] = ()
    while (folder / "__init__.py").is_file():
        folder, package = folder.parent, (folder.name, *package)
    return folder, package


def _imported_names(module: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a module imports, as parts of full names, of which the last may be no module."""
    _, package = _home(module)
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = (*above, *(node.module or "").split(".")) if node.module else above
            yield from ((*base, alias.name) for alias in node.names)


def _files_of(name: tuple[str, ...], folder: Path) -> Iterator[Path]:
    """Yield the files that run when a name is imported from a folder."""
    for part in name:
        folder = folder / part
        if (package := folder / "__init__.py").is_file():
            yield package
        elif (module := folder.with_name(f"{part}.py")).is_file():
            yield module
            return


def _written(node: Any) -> str:
    """Write a syntax tree down, alike under every Python; what `ast.dump` writes of empty fields changes."""
    if isinstance(node, list):
        return f"[{','.join(_written(item) for item in node if not _is_remark(item))}]"
    if isinstance(node, ast.Constant):
        return f"Constant({node.value!r})"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (f"{name}={_written(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({','.join(fields)})"


def _is_remark(node: Any) -> bool:
    """Tell whether a statement is a text that nobody reads but people."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
