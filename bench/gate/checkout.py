"""Where base and head lie: two checkouts of one repository, side by side."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Final

from filelock import FileLock, Timeout

from bench.errors import RequestError

_PREFIX: Final = "bench-gate-"
_LOCK: Final = "lock"


@dataclass(frozen=True)
class Place:
    """A checkout, and the folder in it from which the command was given.

    Attributes
    ----------
    root
        Top of the checkout; its modules are imported from here.
    prefix
        Of the folder, relative to `root`.
    """

    root: Path
    prefix: Path

    @property
    def folder(self) -> Path:
        """Where the work is done."""
        return self.root / self.prefix


def here() -> Place:
    """Return the checkout that the current folder belongs to; without git, the folder itself."""
    folder = Path.cwd()
    try:
        root = Path(_git("rev-parse", "--show-toplevel"))
    except RequestError:
        return Place(folder, Path())
    return Place(root, folder.relative_to(root))


@contextmanager
def base_of(head: Place, baseline: str) -> Iterator[Place]:
    """Give the checkout to compare with.

    Parameters
    ----------
    head
        The checkout that is judged.
    baseline
        A folder that holds another checkout, or a git reference; of a reference a temporary work tree is
        made, which is gone when the block ends. What a killed process has left is removed by the next.

    Raises
    ------
    RequestError
        If it is neither.
    """
    if Path(baseline).is_dir():
        yield Place(Path(baseline).resolve(), head.prefix)
        return
    try:
        commit = _git("rev-parse", "--verify", "--quiet", f"{baseline}^{{commit}}")
    except RequestError as error:
        raise RequestError(
            f"--baseline {baseline!r}: neither a file, nor a folder, nor a git reference here "
            "(in CI, fetch the history: fetch-depth: 0)"
        ) from error
    _remove_abandoned()
    with TemporaryDirectory(prefix=_PREFIX) as temporary, FileLock(Path(temporary) / _LOCK):
        root = Path(temporary).resolve() / "base"
        try:
            _git("worktree", "add", "--detach", "--quiet", str(root), commit)
            yield Place(root, head.prefix)
        finally:
            # It may not have come to be; why, says the error under way.
            with suppress(RequestError):
                _git("worktree", "remove", "--force", str(root))


def _remove_abandoned() -> None:
    """Remove the work trees of gates that were killed: those whose lock nobody holds any more."""
    for line in _git("worktree", "list", "--porcelain").splitlines():
        root = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and root.parent.name.startswith(_PREFIX):
            with suppress(Timeout, RequestError), FileLock(root.parent / _LOCK, blocking=False):
                _git("worktree", "remove", "--force", str(root))
                rmtree(root.parent, ignore_errors=True)


def in_both(reference: str, head: Place) -> str:
    """Write a model's reference so that it means each checkout's own file.

    Parameters
    ----------
    reference
        A registered name, ``file.py:Class`` or ``module:Class``.
    head
        The checkout from whose folder a file is named.

    Raises
    ------
    RequestError
        If a file lies outside the checkout: base and head would be the same.
    """
    where, _, class_name = reference.rpartition(":")
    if not where.endswith(".py"):
        return reference
    file = (head.folder / where).resolve()
    if not file.is_relative_to(head.root.resolve()):
        raise RequestError(
            f"--models {reference}: outside {head.root}, so that base and head would be the same"
        )
    return f"{os.path.relpath(file, head.folder.resolve())}:{class_name}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except OSError as error:
        raise RequestError(f"git cannot be started: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise RequestError(f"git {arguments[0]}: {error.stderr.strip() or error.returncode}") from error
    return done.stdout.strip()
