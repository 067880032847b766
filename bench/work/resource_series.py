"""What a process tree used, second by second: ``resources.jsonl`` in a Job's folder."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

INTERVAL = 1.0


class ResourceSeries:
    """Appends a line a second, which `reports.curves.read_resources` reads.

    Parameters
    ----------
    path
        File to append to; a worker that goes on with a Job adds to what the interrupted one wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = time.monotonic()
        self._last_cpu: float | None = None

    def note(
        self, phase: str, values: Mapping[str, float | None], processes: Iterable[psutil.Process]
    ) -> None:
        """Write what was last seen, if a second has passed.

        Parameters
        ----------
        phase
            Full name of the current phase.
        values
            Values to write; a value that is None is not available and is left out.
        processes
            Processes whose processor time counts; 100 percent are one core.
        """
        passed = time.monotonic() - self._last
        if self._last_cpu is not None and passed < INTERVAL:
            return
        cpu = cpu_seconds(processes)
        told = {name: value for name, value in values.items() if value is not None}
        if self._last_cpu is not None:
            told["cpu_percent"] = 100 * max(0.0, cpu - self._last_cpu) / passed
        self._last, self._last_cpu = time.monotonic(), cpu
        line = {"time": round(time.time(), 3), "phase": phase, "values": told}
        # On a full disk the line is lost; what samples memory must go on.
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor time that processes have used, with that of their children that have ended."""
    used = 0.0
    for process in processes:
        # A child may end at any moment; its parent then carries its time.
        with contextlib.suppress(psutil.Error):
            used += sum(process.cpu_times()[:4])
    return used
