"""The processes of base and head, each of which imports its own checkout and nothing of the other.

A worker (`bench.gate.worker`) may be that of another version of this package, so its first line names its
protocol, ``{"gate_worker": 1}``, and what this version cannot speak with is told, not tried.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from bench.gate.checkout import Place
from bench.hardware.environment import worker_environment
from bench.work.lines import Answer, LineProcess, WorkerFailed

PROTOCOL: Final = 1
LIMIT_SECONDS: Final = 600
"""Of one answer, such as a training of 20 steps: a worker that hangs must not hold a build for ever."""


class NoGateWorker(WorkerFailed):
    """A checkout has no worker, or one of another protocol: there is nothing to compare with."""


class Worker(LineProcess):
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
        That libraries may use.
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
        environment = worker_environment(device, threads)
        if _holds_this_package(place.root):
            # An editable installation of head would lend its worker to a base that has none.
            if not (place.root / "bench" / "gate" / "worker.py").exists():
                raise NoGateWorker("has no gate worker yet: nothing to compare")
            environment["PYTHONPATH"] = str(place.root)
        self._open = {"parent": os.getpid(), "root": str(place.root), "device": device}
        self._open |= {"other": str(other.root)} if other else {}
        super().__init__(
            "bench.gate.worker",
            environment=environment,
            log=log,
            folder=place.folder,
            limit_seconds=LIMIT_SECONDS,
        )
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def open(self, **words: Any) -> Answer:
        """Have it load a model and the cells; the words are those of ``open`` in `bench.gate.worker`.

        Raises
        ------
        WorkerFailed
            If it cannot.
        """
        return self.ask("open", **self._open, **words)

    def _greet(self) -> None:
        if (spoken := self.read("start").get("gate_worker")) != PROTOCOL:
            raise NoGateWorker(
                f"has a gate worker of protocol {spoken}, this is {PROTOCOL}: nothing to compare"
            )


def _holds_this_package(root: Path) -> bool:
    """Tell a checkout of this repository from another one's, which may well have a ``bench/`` of its own."""
    return all((root / file).is_file() for file in ("bench/request/registry.py", "models/base.py"))
