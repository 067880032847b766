"""The decoder's BatchNorm statistics, for drawing from the prior."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from models.activa.networks import Decoder

PRIOR_BATCHES: Final = 32
PRIOR_BATCH_SIZE: Final = 1024


def _norms(decoder: Decoder) -> list[nn.BatchNorm1d]:
    return [layer for layer in decoder.hidden if isinstance(layer, nn.BatchNorm1d)]


def _running_variances(norms: list[nn.BatchNorm1d]) -> Tensor:
    return torch.cat([norm.get_buffer("running_var") for norm in norms])


@torch.no_grad()
def estimate_on_prior(decoder: Decoder, *, latent_dim: int, seed: int) -> float:
    """Replace the running statistics by those of draws from the prior.

    Training leaves a mixture of posterior z (variance about 2.6) and prior z (variance 1), which fits
    neither. The average of 32 batches of 1024 draws takes its place.

    Parameters
    ----------
    decoder
        Decoder, left in eval mode; only its running statistics change.
    latent_dim
        Dimensions of z.
    seed
        Seed of the draws.

    Returns
    -------
    float
        Mean ratio of the new running variances to the old ones.
    """
    device = next(decoder.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    norms = _norms(decoder)
    before = _running_variances(norms)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's way to ask for the plain average over batches
    decoder.train()
    for _ in range(PRIOR_BATCHES):
        decoder.hidden(torch.randn(PRIOR_BATCH_SIZE, latent_dim, generator=generator, device=device))
    decoder.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return float((_running_variances(norms) / before.clamp_min(1e-12)).mean())


def hidden_by_own_statistics(decoder: Decoder, latent: Tensor) -> Tensor:
    """Take a batch through the hidden layers, normalised by its own statistics; leave the running ones alone.

    Parameters
    ----------
    decoder
        Decoder, in train or eval mode.
    latent
        n_cells × latent_dim, at least two cells.

    Returns
    -------
    Tensor
        Inputs of the decoder's last Linear, n_cells × its width.
    """
    values = latent
    for layer in decoder.hidden:
        if isinstance(layer, nn.BatchNorm1d):
            values = batch_norm(values, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
        else:
            values = layer(values)
    return values
