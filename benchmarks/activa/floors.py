"""The least that a step and a sample can take: their arithmetic over a machine's measured rates.

With G genes, a batch of B and hidden layers of 1024 beside the genes, every product that the wide layers
need costs u = 2·B·G·1024 operations. All others (the players' other layers and the conditioner) are a few
per cent at 17 970 genes and a third at 2 000: a `Floor` says what the machine takes for all, and for the
wide layers alone. BatchNorm and whatever else is done element by element is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

HIDDEN: Final = (1024, 512, 256)
LATENT: Final = 128
CONDITIONER: Final = (100, 50, 25)
"""Its layers but the last, which is as narrow as there are types and left out."""

_KINDS: Final = ("encode", "decode", "encoder_weights", "decoder_weights", "encoder_input", "decoder_input")
PRODUCTS: Final[dict[str, dict[str, int]]] = {
    "paper": dict(zip(_KINDS, (3, 2, 3, 2, 2, 3), strict=True)),
    "release": dict(zip(_KINDS, (5, 2, 3, 1, 0, 1), strict=True)),
}
"""Products of cost u in one step, by objective. The paper's 15: three passes through the encoder and two
through the decoder; weights' gradients of each; input gradients of both encoded fakes, of both decodings
for the generator's loss and of x_r once more for the encoder's. The release's 12: its code orders 14, but
nobody needs the two backward products of its second look at x_r and x_g, only the statistics of the forward
ones."""


NARROW_PASSES: Final[dict[str, dict[str, int]]] = {
    "paper": {"encoder": 9, "decoder": 7, "decoder_start": -2, "conditioner": 2},
    "release": {"encoder": 11, "decoder": 4, "decoder_start": 0, "conditioner": 2},
}
"""How often a step must multiply a batch with the weights of the encoder's and decoder's other layers and
of the conditioner. The paper's encoder: three passes, and of each the gradients of inputs and of weights;
its decoder: two passes, their weights' gradients, and three times those of inputs, of which two (the
generator's) need not go through the layer behind the latent code. The release's encoder: five passes and
three times both gradients; its decoder: two passes and both gradients of one. The conditioner: x_r forward
and back; C(x) is known."""


class Floor(NamedTuple):
    """The least seconds that something takes.

    Attributes
    ----------
    seconds
        Least seconds with all products that it needs.
    wide_seconds
        Least seconds with the products of the wide layers alone.
    """

    seconds: float
    wide_seconds: float

    def facts(self, *, times: int = 1) -> dict[str, float]:
        """Return what a row tells of it, for something done so many times."""
        return {"floor_seconds": times * self.seconds, "wide_floor_seconds": times * self.wide_seconds}


@dataclass(frozen=True)
class Rates:
    """What a machine was measured to do.

    Attributes
    ----------
    product_seconds
        Seconds of a product of cost u, by precision (``"fp32"``, and ``"bf16"`` where there are units for
        it) and product (a key of `PRODUCTS`), three passes stacked and operands laid out as suits the
        machine.
    draw_seconds_per_cell
        Seconds of the decoder's last product for one cell, in batches as they are drawn, by precision.
    narrow_seconds_per_flop
        Seconds of an operation in the products of the layers between, three passes stacked, by precision.
    memory_bytes_per_second
        Bytes read and written in the device's memory, both counted: the faster of a copy and a change in
        place.
    pinned_bytes_per_second
        Bytes copied from the GPU to pinned host memory; None on a CPU.
    """

    product_seconds: Mapping[str, Mapping[str, float]]
    draw_seconds_per_cell: Mapping[str, float]
    narrow_seconds_per_flop: Mapping[str, float]
    memory_bytes_per_second: float
    pinned_bytes_per_second: float | None

    @property
    def has_bf16_units(self) -> bool:
        """Whether the products of a step are faster in bf16 than in fp32; if not, its floor is fp32's."""
        totals = {precision: sum(seconds.values()) for precision, seconds in self.product_seconds.items()}
        return "bf16" in totals and totals["bf16"] < totals["fp32"]

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


def narrow_flops(objective: str, *, batch_size: int, n_genes: int) -> int:
    """Return the operations of a step's products other than those of the wide layers; see `NARROW_PASSES`."""
    weights = {
        "encoder": _products([*HIDDEN, 2 * LATENT]),
        "decoder": _products([LATENT, *reversed(HIDDEN)]),
        "decoder_start": LATENT * HIDDEN[-1],
        "conditioner": _products([n_genes, *CONDITIONER]),
    }
    return 2 * batch_size * sum(times * weights[name] for name, times in NARROW_PASSES[objective].items())


def narrow_flops_of_a_draw(n_genes: int) -> int:
    """Return the operations of a drawn cell, its call included, but for those of the decoder's last layer."""
    return 2 * (_products([LATENT, *reversed(HIDDEN)]) + _products([n_genes, *CONDITIONER]))


def step_floor(rates: Rates, *, objective: str, precision: str, n_genes: int, batch_size: int) -> Floor:
    """Return the least seconds of a training step: its products, then Adam's bytes.

    Parameters
    ----------
    rates
        Rates measured with the same batch size and genes.
    objective, precision, n_genes, batch_size
        Objective and precision of the step; numbers of genes, and of cells in a batch.
    """
    kind = rates.effective(precision)
    seconds = rates.product_seconds[kind]
    wide = sum(count * seconds[name] for name, count in PRODUCTS[objective].items() if count)
    wide += optimiser_bytes(n_genes) / rates.memory_bytes_per_second
    flops = narrow_flops(objective, batch_size=batch_size, n_genes=n_genes)
    return Floor(wide + flops * rates.narrow_seconds_per_flop[kind], wide)


def sampling_floor(rates: Rates, *, n_cells: int, n_genes: int, density: float, precision: str) -> Floor:
    """Return the least seconds of drawing cells to the host's CSR, each with the conditioner's call.

    On a CPU the products; on a GPU the greater of these and of copying the CSR through pinned memory, as both
    go on at once.
    """
    kind, copy = rates.effective(precision), 0.0
    wide = n_cells * rates.draw_seconds_per_cell[kind]
    narrow = n_cells * narrow_flops_of_a_draw(n_genes) * rates.narrow_seconds_per_flop[kind]
    if rates.pinned_bytes_per_second is not None:
        copy = csr_bytes(n_cells, n_genes, density) / rates.pinned_bytes_per_second
    return Floor(max(wide + narrow, copy), max(wide, copy))


def csr_bytes(n_cells: int, n_genes: int, density: float) -> float:
    """Return the size of a CSR matrix of float32 values and 32-bit column indices."""
    return 8 * n_cells * n_genes * density + 4 * (n_cells + 1)


def _weights(widths: list[int]) -> int:
    return _products(widths) + sum(widths[1:])


def _products(widths: list[int]) -> int:
    return sum(inputs * outputs for inputs, outputs in pairwise(widths))
