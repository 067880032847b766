"""ACTIVA's encoder (which is also the discriminator) and its generator, the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.activa.conditioner import build_conditioner
from models.activa.randomness import seeded
from models.activa.settings import Settings


def _block(n_inputs: int, n_outputs: int) -> list[nn.Module]:
    return [nn.Linear(n_inputs, n_outputs), nn.ReLU(), nn.BatchNorm1d(n_outputs)]


class Encoder(nn.Module):
    """Cells to the mean and log variance of their latent normal.

    Every layer is Linear, ReLU, BatchNorm, the last one too, as in the release.

    Parameters
    ----------
    n_genes, hidden_sizes, latent_dim
        Widths from the input to half of the output.
    """

    def __init__(self, n_genes: int, hidden_sizes: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        widths = [n_genes, *hidden_sizes, 2 * latent_dim]
        layers = (_block(*pair) for pair in pairwise(widths))
        self.layers = nn.Sequential(*(layer for block in layers for layer in block))

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (n_cells × latent_dim each) of ``cp20k`` cells (n_cells × n_genes)."""
        return self.after_first(self.layers[0](cells))

    def after_first(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, given the first Linear's outputs (n_cells × its width)."""
        mean, log_variance = self.layers[1:](outputs).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Latent vectors to cells: hidden layers of Linear, ReLU, BatchNorm, then Linear and ReLU.

    Parameters
    ----------
    latent_dim, hidden_sizes, n_genes
        Widths from the input to the output.

    Attributes
    ----------
    hidden
        All that comes before the last Linear; it alone has BatchNorm layers.
    output
        The last Linear and ReLU, to non-negative expression.
    """

    def __init__(self, latent_dim: int, hidden_sizes: Sequence[int], n_genes: int) -> None:
        super().__init__()
        widths = [latent_dim, *hidden_sizes]
        blocks = (_block(*pair) for pair in pairwise(widths))
        self.hidden = nn.Sequential(*(layer for block in blocks for layer in block))
        self.output = nn.Sequential(nn.Linear(widths[-1], n_genes), nn.ReLU())

    def forward(self, latent: Tensor) -> Tensor:
        """Return cells (n_cells × n_genes, ``cp20k``) for latent vectors (n_cells × latent_dim)."""
        return self.output(self.hidden(latent))


class Networks(nn.Module):
    """ACTIVA's three networks, as one module so that they are stored and moved together.

    Attributes
    ----------
    encoder, decoder, conditioner
        The two players and the classifier.
    settings
        What they were built with.
    n_genes, n_cell_types
        Width of a cell and number of its possible types.
    """

    def __init__(self, settings: Settings, *, n_genes: int, n_cell_types: int) -> None:
        super().__init__()
        self.settings = settings
        self.n_genes = n_genes
        self.n_cell_types = n_cell_types
        self.encoder = Encoder(n_genes, settings.hidden_sizes, settings.latent_dim)
        self.decoder = Decoder(settings.latent_dim, settings.hidden_sizes[::-1], n_genes)
        self.conditioner = build_conditioner(
            settings.conditioner, n_genes, n_cell_types, objective=settings.objective
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device


def build_networks(settings: Settings, *, n_genes: int, n_cell_types: int, seed: int) -> Networks:
    """Initialise the networks on the CPU from `seed`, leaving PyTorch's global random state as it was."""
    with seeded(seed, device=torch.device("cpu")):
        return Networks(settings, n_genes=n_genes, n_cell_types=n_cell_types)
