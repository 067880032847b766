"""The machine and its device, as PyTorch sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench import hardware
from bench.errors import RequestError


def describe_machine(device: str) -> dict[str, Any]:
    """Describe the machine as `bench.hardware.describe` does, and the device as PyTorch sees it.

    Where NVML cannot be asked (without pynvml, on a bare machine) the GPU is named by PyTorch, so that the
    fingerprint still tells machines apart.

    Parameters
    ----------
    device
        ``"cpu"`` or ``"cuda"``.
    """
    description = hardware.describe()
    on_gpu = device.startswith("cuda")
    if on_gpu and not description["gpus"]:
        facts = torch.cuda.get_device_properties(device)
        description["gpus"] = [{"model": facts.name, "memory_bytes": facts.total_memory}]
        description["fingerprint"] = hardware.fingerprint(description)
    return description | {
        "device": torch.cuda.get_device_name(device) if on_gpu else description["cpu_model"],
        "cuda": torch.version.cuda,
        "torch_threads": torch.get_num_threads(),
    }


def resolve_device(device: str) -> str:
    """Return ``"cpu"`` or ``"cuda"`` for ``"auto"``, and refuse a GPU that is not there.

    Raises
    ------
    RequestError
        If it is none of these, or PyTorch sees no GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise RequestError(f"--device {device!r}: choose from auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise RequestError("--device cuda: PyTorch sees no GPU; use --device cpu, or a CUDA build of torch")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def synchroniser(device: str) -> Callable[[], None]:
    """Return what waits until a device has finished."""
    if device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
