"""What NVML, the library of NVIDIA's driver, tells about the GPUs that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from types import ModuleType
from typing import Any


@contextmanager
def nvml_session() -> Iterator[ModuleType | None]:
    """Open NVML and yield its module, or None on a machine without an NVIDIA driver (or without pynvml)."""
    nvml: ModuleType | None = None
    with ExitStack() as stack:
        with suppress(ModuleNotFoundError):
            import pynvml

            with suppress(pynvml.NVMLError):
                pynvml.nvmlInit()
                stack.callback(pynvml.nvmlShutdown)
                nvml = pynvml
        yield nvml


def visible_devices(nvml: ModuleType | None, environment: Mapping[str, str]) -> list[Any]:
    """Return NVML's handles of the GPUs that CUDA_VISIBLE_DEVICES leaves visible, in its order.

    As in CUDA, entries are indices, (beginnings of) GPU UUIDs or MIG UUIDs, and those behind the
    first that fits no device are void.
    """
    if nvml is None:
        return []
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    named = (_device(nvml, handles, entry.strip()) for entry in wanted.split(","))
    return list(takewhile(lambda handle: handle is not None, named))


def _device(nvml: ModuleType, handles: list[Any], entry: str) -> Any | None:
    if entry.isdecimal():
        return handles[int(entry)] if int(entry) < len(handles) else None
    if entry.startswith("MIG-"):
        with suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(entry)
        return None
    matching = [handle for handle in handles if entry and nvml.nvmlDeviceGetUUID(handle).startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def gpu_uuids(environment: Mapping[str, str]) -> list[str]:
    """Return NVML's UUID of each GPU that a process with this environment sees: no other GPU has it."""
    with nvml_session() as nvml:
        return [nvml.nvmlDeviceGetUUID(device) for device in visible_devices(nvml, environment)]  # type: ignore[union-attr]


def describe_gpus(environment: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
    """Return model and memory (bytes) of each visible GPU, and the driver's version (None without GPUs)."""
    with nvml_session() as nvml:
        devices = visible_devices(nvml, environment)
        if nvml is None or not devices:
            return [], None
        name = nvml.nvmlDeviceGetName
        gpus = [{"model": name(device), "memory_bytes": _memory(nvml, device)} for device in devices]
        return gpus, nvml.nvmlSystemGetDriverVersion()


def _memory(nvml: ModuleType, device: Any) -> int:
    with suppress(nvml.NVMLError):
        return int(nvml.nvmlDeviceGetMemoryInfo(device).total)
    # A GPU without memory of its own works in the machine's.
    return machine_memory()


def machine_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gpu_utilisation() -> list[int]:
    """Return how busy each visible GPU is just now, in percent; those that do not tell are left out."""
    with nvml_session() as nvml:
        return utilisation(nvml, visible_devices(nvml, os.environ))


def utilisation(nvml: ModuleType | None, devices: Iterable[Any]) -> list[int]:
    """Return how busy some GPUs are just now, in percent; those that do not tell are left out."""
    return [int(rates.gpu) for rates in _answers(nvml, devices, "nvmlDeviceGetUtilizationRates")]


def process_bytes(nvml: ModuleType | None, devices: Iterable[Any], pids: set[int]) -> int | None:
    """Return the GPU memory that some processes hold together, or None where NVML does not tell.

    It does not inside a container whose process numbers differ from the machine's.
    """
    running = _answers(nvml, devices, "nvmlDeviceGetComputeRunningProcesses")
    mine = [process for processes in running for process in processes if process.pid in pids]
    used = [process.usedGpuMemory for process in mine if process.usedGpuMemory is not None]
    return sum(used) if used else None


def _answers(nvml: ModuleType | None, devices: Iterable[Any], question: str) -> Iterator[Any]:
    """Ask NVML about each device; those about which it does not know are passed over."""
    for device in devices if nvml is not None else ():
        with suppress(nvml.NVMLError):  # type: ignore[union-attr]
            yield getattr(nvml, question)(device)


def has_cuda() -> bool:
    """Whether this process can see an NVIDIA GPU; no framework is imported to find out."""
    with nvml_session() as nvml:
        return bool(visible_devices(nvml, os.environ))
