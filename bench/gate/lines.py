"""A process that is asked by lines of JSON: the parent's end.

A worker (`bench.gate.worker`) may be that of another version of this package, so its first line names its
protocol, ``{"gate_worker": 1}``, and what this version cannot speak with is told, not tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench.gate.checkout import Place
from bench.processes import worker_environment

PROTOCOL: Final = 1
Answer = dict[str, Any]


class WorkerFailed(Exception):
    """A worker cannot do what it was asked; the message is its reason."""


class NoGateWorker(WorkerFailed):
    """A checkout has no worker, or one of another protocol: there is nothing to compare with."""


class Worker:
    """One checkout's worker process, killed when the block ends.

    Parameters
    ----------
    place
        The checkout whose modules it imports, and no other's.
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

    def __init__(self, place: Place, *, device: str, threads: int, log: Path) -> None:
        if not place.folder.is_dir():
            raise WorkerFailed(f"it has no folder {place.prefix}")
        own = place.root / "bench"
        # An editable installation of head would lend its worker to a base of this project that has none.
        if (own / "registry.py").exists() and not (own / "gate" / "worker.py").exists():
            raise NoGateWorker("has no gate worker yet: nothing to compare")
        self._log = log
        self._output = log.open("ab")
        source = [place.root, place.root / "src"]
        self._process = subprocess.Popen(
            # -P, and a path of its own: base must not import head's modules, nor the other way round.
            [sys.executable, "-P", "-m", "bench.gate.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            cwd=place.folder,
            env=worker_environment(device, threads) | {"PYTHONPATH": os.pathsep.join(map(str, source))},
        )
        try:
            self._greet()
        except WorkerFailed:
            self.close()
            raise

    def ask(self, do: str, **words: Any) -> Answer:
        """Ask for something and wait for the answer.

        Raises
        ------
        WorkerFailed
            If the worker says that it failed, or is gone.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
            self._process.stdin.flush()
        answer = self._read()
        if "failed" in answer:
            raise WorkerFailed(answer["failed"])
        return answer

    def _greet(self) -> None:
        if (spoken := self._read().get("gate_worker")) != PROTOCOL:
            raise NoGateWorker(
                f"has a gate worker of protocol {spoken}, this is {PROTOCOL}: nothing to compare"
            )

    def _read(self) -> Answer:
        assert self._process.stdout
        if line := self._process.stdout.readline():
            answer: Answer = json.loads(line)
            return answer
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise WorkerFailed(": ".join([f"ended with exit code {self._process.wait()}", *lines[-1:]]))

    def close(self) -> None:
        """Kill the process, if it is still there."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._output):
            # What was still to be written is of no use to a process that is gone.
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
