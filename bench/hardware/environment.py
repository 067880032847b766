"""The environment in which Jobs run, and this machine as they see it."""

from __future__ import annotations

import os
from typing import Any

from bench.errors import RequestError
from bench.hardware import THREAD_VARIABLES, describe, has_cuda


def describe_for(device: str, threads: int) -> dict[str, Any]:
    """Return `bench.hardware.describe` of this machine as a worker sees it."""
    return describe(worker_environment(device, threads))


def worker_environment(device: str, threads: int) -> dict[str, str]:
    """Return the whole environment in which a Job runs; part of what makes timings comparable.

    Threads that wait sleep: spinning, they take the cores from whoever else works on the machine, themselves
    included (docs/performance.md has the figures).
    """
    from datasets import cache_folder

    environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"PYTHONHASHSEED": "0"}
    if "OMP_WAIT_POLICY" not in environment:
        # GNU's may spin for microseconds: asleep at once, a quiet machine would take a quarter longer.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
    # OpenBLAS, which asks nobody: threads that wait give up after 2⁴ cycles instead of 2²⁶.
    environment.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Beside a package that is installed for all, Numba could keep nothing.
    environment.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def resolve_device(wanted: str) -> str:
    """Return ``"cpu"`` or ``"cuda"``; ``"auto"`` is CUDA where the driver shows a GPU.

    Raises
    ------
    RequestError
        If the device is unknown or there is no GPU.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise RequestError(f"--device {wanted!r}: choose from auto, cpu, cuda")
    if wanted == "cuda" and not has_cuda():
        raise RequestError("--device cuda: no NVIDIA GPU is to be seen here; use --device cpu")
    return wanted if wanted != "auto" else ("cuda" if has_cuda() else "cpu")
