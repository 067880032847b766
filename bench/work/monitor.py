"""The Monitor a worker gives to its generator: phases, curves, progress, checkpoints."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results.files import read_json, whole_folder, write_json
from bench.results.run_folder import JobFolder
from bench.work.clock import PhaseClock

PROGRESS_INTERVAL = 0.25
BUFFER_BYTES = 1 << 20
# How much of a curve a killed worker may lose; a line at a time would slow a model that logs every step.
FLUSH_INTERVAL = 1.0
# How much training a killed worker may lose; the environment may say otherwise.
CHECKPOINT_SECONDS = float(os.environ.get("BENCH_CHECKPOINT_SECONDS", "60"))


class WorkerMonitor:
    """Writes what a generator reports into its Job's folder; keeps the `models.base.Monitor` protocol.

    Parameters
    ----------
    folder
        Folder of the Job.
    clock
        The worker's clock; it stops while a checkpoint is written.
    """

    def __init__(self, folder: JobFolder, clock: PhaseClock) -> None:
        self._folder = folder
        self._clock = clock
        self._last_checkpoint = time.monotonic()
        self._last_progress = 0.0
        self._last_flush = time.monotonic()
        self._curves = folder.curves.open("a", encoding="utf-8", buffering=BUFFER_BYTES)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside under `name`, and show it."""
        with self._clock.phase(name):
            self._show(None)
            yield

    def log(self, step: int, **values: float) -> None:
        """Append a line to ``curves.jsonl``; lines reach the disk together, once a second."""
        line = {"step": step, "phase": self._clock.current, "values": values}
        self._curves.write(json.dumps(line) + "\n")
        if time.monotonic() - self._last_flush >= FLUSH_INTERVAL:
            self._flush()

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Count steps of the current phase; show the share of the budget a few times a second."""
        self._clock.add_steps(steps)
        if time.monotonic() - self._last_progress >= PROGRESS_INTERVAL:
            self._show(fraction)

    def checkpoint(self, save: Callable[[Path], None]) -> None:
        """Write a checkpoint if the last one is old enough, with the clock stopped."""
        if time.monotonic() - self._last_checkpoint < CHECKPOINT_SECONDS:
            return
        self._flush()
        with self._clock.pause(), whole_folder(self._folder.checkpoint) as folder:
            (folder / "state").mkdir()
            save(folder / "state")
            write_json(folder / "clock.json", self._clock.export())
        self._last_checkpoint = time.monotonic()

    @property
    def resume_from(self) -> Path | None:
        """The last whole checkpoint of this Job."""
        complete = (self._folder.checkpoint / "clock.json").exists()
        return self._folder.checkpoint / "state" if complete else None

    def restored_clock(self) -> Any:
        """Return what the clock had counted at the last checkpoint, or None."""
        return read_json(self._folder.checkpoint / "clock.json") if self.resume_from else None

    def close(self) -> None:
        """Close the curves."""
        self._curves.close()

    def _flush(self) -> None:
        self._curves.flush()
        self._last_flush = time.monotonic()

    def _show(self, fraction: float | None) -> None:
        self._last_progress = time.monotonic()
        write_json(self._folder.progress, {"phase": self._clock.current, "fraction": fraction})
