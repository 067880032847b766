"""Base and head: two checkouts of one repository, each with a process that imports its own modules alone.

A process (`bench.work.serve`) may be that of another version of this package, so its first line names its
protocol, and what this version cannot speak with is told, not tried.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, Final

from filelock import FileLock, Timeout

from bench.errors import RequestError, refused
from bench.hardware.environment import worker_environment
from bench.work.lines import PROTOCOL, Answer, Server, WorkerFailed

_PREFIX: Final = "bench-gate-"
_LOCK: Final = "lock"
MODULES: Final = ("bench.work.serve", "bench.gate.worker")
"""Where a version of this package has what answers lines: this one, and those before it."""
LIMIT_SECONDS: Final = 600
"""Of one answer, such as a training of 20 steps: a worker that hangs must not hold a build for ever."""


@dataclass(frozen=True)
class Place:
    """A checkout, and the folder in it from which the command was given.

    Attributes
    ----------
    root
        Top of the checkout; its modules are imported from here.
    prefix
        Path of the folder, relative to `root`.
    """

    root: Path
    prefix: Path

    @property
    def folder(self) -> Path:
        """Where the work is done."""
        return self.root / self.prefix


def here() -> Place:
    """Return the checkout that the current folder belongs to; without git, the folder itself."""
    folder = root = Path.cwd()
    with suppress(RequestError):
        root = Path(_git("rev-parse", "--show-toplevel"))
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
    with refused(OSError, "git cannot be started: "):
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RequestError(f"git {arguments[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


class NoGateWorker(WorkerFailed):
    """A checkout has no worker, or one of another protocol: there is nothing to compare with."""


class Worker(Server):
    """One checkout's worker process, killed when the block ends.

    Parameters
    ----------
    place
        The checkout whose modules it imports.
    other
        The checkout whose modules it must not import; None for one that is not compared with another.
    device
        ``"cpu"`` or ``"cuda"``.
    threads
        Number of threads that its libraries may use.
    log
        File for all that it prints.

    Raises
    ------
    NoGateWorker
        If the checkout's worker is missing or speaks another protocol.
    WorkerFailed
        If it does not start.
    """

    def __init__(self, place: Place, *, other: Place | None, device: str, threads: int, log: Path) -> None:
        if not place.folder.is_dir():
            raise WorkerFailed(f"it has no folder {place.prefix}")
        environment, module = worker_environment(device, threads), MODULES[0]
        if _holds_this_package(place.root):
            # An editable installation of head would lend its worker to a base that has none.
            module = _module_of(place.root)
            environment["PYTHONPATH"] = str(place.root)
        self._words = {"root": str(place.root), "device": device}
        if other:
            self._words["other"] = str(other.root)
        super().__init__(
            module, environment=environment, log=log, folder=place.folder, limit_seconds=LIMIT_SECONDS
        )
        try:
            if (spoken := self.greet()) != PROTOCOL:
                raise NoGateWorker(
                    f"has a gate worker of protocol {spoken}, this is {PROTOCOL}: nothing to compare"
                )
        except BaseException:
            self.close()
            raise

    def open(self, **words: Any) -> Answer:
        """Have it load a model and the cells, from its own checkout."""
        return super().open(**self._words, **words)


def _module_of(root: Path) -> str:
    for module in MODULES:
        if (root / Path(*module.split("."))).with_suffix(".py").is_file():
            return module
    raise NoGateWorker("has no gate worker yet: nothing to compare")


def _holds_this_package(root: Path) -> bool:
    """Tell a checkout of this repository from another one's, which may well have a ``bench/`` of its own."""
    registries = ("bench/request/registry.py", "bench/registry.py")
    return (root / "models" / "base.py").is_file() and any((root / file).is_file() for file in registries)
