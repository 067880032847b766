"""Encoder and decoder between counts and a latent space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

LIBRARY_SCALE = 10_000.0
"""Cells are scaled to so many counts before the logarithm that the encoder sees."""


def hidden_layers(widths: Sequence[int], *, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> nn.Sequential:
    """Return layers of Linear, `norm` and SiLU from the first width to the last."""
    layers: list[nn.Module] = []
    for n_inputs, n_outputs in pairwise(widths):
        layers += [nn.Linear(n_inputs, n_outputs), norm(n_outputs), nn.SiLU()]
    return nn.Sequential(*layers)


def log_scaled(counts: Tensor) -> Tensor:
    """Return log1p of counts scaled to 10 000 a cell; an empty cell stays 0."""
    return torch.log1p(counts * (LIBRARY_SCALE / counts.sum(dim=1, keepdim=True).clamp_min(1)))


class CountEncoder(nn.Module):
    """Counts to the mean and the log variance of a latent normal, n_cells × latent_dim each.

    Parameters
    ----------
    n_genes, hidden_sizes, latent_dim
        Widths from the input to half of the output.
    norm
        Function that takes a width and returns the normalisation of a hidden layer.
    """

    def __init__(
        self,
        n_genes: int,
        hidden_sizes: Sequence[int],
        latent_dim: int,
        *,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.hidden = hidden_layers([n_genes, *hidden_sizes], norm=norm)
        self.output = nn.Linear(hidden_sizes[-1], 2 * latent_dim)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of cells as `log_scaled` makes them."""
        mean, log_variance = self.output(self.hidden(cells)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 6)


class CountDecoder(nn.Module):
    """Latent vectors to the log of each gene's share of a cell's counts; the genes' inverse dispersions.

    Parameters
    ----------
    n_inputs
        Width of a latent vector, with whatever else is put beside it.
    hidden_sizes, n_genes
        Widths of the hidden layers, in their order, and of the output.
    n_types
        Number of types that have dispersions of their own; 1 for one dispersion a gene.
    norm
        Function that takes a width and returns the normalisation of a hidden layer.

    Attributes
    ----------
    log_dispersion
        n_types × n_genes: log θ.
    """

    def __init__(
        self,
        n_inputs: int,
        hidden_sizes: Sequence[int],
        n_genes: int,
        *,
        n_types: int = 1,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.hidden = hidden_layers([n_inputs, *hidden_sizes], norm=norm)
        self.output = nn.Linear(hidden_sizes[-1], n_genes)
        self.gene_dispersion = nn.Parameter(torch.ones(n_genes))
        self.type_dispersion = nn.Parameter(torch.zeros(n_types, n_genes)) if n_types > 1 else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return log shares, n_cells × n_genes; their exponentials sum to 1."""
        return torch.log_softmax(self.output(self.hidden(inputs)), dim=1)

    def log_dispersion(self, types: Tensor) -> Tensor:
        """Return log θ for cells of these types (codes), n_cells × n_genes, or 1 × n_genes if shared."""
        if self.type_dispersion is None:
            return self.gene_dispersion[None]
        return self.gene_dispersion + self.type_dispersion[types]
