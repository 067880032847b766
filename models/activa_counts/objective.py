"""What the count ACTIVA's networks learn by: likelihood, KL, and where asked for conditioner and game."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.activa.conditioner import ACTINN
from models.activa.losses import conditioning_loss, hinge, kl_divergence
from models.activa_counts.settings import Settings
from models.counts.likelihood import nb_log_likelihood
from models.counts.networks import LIBRARY_SCALE, CountDecoder, CountEncoder, log_scaled
from models.counts.training import Batch


class Networks(nn.Module):
    """ACTIVA's three networks for counts, and the scale of log library sizes.

    Parameters
    ----------
    settings
        Widths of the networks.
    n_genes, n_types
        Numbers of genes and of cell types.

    Attributes
    ----------
    encoder, decoder, conditioner
        The players, and the classifier (never trained where it has no weight).
    library
        Mean and standard deviation of the log library sizes; the decoder sees them standardised.
    """

    library: Tensor

    def __init__(self, settings: Settings, *, n_genes: int, n_types: int) -> None:
        super().__init__()
        hidden = settings.hidden_sizes
        self.encoder = CountEncoder(n_genes, hidden, settings.latent_dim)
        self.decoder = CountDecoder(settings.latent_dim + 1, hidden[::-1], n_genes, n_types=n_types)
        self.conditioner = ACTINN(n_genes, n_types)
        self.register_buffer("library", torch.tensor([0.0, 1.0]))

    def start_at(self, counts_per_gene: np.ndarray, log_library: np.ndarray) -> None:
        """Have the decoder begin with the genes' mean shares, and learn the scale of library sizes."""
        with torch.no_grad():
            shares = (counts_per_gene + 0.5) / (counts_per_gene + 0.5).sum()
            self.decoder.output.bias.copy_(torch.tensor(np.log(shares)))
            spread = max(float(log_library.std()), 1e-3)
            self.library.copy_(torch.tensor([float(log_library.mean()), spread]))

    def standardised(self, log_library: Tensor) -> Tensor:
        """Return log library sizes as the decoder sees them."""
        return (log_library - self.library[0]) / self.library[1]

    def log_shares(self, latent: Tensor, library: Tensor) -> Tensor:
        """Return each gene's log share for latent vectors and standardised log library sizes."""
        return self.decoder(torch.cat([latent, library[:, None]], dim=1))


class Losses(NamedTuple):
    """Both players' losses and what they are made of."""

    encoder: Tensor
    decoder: Tensor
    terms: dict[str, Tensor]


def losses(
    networks: Networks, batch: Batch, settings: Settings, *, kl_share: float, noise: torch.Generator
) -> Losses:
    """Return the losses of encoder and decoder (the paper's eqs. 4 and 5 over counts), mean over cells.

    Parameters
    ----------
    networks
        Networks, with a trained conditioner if its term has a weight.
    batch
        Training cells.
    settings
        Weights of the terms.
    kl_share
        Share of the KL's weight that counts so far (it grows at the beginning), in [0, 1].
    noise
        Random generator of the latent vectors.
    """
    totals = batch.counts.sum(dim=1).clamp_min(1)
    cells, log_library = log_scaled(batch.counts), totals.log()
    library = networks.standardised(log_library)
    mean, log_variance = networks.encoder(cells)
    latent = mean + torch.exp(log_variance / 2) * _normal(mean, noise)
    shares = networks.log_shares(latent, library)
    dispersions = networks.decoder.log_dispersion(batch.types)
    likelihood = nb_log_likelihood(batch.counts, shares + log_library[:, None], dispersions)
    terms = {"reconstruction": -likelihood.sum(dim=1).mean(), "kl": kl_divergence(mean, log_variance)}
    common = terms["reconstruction"]
    if settings.weight_conditioning:
        logits = networks.conditioner(cells).detach()
        found = networks.conditioner(_expected(shares))
        terms["conditioning"] = conditioning_loss(logits, found) / len(cells)
        common = common + settings.weight_conditioning * terms["conditioning"]
    encoder = common + kl_share * settings.weight_kl * terms["kl"]
    decoder = common
    if settings.weight_adversarial:
        prior = networks.log_shares(_normal(mean, noise), library)
        for name, fake in (("reconstructed", _expected(shares)), ("generated", _expected(prior))):
            terms[f"kl_{name}"] = kl_divergence(*networks.encoder(fake))
            fixed = kl_divergence(*networks.encoder(fake.detach()))
            encoder = encoder + settings.weight_adversarial * hinge(fixed, margin=settings.margin)
            decoder = decoder + settings.weight_adversarial * terms[f"kl_{name}"]
    return Losses(encoder, decoder, terms)


def classifier_loss(networks: Networks, batch: Batch) -> Tensor:
    """Return the conditioner's cross-entropy on training cells."""
    return cross_entropy(networks.conditioner(log_scaled(batch.counts)), batch.types)


def _expected(log_shares: Tensor) -> Tensor:
    """Return the decoder's mean as the encoder sees cells: log1p at 10 000 counts."""
    return torch.log1p(LIBRARY_SCALE * log_shares.exp())


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device)
