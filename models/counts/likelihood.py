"""Negative-binomial counts: log-likelihood and draws, in the parameters that networks give.

Mean μ and inverse dispersion θ: variance μ + μ² / θ (Lopez et al. 2018, doi:10.1038/s41592-018-0229-2).
SciPy's ``nbinom(n, p)`` is the same with n = θ, p = θ / (θ + μ).
"""

from __future__ import annotations

import torch
from torch import Tensor


def nb_log_likelihood(counts: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Return the log-probability of each count.

    Parameters
    ----------
    counts
        Whole numbers from 0 on.
    log_mean
        log μ, finite.
    log_dispersion
        log θ of the *inverse* dispersion θ, finite; the three broadcast.
    """
    dispersion = log_dispersion.exp()
    log_total = torch.logaddexp(log_dispersion, log_mean)
    chosen = torch.lgamma(counts + dispersion) - torch.lgamma(dispersion) - torch.lgamma(counts + 1)
    return chosen + dispersion * (log_dispersion - log_total) + counts * (log_mean - log_total)


def draw_nb(log_mean: Tensor, log_dispersion: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw counts, float32, as Poisson counts of gamma rates; parameters as in `nb_log_likelihood`.

    The rate is held within what a Poisson draw of float32 can return exactly (2²⁴).
    """
    dispersion = log_dispersion.exp().expand(log_mean.shape).contiguous()
    gamma = torch._standard_gamma(dispersion, generator=generator)
    rates = gamma * (log_mean - log_dispersion).exp()
    return torch.poisson(rates.clamp_(0, 2**24), generator=generator)
