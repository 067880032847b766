"""The two players as a training step sees them: ordinary modules between two wide layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.activa.networks import Networks
from models.activa.wide import WideLinear, product_type, product_width, rows_on_lines


class Players:
    """Encoder and decoder cut at their wide layers, and the memory that every step uses again.

    Parameters
    ----------
    networks
        Networks in train mode, the conditioner frozen in eval mode. Their weights are used where they lie:
        call `WideLinear.refresh` after they have changed.
    n_cells
        Largest number of cells of a batch.

    Attributes
    ----------
    networks
        The networks that were given.
    first, last
        The encoder's first Linear and the decoder's last.
    wide
        The two Linears by player, ``"encoder"`` and ``"decoder"``.
    encoder_rest, decoder_rest
        Parameters between the two: all but the wide layers', in their networks' order.
    """

    def __init__(self, networks: Networks, *, n_cells: int) -> None:
        self.networks = networks
        first, last = networks.encoder.layers[0], networks.decoder.output[0]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        weight = first.weight
        dtype = product_type(networks.settings.precision, weights=weight.dtype, device=weight.device)
        width = product_width(networks.n_genes, dtype=dtype, device=weight.device)
        self.first = WideLinear(first, dtype=dtype, shape=(first.out_features, width))
        self.last = WideLinear(last, dtype=dtype, shape=(width, last.in_features))
        self.wide = {"encoder": self.first, "decoder": self.last}
        self.encoder_rest = list(networks.encoder.layers[1:].parameters())
        self.decoder_rest = list(networks.decoder.hidden.parameters())
        self._dtype, self._weights_dtype = dtype, weight.dtype
        # Zeros, because nothing but products ever writes beyond the genes.
        self._cells, self._by_cells = (
            rows_on_lines((3 * n_cells, width), dtype=dtype, device=weight.device) for _ in range(2)
        )
        # Apart, because autograd keeps the count of writes by allocation.
        self._difference = weight.new_empty((n_cells, networks.n_genes))
        self._workspace = torch.empty_like(self._difference)

    def cells(self, n_rows: int) -> Tensor:
        """Return the room for x, x_r and x_g below one another, kept for one step.

        n_rows × the products' width: the genes, then zeros (see `product_width`).
        """
        return self._cells[:n_rows]

    def by_cells(self, n_rows: int) -> Tensor:
        """Return the room for gradients with respect to cells: as wide as these."""
        return self._by_cells[:n_rows]

    def genes(self, rows: Tensor) -> Tensor:
        """Return the part of `cells` or `by_cells` that holds genes."""
        return rows[:, : self.networks.n_genes]

    def difference(self, n_cells: int) -> Tensor:
        """Return the room for x_r − x: n_cells × n_genes, in the weights' number type."""
        return self._difference[:n_cells]

    def workspace(self, n_cells: int) -> Tensor:
        """Return room like that of the difference which is used more than once in a step."""
        return self._workspace[:n_cells]

    def encode(self, cells: Tensor) -> Tensor:
        """Return the first Linear's outputs of cells, in the weights' number type."""
        return self.first.forward(cells).to(self._weights_dtype)

    def decode(self, passes: Sequence[Tensor], *, out: Tensor) -> Tensor:
        """Write the cells that follow from inputs of the last Linear; return these below one another."""
        codes = torch.cat([codes.detach() for codes in passes]).to(self._dtype)
        self.last.forward(codes, out=out).relu_()
        return codes

    def back_through_encoder(self, by_outputs: Tensor, *, out: Tensor) -> None:
        """Write gradients with respect to cells, given those to the first Linear's outputs."""
        self.first.backward(by_outputs.to(self._dtype), out=out)

    def back_through_decoder(self, by_cells: Tensor) -> Tensor:
        """Return gradients with respect to the last Linear's inputs, given those to its outputs."""
        return self.last.backward(by_cells).to(self._weights_dtype)


def through_relu(by_cells: Tensor, cells: Tensor) -> None:
    """Set to zero, in place, the gradients with respect to values that ReLU has cut off."""
    torch.ops.aten.threshold_backward.grad_input(by_cells, cells, 0, grad_input=by_cells)
