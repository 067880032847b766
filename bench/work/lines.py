"""A process that is asked by lines of JSON, and answers each with one: the parent's end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

Answer = dict[str, Any]
PROTOCOL: Final = 1
"""Of the lines that `bench.work.serve` answers; its first line names it."""


class WorkerFailed(Exception):
    """A process cannot do what it was asked; the message is its reason, in one line."""


class Server:
    """A process of `bench.work.serve`, or of another module that answers the same lines.

    It runs in a group of its own, all of which is killed when the block ends.

    Parameters
    ----------
    module
        The module that ``python -P -m`` runs.
    environment
        All environment variables of the process.
    log
        File for everything that the process prints.
    folder
        Working folder of the process; None for that of this process.
    limit_seconds
        Longest time in seconds that one answer may take; None for no limit.
    """

    def __init__(
        self,
        module: str = "bench.work.serve",
        *,
        environment: dict[str, str],
        log: Path,
        folder: Path | None = None,
        limit_seconds: float | None = None,
    ) -> None:
        self._log, self._limit = log, limit_seconds
        self._output = log.open("ab")
        self._process = subprocess.Popen(
            # -P: a folder called `datasets` in the current directory must not shadow ours.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )

    def ask(self, do: str, **words: Any) -> Answer:
        """Ask for something and wait for the answer.

        Raises
        ------
        WorkerFailed
            If it says that it failed, is gone, or takes longer than the limit.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
            self._process.stdin.flush()
        answer = self.read(do)
        if "failed" in answer:
            raise WorkerFailed(answer["failed"])
        return answer

    def read(self, what: str) -> Answer:
        """Wait for a line.

        Parameters
        ----------
        what
            Name of the request that the line answers, for the error message.

        Raises
        ------
        WorkerFailed
            If the process is gone, or takes longer than the limit.
        """
        assert self._process.stdout
        # Each line is asked for, so that none waits in the buffer, where it would not be seen.
        if not select.select([self._process.stdout], [], [], self._limit)[0]:
            raise WorkerFailed(f"{what}: no answer within {self._limit:g} s, the limit of an answer")
        if line := self._process.stdout.readline():
            answer: Answer = json.loads(line)
            return answer
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise WorkerFailed(": ".join([f"ended with exit code {self._process.wait()}", *lines[-1:]]))

    def close(self) -> None:
        """Kill the process and what it has started, if they are still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._output):
            # What was still to be written is of no use to a process that is gone.
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def greet(self) -> int | None:
        """Wait until it is there, and return the protocol that it names."""
        return self.read("start").get("gate_worker")

    def open(self, **words: Any) -> Answer:
        """Have it load a model and cells; the words are those of ``open`` in `bench.work.serve`.

        Raises
        ------
        WorkerFailed
            If it cannot.
        """
        return self.ask("open", parent=os.getpid(), **words)
