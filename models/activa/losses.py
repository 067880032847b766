"""The terms of ACTIVA's losses, each a number of a batch."""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence in nats of N(mean, exp(log_variance)) from N(0, I), averaged over the batch.

    The paper's eq. 2 prints two signs the wrong way round; this is the divergence that it names.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()


def hinge(kl: Tensor, *, margin: float) -> Tensor:
    """[m − KL]⁺ of a batch's mean KL, in nats."""
    return (margin - kl).relu()


def reconstruction_loss(difference: Tensor) -> Tensor:
    """L_AE: squared error summed over genes, averaged over cells, given the errors (n_cells × n_genes)."""
    return vector_norm(difference, dim=1).square().mean()


def conditioning_loss(logits: Tensor, reconstructed_logits: Tensor, *, halved: bool = True) -> Tensor:
    """L_CT: squared difference of logits, summed over types and cells, halved (paper, eq. 6).

    The release does not halve it.
    """
    total = (logits - reconstructed_logits).square().sum()
    return total / 2 if halved else total
