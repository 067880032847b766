"""The least that a step and a sample can take: their arithmetic over a machine's measured rates.

With G genes, a batch of B and hidden layers of 1024 beside the genes, every product that touches the genes
costs u = 2·B·G·1024 operations; all others together are a few per cent and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

HIDDEN: Final = (1024, 512, 256)
LATENT: Final = 128

PRODUCTS: Final[dict[str, dict[str, int]]] = {
    "paper": {
        "encode": 3,
        "decode": 2,
        "encoder_weights": 3,
        "decoder_weights": 2,
        "encoder_input": 2,
        "decoder_input": 3,
    },
    "release": {
        "encode": 5,
        "decode": 2,
        "encoder_weights": 3,
        "decoder_weights": 1,
        "encoder_input": 0,
        "decoder_input": 1,
    },
}
"""Products of cost u in one step, by objective. The paper's 15: three passes through the encoder and two
through the decoder; weights' gradients of each; input gradients of both encoded fakes, of both decodings
for the generator's loss and of x_r once more for the encoder's. The release's 12: its code orders 14, but
nobody needs the two backward products of its second look at x_r and x_g, only the statistics of the forward
ones."""


@dataclass(frozen=True)
class Rates:
    """What a machine was measured to do.

    Attributes
    ----------
    product_seconds
        By precision (``"fp32"``, ``"bf16"``) and product (a key of `PRODUCTS`), the seconds of one of
        cost u, three passes stacked and operands laid out as suits the machine.
    draw_seconds_per_cell
        By precision, seconds of the decoder's last product for one cell, in batches as they are drawn.
    memory_bytes_per_second
        Read and written in the device's memory, both counted: the faster of a copy and a change in place.
    pinned_bytes_per_second
        From the GPU to pinned host memory; None on a CPU.
    """

    product_seconds: Mapping[str, Mapping[str, float]]
    draw_seconds_per_cell: Mapping[str, float]
    memory_bytes_per_second: float
    pinned_bytes_per_second: float | None

    @property
    def has_bf16_units(self) -> bool:
        """Whether the products of a step are faster in bf16 than in fp32; if not, its floor is fp32's."""
        return sum(self.product_seconds["bf16"].values()) < sum(self.product_seconds["fp32"].values())

    def effective(self, precision: str) -> str:
        """Return the precision whose floor a precision is held to."""
        return precision if self.has_bf16_units else "fp32"


def product_flops(batch_size: int, n_genes: int) -> int:
    """Return u = 2·B·G·1024, the operations of one product that touches the genes."""
    return 2 * batch_size * n_genes * HIDDEN[0]


def parameters(n_genes: int) -> int:
    """Return how many numbers encoder and decoder learn, BatchNorm's included."""
    encoder = _weights([n_genes, *HIDDEN, 2 * LATENT]) + 2 * (sum(HIDDEN) + 2 * LATENT)
    decoder = _weights([LATENT, *reversed(HIDDEN), n_genes]) + 2 * sum(HIDDEN)
    return encoder + decoder


def optimiser_bytes(n_genes: int) -> int:
    """Return what Adam must move: fp32 weight, gradient and moments read, all but the gradient written."""
    return 7 * 4 * parameters(n_genes)


def step_floor(rates: Rates, *, objective: str, precision: str, n_genes: int) -> float:
    """Return the least seconds of a training step: its products, then Adam's bytes.

    Parameters
    ----------
    rates
        Measured with the same batch size and genes.
    objective, precision, n_genes
        Of the step.
    """
    seconds = rates.product_seconds[rates.effective(precision)]
    products = sum(count * seconds[name] for name, count in PRODUCTS[objective].items() if count)
    return products + optimiser_bytes(n_genes) / rates.memory_bytes_per_second


def sampling_floor(rates: Rates, *, n_cells: int, n_genes: int, density: float, precision: str) -> float:
    """Return the least seconds of drawing cells to the host's CSR.

    On a CPU the decoder's products; on a GPU the greater of these and of copying the CSR through pinned
    memory, as both go on at once.
    """
    products = n_cells * rates.draw_seconds_per_cell[rates.effective(precision)]
    if rates.pinned_bytes_per_second is None:
        return products
    return max(products, csr_bytes(n_cells, n_genes, density) / rates.pinned_bytes_per_second)


def csr_bytes(n_cells: int, n_genes: int, density: float) -> float:
    """Return the size of a CSR matrix of float32 values and 32-bit column indices."""
    return 8 * n_cells * n_genes * density + 4 * (n_cells + 1)


def _weights(widths: list[int]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in pairwise(widths))
