"""Worker processes: spawned, in a group of their own, under a wall-clock limit that really kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO, TypeVar
from uuid import uuid4

import psutil

from bench.hardware import usable_cores
from bench.work.resources import available_bytes, oom_kills

T = TypeVar("T")
POLL_SECONDS = 0.1
KILL_SECONDS = 5.0
WORKER_MARK = "BENCH_WORKER"
"""What a worker's children inherit, whatever group, session or parent they come to have."""
GIB = 2**30
SCORING_BYTES = 3 * GIB
"""Of memory, for each scoring process at least: three times what 6 000 cells × 17 970 genes took."""
FAULTS = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
"""Signals on which Python writes the stack, when it is run with faulthandler."""


class Stopped(Exception):
    """A worker was ended because something else went wrong while several ran side by side."""


@dataclass(frozen=True)
class Outcome:
    """How a worker process ended.

    Attributes
    ----------
    returncode
        Exit code; a negative one is the number of the signal that ended the process, as in `subprocess`.
    timed_out
        Whether the wall-clock limit ended it.
    out_of_memory
        Whether the kernel ended it because memory was short.
    seconds
        Seconds that the process ran.
    """

    returncode: int
    timed_out: bool
    out_of_memory: bool
    seconds: float

    @property
    def crashed(self) -> bool:
        """Whether it ended by a fault of its own, of which the log has the stack."""
        return -self.returncode in FAULTS

    @property
    def signal_name(self) -> str:
        """Name of the signal that ended it, or ``""``."""
        return signal.Signals(-self.returncode).name if self.returncode < 0 else ""


def keep_output_for_answers() -> TextIO:
    """Return the standard output; whatever else prints to it from now on goes to the log with the errors."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def end_now(code: int) -> NoReturn:
    """End this process, whatever threads others have left running in it."""
    for stream in (sys.stdout, sys.stderr):
        # What a full disk does not take is lost in any case.
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def room_for(n_tasks: int, *, bytes_each: int) -> int:
    """Return how many tasks may run side by side: a core, and memory, for each; at least one."""
    return max(1, min(usable_cores(), n_tasks, available_bytes() // bytes_each))


def scoring_processes(n_jobs: int, *, dataset_bytes: int) -> int:
    """Return in how many processes the cells of so many Jobs are scored; each reads the data set's counts."""
    return room_for(n_jobs, bytes_each=max(SCORING_BYTES, GIB + 2 * dataset_bytes))


def with_own_code(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Return an environment in which a process imports the very packages that this one runs.

    A checkout that is run without being installed would else lend its name to the code that is installed.

    Parameters
    ----------
    environment
        Environment variables of the process; None for those of this process.
    """
    environment = dict(os.environ if environment is None else environment)
    home = Path(__file__).resolve().parents[2]
    if home not in map(Path, (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))):
        others = filter(None, [environment.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join([str(home), *others])
    return environment


def run_worker(
    arguments: list[str],
    *,
    log: Path,
    timeout: float | None,
    on_poll: Callable[[], None],
    environment: dict[str, str] | None = None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run ``python -m …`` to its end, or to its limit.

    Parameters
    ----------
    arguments
        What follows ``python -m``; the number of this process is added, for `die_with_parent`.
    log
        File that takes everything the process prints.
    timeout
        Wall-clock limit in seconds, or None.
    on_poll
        Function called about ten times a second while the worker runs.
    environment
        Environment variables of the worker; None for those of this process.
    stop
        Event that ends the worker when it is set.

    Raises
    ------
    Stopped
        If `stop` was set.
    """
    oom_before, started, mark = oom_kills(), time.monotonic(), uuid4().hex
    with log.open("ab") as output:
        process = subprocess.Popen(
            # -P: a folder called `datasets` in the current directory must not shadow ours.
            [sys.executable, "-P", "-X", "faulthandler", "-m", *arguments, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=with_own_code(environment) | {WORKER_MARK: mark},
        )
        timed_out = False
        try:
            while process.poll() is None:
                on_poll()
                if stop is not None and stop.is_set():
                    raise Stopped(arguments[0])
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
            kill_marked(mark)
    killed = returncode == -signal.SIGKILL and not timed_out
    return Outcome(returncode, timed_out, killed and oom_kills() > oom_before, time.monotonic() - started)


def kill_marked(mark: str) -> None:
    """Kill every process that was started with this mark: also those that have left their process group."""
    while True:
        left = list(_marked(mark))
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # What one of them had just started is seen the next time.
        _, alive = psutil.wait_procs(left, timeout=KILL_SECONDS)
        if not left or alive:
            return


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        # Those of others do not show their environment, and some end meanwhile.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(WORKER_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def side_by_side(tasks: Sequence[Callable[[threading.Event], T]], *, at_once: int) -> list[T]:
    """Run tasks that each wait for a worker, several at a time, and return what they return, in order.

    Parameters
    ----------
    tasks
        Functions to call, each with the event that it must hand to `run_worker`.
    at_once
        Number of tasks that run at the same time.

    Raises
    ------
    BaseException
        What the first task raised, or Ctrl-C; the workers of all others have been ended by then.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, at_once)) as pool:
        futures = [pool.submit(task, stop) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
