"""The environment in which Jobs run, and this machine as they see it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bench.errors import RequestError
from bench.hardware import THREAD_VARIABLES, describe, has_cuda
from bench.hardware.gpus import gpu_uuids


def describe_for(device: str, threads: int, gpu: str | None = None) -> dict[str, Any]:
    """Return `bench.hardware.describe` of this machine as a worker sees it."""
    return describe(worker_environment(device, threads, gpu))


def worker_environment(device: str, threads: int, gpu: str | None = None) -> dict[str, str]:
    """Return the whole environment in which a Job runs; part of what makes timings comparable.

    Threads that wait sleep: spinning, they take the cores from whoever else works on the machine, themselves
    included (docs/performance.md has the figures).

    Parameters
    ----------
    device
        ``"cpu"`` or ``"cuda"``.
    threads
        Number of threads of each library.
    gpu
        The one GPU that it sees, as CUDA_VISIBLE_DEVICES names it; None for all that this process sees.
    """
    from datasets import cache_folder

    environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"PYTHONHASHSEED": "0"}
    environment |= patient(environment)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Beside a package that is installed for all, Numba could keep nothing.
    environment.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment


def patient(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what has threads that wait sleep, of libraries that are loaded afterwards, unless it is said."""
    # GNU's may spin for microseconds: asleep at once, a quiet machine would take a quarter longer.
    passive = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
    said = {} if "OMP_WAIT_POLICY" in environment else passive
    # OpenBLAS, which asks nobody: threads that wait give up after 2⁴ cycles instead of 2²⁶.
    return said | ({} if "OPENBLAS_THREAD_TIMEOUT" in environment else {"OPENBLAS_THREAD_TIMEOUT": "4"})


def gpus_named(text: str | None) -> tuple[str, ...]:
    """Return the GPUs that ``--gpus`` names, as CUDA_VISIBLE_DEVICES names them; none where it is not given.

    Parameters
    ----------
    text
        ``all``, how many (``2``), or which, by commas (``0,1``), of those that this process sees.

    Raises
    ------
    RequestError
        If it is none of these, or if there are not so many.
    """
    if text is None:
        return ()
    # Indices in the order of NVML, which CUDA else would set by speed, are told apart by their UUIDs.
    seen = gpu_uuids(os.environ)
    if not seen:
        raise RequestError(f"--gpus {text}: no NVIDIA GPU is to be seen here; leave it out")
    if text == "all":
        return tuple(seen)
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words) or words == ["0"]:
        raise RequestError(f"--gpus {text}: give how many (2), which (0,1), or all")
    wanted = range(int(text)) if len(words) == 1 else [int(word) for word in words]
    if len(wanted) > len(seen) or max(wanted) >= len(seen):
        several = f"there are {len(seen)} GPUs to be seen here, 0 to {len(seen) - 1}"
        one = "there is 1 GPU to be seen here; leave it out"
        raise RequestError(f"--gpus {text}: {several if len(seen) > 1 else one}")
    return tuple(seen[index] for index in wanted)


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
