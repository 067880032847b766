"""What the machine is, what it was declared to be, and whether timings from two machines compare."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.hardware.declarations import Declaration, check, declared, known_names
from bench.hardware.gpus import describe_gpus, gpu_utilisation, has_cuda, machine_memory

__all__ = ["THREAD_VARIABLES", "Declaration", "check", "cpu_quota", "declared", "describe", "fingerprint"]
__all__ += ["has_cuda", "installed", "kernel_number", "known_names", "library_versions", "load", "machine_id"]
__all__ += ["memory_left", "usable_cores"]

_CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "sve", "bf16")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
_KERNELS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_SETTINGS = (*_KERNELS, *THREAD_VARIABLES, "VECLIB_MAXIMUM_THREADS", "TF_NUM_INTEROP_THREADS")
_LIBRARIES = ("torch", "tensorflow-cpu", "tensorflow", "numpy", "scipy", "scikit-learn", "anndata", "mlflow")
_GIB = 2**30


def describe(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Describe the machine as a process with this environment may use it.

    Parameters
    ----------
    environment
        Environment variables of that process (thread settings and CUDA_VISIBLE_DEVICES count);
        this process's own if None.

    Returns
    -------
    dict
        ``cpu_model``, ``cpu_features`` (those that decide the speed of matrix products),
        ``physical_cores`` and ``logical_cores`` this process may use, ``cpu_quota`` (cores' worth of
        time a control group allows, or None), ``governor`` (or None), ``memory_bytes``, ``gpus`` (a
        list of ``model`` and ``memory_bytes``), ``driver`` (or None), ``operating_system``, ``python``,
        ``versions`` of the libraries installed, ``threads`` (what the environment says of threads and of the
        instructions that libraries may use), and the `fingerprint` of it all.
    """
    environment = os.environ if environment is None else environment
    gpus, driver = describe_gpus(environment)
    cpu_model, cpu_features = _cpu()
    cores = _usable_cores()
    description = {
        "cpu_model": cpu_model,
        "cpu_features": cpu_features,
        "physical_cores": _physical_cores(cores),
        "logical_cores": len(cores),
        "cpu_quota": cpu_quota(),
        "governor": _governor(cores[0]),
        "memory_bytes": machine_memory(),
        "gpus": gpus,
        "driver": driver,
        "operating_system": platform.platform(),
        "python": platform.python_version(),
        "versions": library_versions(),
        "threads": {name: environment[name] for name in _SETTINGS if name in environment},
    }
    return description | {"fingerprint": fingerprint(description)}


def fingerprint(description: Mapping[str, Any]) -> str:
    """Return a short hash of what makes timings from two machines unlike.

    It covers the CPU's model and features (virtual machines may hide some), cores, quota and
    governor, memory in whole GiB, the GPUs' models and memory, their driver, and the thread settings.
    It leaves out the load, which changes by the minute, and the operating system and library
    versions, which belong to the software that is compared and stand beside it in every Record.

    Parameters
    ----------
    description
        Description of the machine, from `describe`.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    keys = ("cpu_model", "cpu_features", "physical_cores", "logical_cores", "cpu_quota", "governor")
    stable = {key: description[key] for key in (*keys, "driver", "threads")}
    stable["memory_gib"] = round(description["memory_bytes"] / _GIB)
    stable["gpus"] = [(gpu["model"], round(gpu["memory_bytes"] / _GIB)) for gpu in description["gpus"]]
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:12]


def machine_id() -> str:
    """Return what no other machine has, nor this one once it was started anew; its containers share it."""
    return _read("/proc/sys/kernel/random/boot_id").strip() or platform.node()


def load() -> dict[str, Any]:
    """Return how busy the machine is just now.

    Returns
    -------
    dict
        ``load_average`` over 1, 5 and 15 minutes; ``cpu_pressure_percent``, the share of the last ten
        seconds in which some process waited for a core (None where the kernel does not tell);
        ``available_memory_bytes``; ``gpu_utilisation_percent`` of each visible GPU.
    """
    import psutil

    return {
        "load_average": [round(value, 2) for value in psutil.getloadavg()],
        "cpu_pressure_percent": _cpu_pressure(),
        "available_memory_bytes": psutil.virtual_memory().available,
        "gpu_utilisation_percent": gpu_utilisation(),
    }


def _cpu() -> tuple[str, list[str]]:
    lines = re.findall(r"^([^:\n]+?)[ \t]*:[ \t]*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    facts: dict[str, str] = dict(lines)
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return facts.get("model name") or _cpu_brand(), [name for name in _CPU_FEATURES if name in flags]


def _cpu_brand() -> str:
    brand = ""
    if sys.platform == "darwin":
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        brand = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return brand or platform.processor() or platform.machine()


def _usable_cores() -> list[int]:
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _physical_cores(cores: list[int]) -> int:
    siblings = {_read(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") for core in cores}
    if "" not in siblings:
        return len(siblings)
    # `bench.speed` describes machines that lack it.
    with contextlib.suppress(ModuleNotFoundError):
        import psutil

        return psutil.cpu_count(logical=False) or len(cores)
    return len(cores)


def cpu_quota() -> float | None:
    """Return the tightest limit of this process's control groups (version 2), in cores."""
    limits = [_read(folder / "cpu.max").split() for folder in _control_groups()]
    cores = [int(quota) / int(period) for quota, period in filter(None, limits) if quota != "max"]
    return min(cores, default=None)


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and by its control group's quota.

    More threads than the quota has cores are stopped in the middle of their work, all others waiting.
    """
    cores = len(_usable_cores())
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def memory_left() -> int | None:
    """Return how many bytes the tightest of this process's control groups leaves, or None without a limit."""
    left: list[int] = []
    for folder in _control_groups():
        if (most := _read(folder / "memory.max").strip()).isdecimal():
            left.append(int(most) - int(_read(folder / "memory.current").strip() or 0))
    return min(left, default=None)


def _control_groups() -> list[Path]:
    """Return the folders of this process's control groups, from its own to the root."""
    own = re.search(r"^0::/(.*)$", _read("/proc/self/cgroup"), re.MULTILINE)
    root = Path("/sys/fs/cgroup")
    group = root / own[1] if own else root
    return [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]


def _governor(core: int) -> str | None:
    return _read(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor").strip() or None


def _cpu_pressure() -> float | None:
    some = re.search(r"^some avg10=([\d.]+)", _read("/proc/pressure/cpu"), re.MULTILINE)
    return float(some[1]) if some else None


def library_versions() -> dict[str, str]:
    """Return the versions of the installed numerical libraries, by name."""
    return {name.removesuffix("-cpu"): found for name, found in installed(_LIBRARIES).items()}


def installed(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of some distributions that are installed."""
    versions: dict[str, str] = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def kernel_number(path: str, name: str) -> int | None:
    """Return the whole number behind a name in a file of the kernel's; None where there is none."""
    found = re.search(rf"^{name}\s+(\d+)", _read(path), re.MULTILINE)
    return int(found[1]) if found else None


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
