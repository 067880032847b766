"""Whether bf16 is worth it here: decided by the hardware, then by a probe at a model's own shapes.

A CPU or GPU without units for bf16 emulates it, correctly and up to thirty times slower than fp32; one that
has them may still lose where products are small, because weights and gradients are cast for each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from models.base import AUTO, Settled

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "bf16", "fp32"]
"""``"auto"`` is settled before training, by `settle_precision`."""

LEAST_ROUNDS: Final = 3
MOST_ROUNDS: Final = 15
LIMIT_SECONDS: Final = 0.5
"""After the least rounds no further one begins once the timed products have taken this long together."""
LEAST_GAIN: Final = 0.95
"""bf16 must take at most this share of fp32's time: what is gained by less is lost in digits."""


def has_bf16_units(device: torch.device | str) -> bool:
    """Tell whether PyTorch multiplies bf16 in hardware on a device.

    Parameters
    ----------
    device
        The CPU (x86: AVX-512 BF16 or AMX; ARM: BF16), as oneDNN may use it, or a CUDA device.
    """
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    # oneDNN also calls a CPU able that has AVX-512 without BF16 and must emulate it.
    return torch.cpu._is_avx512_bf16_supported() or not torch.cpu._is_avx512_supported()


def settle_precision(
    precision: str, *, rows: int, widest: Sequence[tuple[int, int]], device: torch.device | str
) -> Settled:
    """Decide between bf16 and fp32 on this machine.

    Parameters
    ----------
    precision
        Precision as set; anything but ``"auto"`` stays as it is.
    rows
        Rows of a product, as they are multiplied in a training step.
    widest
        Outputs × inputs of the layers that a model multiplies in the chosen precision.
    device
        Device that multiplies.

    Returns
    -------
    Settled
        ``"bf16"`` or ``"fp32"``, and why. Without bf16 units nothing is timed.
    """
    if precision != AUTO:
        return Settled(precision, "as set")
    kind = "GPU" if str(device).startswith("cuda") else "CPU"
    if not has_bf16_units(device):
        return Settled("fp32", f"this {kind} has no bf16 units")
    ratio = _bf16_over_fp32(rows, tuple(widest), str(device))
    chosen = "bf16" if ratio <= LEAST_GAIN else "fp32"
    return Settled(chosen, f"products of this model take {ratio:.2g} times as long in bf16 on this {kind}")


@lru_cache
def _bf16_over_fp32(rows: int, widest: tuple[tuple[int, int], ...], device: str) -> float:
    """Return the least time of a step's products and casts in bf16 over that in fp32, taken in turns."""
    import torch

    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    steps = {dtype: _products(rows, widest, dtype=dtype, device=device) for dtype in seconds}
    with torch.inference_mode():
        for step in steps.values():
            step()
        for done in range(MOST_ROUNDS):
            if done >= LEAST_ROUNDS and sum(map(sum, seconds.values())) > LIMIT_SECONDS:
                break
            for dtype, step in steps.items():
                seconds[dtype].append(_timed(step, device))
    # Other work on the machine only ever adds time.
    return min(seconds[torch.bfloat16]) / min(seconds[torch.float32])


def _products(
    rows: int, widest: Sequence[tuple[int, int]], *, dtype: torch.dtype, device: str
) -> Callable[[], None]:
    """Return a function that goes through each layer forward and back, as a training step does."""
    import torch

    layers = []
    for shape in widest:
        weight = torch.full(shape, 0.5, device=device)
        inputs = torch.full((rows, shape[1]), 0.5, device=device, dtype=dtype)
        outputs = torch.full((rows, shape[0]), 0.5, device=device, dtype=dtype)
        layers.append((weight, weight.to(dtype), inputs, outputs, torch.empty_like(weight, dtype=dtype)))

    def step() -> None:
        for weight, cast, inputs, outputs, gradient in layers:
            if cast is not weight:
                cast.copy_(weight)
            inputs @ cast.T
            outputs @ cast
            torch.mm(outputs.T, inputs, out=gradient)
            gradient.float()

    return step


def _timed(step: Callable[[], None], device: str) -> float:
    import torch

    wait = torch.cuda.synchronize if device.startswith("cuda") else torch.cpu.synchronize
    wait()
    started = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - started
