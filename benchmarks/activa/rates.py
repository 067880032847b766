"""What this machine can do: matrix products at a step's own shapes, copies in memory and off the GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from math import prod
from typing import Final

import torch
from torch import Tensor

from bench.speed.machine import synchroniser
from bench.speed.rounds import best_of
from benchmarks.activa.floors import HIDDEN, Rates, product_flops
from models.activa.wide import rows_on_lines
from models.precision import Precision, has_bf16_units

DRAWN_AT_ONCE: Final = 1024
GIGA: Final = 1e9
STACKED: Final = 3
"""Passes multiplied at once where a step knows their rows together: as many as it has of a kind at most."""
CALLS_ON_GPU: Final = 50
_COPIED_BYTES: Final = 2**28
_DTYPES: Final[dict[Precision, torch.dtype]] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measured_precisions(device: str) -> tuple[Precision, ...]:
    """Return the precisions that are worth their time on a device: bf16 only where it has units for it."""
    return ("fp32", "bf16") if has_bf16_units(torch.device(device)) else ("fp32",)


def measure_rates(*, n_genes: int, batch_size: int, device: str) -> Rates:
    """Measure a machine's rates at the shapes of a step.

    Parameters
    ----------
    n_genes, batch_size
        Numbers of genes, and of cells in a batch, of the step.
    device
        ``"cpu"`` or ``"cuda"``.
    """
    synchronise = synchroniser(device)
    drawn = (DRAWN_AT_ONCE, HIDDEN[0], n_genes)
    products: dict[str, dict[str, float]] = {}
    draws: dict[str, float] = {}
    narrow: dict[str, float] = {}
    between = (STACKED * batch_size, HIDDEN[0], HIDDEN[1])
    shapes = product_shapes(n_genes=n_genes, n_rows=STACKED * batch_size)
    for name in measured_precisions(device):
        seconds_of = partial(_product_seconds, dtype=_DTYPES[name], device=device)
        products[name] = {kind: seconds_of(*shape) / STACKED for kind, shape in shapes.items()}
        draws[name] = seconds_of(*drawn) / DRAWN_AT_ONCE
        narrow[name] = seconds_of(*between) / (2 * prod(between))
    source = torch.ones(_COPIED_BYTES // 4, device=device)
    copy = _bytes_per_second(source, torch.empty_like(source).copy_, synchronise)
    # In place, as Adam does: on many CPUs a copy reads its target as well, before it writes it.
    change = _bytes_per_second(source, lambda values: values.add_(1), synchronise)
    pinned = None
    if device.startswith("cuda"):
        pinned = _bytes_per_second(source, torch.empty(source.shape, pin_memory=True).copy_, synchronise)
    return Rates(products, draws, narrow, 2 * max(copy, change), pinned)


def rate_lines(rates: Rates, *, n_genes: int, batch_size: int) -> list[str]:
    """Say in words what the machine was measured to do."""
    flops = product_flops(batch_size, n_genes)
    lines = [
        f"{precision} products of a step: "
        + ", ".join(f"{name} {flops / value / GIGA:.0f}" for name, value in seconds.items())
        + " GFLOP/s"
        for precision, seconds in rates.product_seconds.items()
    ]
    lines.append(f"memory: {rates.memory_bytes_per_second / GIGA:.1f} GB/s, read and written")
    if rates.pinned_bytes_per_second is not None:
        lines.append(f"GPU to pinned memory: {rates.pinned_bytes_per_second / GIGA:.1f} GB/s")
    if "bf16" not in rates.product_seconds:
        lines.append("this device has no bf16 units: bf16, which it would emulate, was not measured")
    elif not rates.has_bf16_units:
        lines.append("bf16 products are no faster than fp32 here: bf16 rows stand beside the fp32 floor")
    return lines


def product_shapes(*, n_genes: int, n_rows: int) -> dict[str, tuple[int, int, int]]:
    """Return rows, inner size and columns of a step's products that touch the genes, for `n_rows` cells."""
    hidden = HIDDEN[0]
    return {
        "encode": (n_rows, n_genes, hidden),
        "decode": (n_rows, hidden, n_genes),
        "encoder_weights": (hidden, n_rows, n_genes),
        "decoder_weights": (n_genes, n_rows, hidden),
        "encoder_input": (n_rows, hidden, n_genes),
        "decoder_input": (n_rows, n_genes, hidden),
    }


def _product_seconds(rows: int, inner: int, columns: int, *, dtype: torch.dtype, device: str) -> float:
    """Seconds of a matrix product, in the fastest of the four ways to lay out its operands.

    Its rows begin on lines of a CPU's cache, as suits all of them.
    """
    result = rows_on_lines((rows, columns), dtype=dtype, device=torch.device(device))
    operands = [torch.randn(shape, device=device).to(dtype) for shape in ((rows, inner), (inner, columns))]
    both_ways = ((values, values.T.contiguous().T) for values in operands)
    calls = (partial(torch.mm, left, right, out=result) for left, right in product(*both_ways))
    return min(_seconds_of_one(call, device) for call in calls)


def _seconds_of_one(call: Callable[[], object], device: str) -> float:
    """Seconds of a call among many: a GPU takes less for a product than to be asked and waited for."""
    calls = CALLS_ON_GPU if device.startswith("cuda") else 1

    def several() -> None:
        for _ in range(calls):
            call()

    return best_of(several, synchronise=synchroniser(device)) / calls


def _bytes_per_second(
    values: Tensor, use: Callable[[Tensor], object], synchronise: Callable[[], None]
) -> float:
    return values.numel() * values.element_size() / best_of(lambda: use(values), synchronise=synchronise)
