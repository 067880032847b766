"""Peak memory of a process tree and its GPUs, and how processes end with or without leave."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import psutil

from bench.hardware import kernel_number, memory_left
from bench.hardware.gpus import nvml_session, process_bytes, utilisation, visible_devices
from bench.work.resource_series import ResourceSeries

_PR_SET_PDEATHSIG = 1
# Both kinds of sample wait this many times as long as they kept a core busy: 0.3 % of it each.
_REST = 300


class ResourceSampler:
    """Samples the memory of this process and its descendants while it is open as a context.

    Memory is resident set size summed over the tree, so pages that processes share count once for
    each. The peak of this process itself is exact (the kernel's own mark); that of a phase or of a
    child is what a sample saw, so a phase shorter than the interval may have none.

    Parameters
    ----------
    current_phase
        Function that returns the full name of the phase now open (``"fit/warm_up"``), or ``""``.
    interval
        Least seconds between two samples of resident memory.
    tree_interval
        Least seconds between two looks for descendants and at the GPUs, which cost more. Both become
        rarer where they are slow (many processes), so that together they take under 1 % of a core.
    series
        File that takes a line a second, see `bench.work.resource_series`; None for no such file.
    """

    def __init__(
        self,
        current_phase: Callable[[], str],
        *,
        interval: float = 0.05,
        tree_interval: float = 0.5,
        series: Path | None = None,
    ) -> None:
        self._current_phase = current_phase
        self._interval = interval
        self._tree_interval = tree_interval
        self._process = psutil.Process()
        self._peaks: dict[str, int] = {}
        self._gpu_peak: int | None = None
        self._series = None if series is None else ResourceSeries(series)
        self._now: dict[str, float | None] = {}
        self._framework_peak: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resource-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._framework_peak = framework_peak_bytes()

    def result(self) -> dict[str, Any]:
        """Return the peaks so far, in bytes.

        Returns
        -------
        dict
            ``peak_rss_bytes`` of the tree. ``peak_device_bytes``: what the framework allocated at most,
            known once the context is closed, else what NVML saw this tree hold (with the framework's
            reserve and the context), else None; ``device`` has the two apart as ``framework_bytes`` and
            ``nvml_bytes``. ``by_phase``: resident memory by full phase name, outer phases including
            inner ones.
        """
        by_phase: dict[str, int] = {}
        for phase, peak in self._peaks.copy().items():
            for outer in accumulate(phase.split("/") if phase else [], "{}/{}".format):
                by_phase[outer] = max(by_phase.get(outer, 0), peak)
        framework, nvml = self._framework_peak, self._gpu_peak
        return {
            "peak_rss_bytes": max([own_peak_rss_bytes(), *self._peaks.copy().values()]),
            "peak_device_bytes": nvml if framework is None else framework,
            "device": {"framework_bytes": framework, "nvml_bytes": nvml},
            "by_phase": by_phase,
        }

    def _run(self) -> None:
        with nvml_session() as nvml:
            devices = visible_devices(nvml, os.environ)
            tree, next_look = [self._process], 0.0
            while True:
                started = time.thread_time()
                if time.monotonic() >= next_look:
                    tree = [self._process, *self._process.children(recursive=True)]
                    self._note_gpu(process_bytes(nvml, devices, {process.pid for process in tree}))
                    if self._series is not None:
                        self._now["gpu_percent"] = max(utilisation(nvml, devices), default=None)
                    looked = time.thread_time()
                    next_look = time.monotonic() + max(self._tree_interval, _REST * (looked - started))
                    started = looked
                self._note_rss(tree)
                if self._series is not None:
                    self._series.note(self._current_phase(), self._now, tree)
                if self._stop.wait(max(self._interval, _REST * (time.thread_time() - started))):
                    return

    def _note_gpu(self, used: int | None) -> None:
        self._now["gpu_bytes"] = used
        if used is not None:
            self._gpu_peak = max(used, self._gpu_peak or 0)

    def _note_rss(self, tree: list[psutil.Process]) -> None:
        phase, rss = self._current_phase(), 0
        for process in tree:
            # A child may end at any moment.
            with contextlib.suppress(psutil.Error):
                rss += process.memory_info().rss
        self._now["rss_bytes"] = rss
        self._peaks[phase] = max(rss, self._peaks.get(phase, 0))


def available_bytes() -> int:
    """Return how much memory new processes may take, by the machine and by this one's control groups."""
    free, left = int(psutil.virtual_memory().available), memory_left()
    return free if left is None else max(0, min(free, left))


def own_peak_rss_bytes() -> int:
    """Return the largest resident set this process has had.

    Linux's own mark of the address space is read where there is one: `resource.getrusage` also holds
    the peak of the process that started this one.
    """
    if (mark := kernel_number("/proc/self/status", "VmHWM:")) is not None:
        return mark * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def framework_peak_bytes() -> int | None:
    """Return the most GPU memory that PyTorch or TensorFlow allocated in this process, or None.

    Neither is imported for it. TensorFlow is asked only where PyTorch used no GPU, because the
    question itself makes it take one.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and (peak := int(torch.cuda.max_memory_allocated())):
        return peak
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and tensorflow.config.list_physical_devices("GPU"):
        return int(tensorflow.config.experimental.get_memory_info("GPU:0")["peak"])
    return None


def die_with_parent(parent: int | None = None) -> None:
    """Have this process killed as soon as the one that started it is gone (Linux; elsewhere nothing happens).

    To be called by the child itself, first of all. The kernel watches the *thread* that started the
    child: it must live as long as the child should. Children of the caller do not inherit this.

    Parameters
    ----------
    parent
        Process number of the starter, if the caller was told it: should the starter be gone already,
        the caller is killed at once.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused PR_SET_PDEATHSIG")
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory, 0 where it does not tell."""
    return kernel_number("/proc/vmstat", "oom_kill") or 0
