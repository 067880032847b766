"""Worker processes: spawned, in a group of their own, under a wall-clock limit that really kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.resources import oom_kills

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Outcome:
    """How a worker process ended.

    Attributes
    ----------
    returncode
        As `subprocess` gives it: negative is the signal that ended it.
    timed_out
        Whether the wall-clock limit ended it.
    out_of_memory
        Whether the kernel ended it for want of memory.
    seconds
        How long it ran.
    """

    returncode: int
    timed_out: bool
    out_of_memory: bool
    seconds: float

    @property
    def signal_name(self) -> str:
        """Name of the signal that ended it, or ``""``."""
        return signal.Signals(-self.returncode).name if self.returncode < 0 else ""


def run_worker(
    arguments: list[str],
    *,
    log: Path,
    timeout: float | None,
    on_poll: Callable[[], None],
    environment: dict[str, str] | None = None,
) -> Outcome:
    """Run ``python -m …`` to its end, or to its limit.

    Parameters
    ----------
    arguments
        What follows ``python -m``.
    log
        File that takes everything the process prints.
    timeout
        Wall-clock limit in seconds, or None.
    on_poll
        Called about ten times a second while it runs.
    environment
        Variables added to this process's own.
    """
    oom_before, started = oom_kills(), time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            # -P: a folder called `datasets` in the current directory must not shadow ours.
            [sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        timed_out = False
        try:
            while process.poll() is None:
                on_poll()
                if timeout is not None and time.monotonic() - started > timeout:
                    timed_out = True
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        finally:
            # Also on Ctrl-C, and for children that outlive their parent.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            returncode = process.wait()
    killed = returncode == -signal.SIGKILL and not timed_out
    return Outcome(returncode, timed_out, killed and oom_kills() > oom_before, time.monotonic() - started)
