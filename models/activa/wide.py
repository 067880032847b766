"""The two layers that are as wide as the genes, computed by hand.

At G genes they hold nearly all of ACTIVA's weights and arithmetic: the encoder's first Linear (G → 1024)
and the decoder's last (1024 → G). Autograd would multiply for every pass by itself, cast the weights each
time and put every gradient into fresh memory. Here each product is one call for all rows that are known
at the same time, which changes no sum (a Linear treats rows by themselves; BatchNorm, which does not, never
sees rows of two passes), the weights are kept cast, and gradients go into the same buffer in every step.

With cells x, weight W and bias b, a layer computes y = x Wᵀ + b; from the gradient g of a loss with respect
to y follow those with respect to x, g W, to W, gᵀ x, and to b, the sum of g's rows. The sum of several
losses' gradients with respect to W is one product of all their g and x stacked. With ``precision="bf16"``
the factors are rounded to bf16 and so is each product, once; sums inside a product are fp32 (on a GPU
PyTorch lets the parts of a product that it splits be added up in bf16), and so are the weights that Adam
steps and the gradients that it is given. A GPU multiplies bf16 two to three times as fast where rows begin on
whole memory words, so there the genes are followed by as many columns of zeros as that takes
(`product_width`): they add nothing to any sum, and what a product leaves in them is zero. A CPU writes rows
of an fp32 product half as fast again where each begins a line of its cache, so there rows lie as far apart as
that takes (`rows_on_lines`); what lies between them is part of no product.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from models.precision import Precision, has_bf16_units

_COLUMNS_AT_ONCE: Final = 64
"""Of bf16, on a GPU: 128 bytes, a line of its cache."""
_LINE: Final = 64
"""Bytes of a line of a CPU's cache."""


class WideLinear:
    """Products of a Linear and its gradients, in a precision of their own.

    Parameters
    ----------
    linear
        Layer that holds the trained weights; their gradients are never asked of autograd.
    dtype
        Number type of the products.
    shape
        Shape of the weight as multiplied, outputs × inputs: at least that of `linear`, zeros beyond it.

    Attributes
    ----------
    weight, bias
        Weight and bias as multiplied: those of `linear`, or a copy of them in `dtype` and `shape`.
    gradients
        Gradients with respect to the weight and the bias of `linear`, as the last `learn` left them.
    """

    def __init__(self, linear: nn.Linear, *, dtype: torch.dtype, shape: tuple[int, int]) -> None:
        self._linear = linear
        weight, bias = linear.weight.detach(), linear.bias.detach()
        self.gradients = [torch.empty_like(weight), torch.empty_like(bias)]
        self._as_they_are = dtype == weight.dtype and shape == weight.shape
        if self._as_they_are:
            self.weight, self.bias, self._product = weight, bias, self.gradients[0]
            room = rows_on_lines(shape, dtype=dtype, device=weight.device)
            if room.stride() != weight.stride():
                self._product = room
        else:
            self.weight = weight.new_zeros(shape, dtype=dtype)
            self.bias = bias.new_zeros(shape[0], dtype=dtype)
            self._product = torch.empty_like(self.weight)
            self.refresh()

    def refresh(self) -> None:
        """Cast the weights again, which every step of the optimiser makes necessary."""
        if not self._as_they_are:
            self._own(self.weight).copy_(self._linear.weight.detach())
            self.bias[: self._linear.out_features].copy_(self._linear.bias.detach())

    def _own(self, padded: Tensor) -> Tensor:
        return padded[: self._linear.out_features, : self._linear.in_features]

    def forward(self, rows: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return rows · Wᵀ + b, n × outputs, of n × inputs."""
        return torch.addmm(self.bias, rows, self.weight.t(), out=out)

    def backward(self, of_outputs: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Carry gradients with respect to outputs (n × outputs) back to the inputs (n × inputs)."""
        return torch.mm(of_outputs, self.weight, out=out)

    def learn(self, of_outputs: Tensor, rows: Tensor) -> list[Tensor]:
        """Return the `gradients`, given those with respect to the outputs and the inputs behind them."""
        weight, bias = self.gradients
        torch.mm(of_outputs.to(rows.dtype).t(), rows, out=self._product)
        if self._product is not weight:
            weight.copy_(self._own(self._product))
        bias.copy_(of_outputs.sum(dim=0)[: len(bias)])
        return self.gradients


def product_width(n_genes: int, *, dtype: torch.dtype, device: torch.device) -> int:
    """Return how many columns a cell takes in the wide layers' products: the genes, and zeros after them.

    Parameters
    ----------
    n_genes
        Width of a cell.
    dtype, device
        Number type and device of the products.
    """
    if device.type != "cuda" or dtype != torch.bfloat16:
        return n_genes
    return -(-n_genes // _COLUMNS_AT_ONCE) * _COLUMNS_AT_ONCE


def rows_on_lines(shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros, rows × columns, that lie as products are written fastest.

    On a CPU, unless it is bf16, each row begins a line of the cache: zeros that no product touches follow
    the columns (`whole_rows` has them). Elsewhere the matrix is contiguous.
    """
    n_rows, n_columns = shape
    at_once = 1 if device.type != "cpu" or dtype == torch.bfloat16 else _LINE // dtype.itemsize
    stride = -(-n_columns // at_once) * at_once
    return torch.zeros((n_rows, stride), dtype=dtype, device=device)[:, :n_columns]


def whole_rows(rows: Tensor) -> Tensor:
    """Return, given `rows_on_lines` or the first of them, the same with what follows the columns."""
    return rows.as_strided((len(rows), rows.stride(0)), rows.stride())


def product_type(precision: Precision, *, weights: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the number type of the wide layers' products; warn where bf16 would only be slow.

    Parameters
    ----------
    precision
        Settled precision: ``"bf16"`` or ``"fp32"``.
    weights
        Number type of the weights, which ``"fp32"`` leaves as it is.
    device
        Device that computes the products.
    """
    if precision == "fp32":
        return weights
    if not has_bf16_units(device):
        kind = "GPU" if device.type == "cuda" else "CPU"
        warnings.warn(
            f"activa: this {kind} has no bf16 units, so precision=bf16 is right but slow; "
            "set precision=auto or fp32",
            UserWarning,
            stacklevel=2,
        )
    return torch.bfloat16


@contextmanager
def narrow_arithmetic(precision: Precision, *, device: torch.device) -> Iterator[None]:
    """Let a GPU multiply what lies between the wide layers in TF32, where these multiply in bf16.

    TF32 keeps 11 bits of each float32 factor, bf16 8, and the sums are float32. Without it the narrow layers
    take longer on a GPU than the wide ones. PyTorch's switch is of the whole process, hence put back.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and precision == "bf16":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
