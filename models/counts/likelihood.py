"""Negative-binomial counts: log-likelihood and draws, in the parameters that networks give.

Mean μ and inverse dispersion θ: variance μ + μ² / θ (Lopez et al. 2018, doi:10.1038/s41592-018-0229-2).
SciPy's ``nbinom(n, p)`` is the same with n = θ, p = θ / (θ + μ).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

_LOG_LARGE: Final = 2.0
"""Of a mean, from which on counts are drawn as Poisson counts of gamma rates."""
_LEAST_TERM: Final = 2.0**-26
"""A uniform number may lie above all that float32 adds up to: there is an end where terms add nothing."""


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
    """Draw counts, float32; parameters as in `nb_log_likelihood`.

    Most counts of a cell are small: where the mean is, the distribution is added up from 0 until it exceeds
    a uniform number (most entries are done after its first term), several times as fast as the Poisson counts
    of gamma rates that the others are. Their rate is held within what float32 can return exactly (2²⁴).
    """
    log_mean, log_dispersion = torch.broadcast_tensors(log_mean, log_dispersion)
    shape = log_mean.shape
    log_mean, log_dispersion = log_mean.reshape(-1), log_dispersion.reshape(-1)
    log_total = torch.logaddexp(log_dispersion, log_mean)
    none = (log_dispersion.exp() * (log_dispersion - log_total)).exp_()
    uniform = torch.rand(none.shape, generator=generator, device=none.device)
    counts = torch.zeros_like(none)
    large = log_mean > _LOG_LARGE
    # To look for entries among all of them takes longer than to draw those that are found: once, for both.
    found = (large | (uniform >= none)).nonzero()[:, 0]
    is_large = large[found]
    some, rest = found[~is_large], found[is_large]
    counts[some] = _inverted(
        uniform[some], none[some], log_dispersion[some].exp(), (log_mean[some] - log_total[some]).exp()
    )
    dispersion = log_dispersion[rest].exp()
    gamma = torch._standard_gamma(dispersion, generator=generator)
    rates = gamma * log_mean[rest].exp() / dispersion
    counts[rest] = torch.poisson(rates.clamp_(0, 2**24), generator=generator)
    return counts.view(shape)


def _inverted(uniform: Tensor, none: Tensor, dispersion: Tensor, ratio: Tensor) -> Tensor:
    """Return the least count whose cumulative probability exceeds each uniform number.

    Parameters
    ----------
    uniform
        Not below `none`.
    none
        Probability of a count of 0.
    dispersion, ratio
        θ, and μ / (θ + μ).
    """
    counts = torch.zeros_like(uniform)
    left = torch.arange(len(uniform), device=uniform.device)
    term, reached, count = none, none, 0
    while len(left):
        term = term * ratio * ((dispersion + count) / (count + 1))
        reached, count = reached + term, count + 1
        counts[left] = count
        over = ((reached <= uniform) & (term > _LEAST_TERM)).nonzero()[:, 0]
        left, term, reached, uniform = left[over], term[over], reached[over], uniform[over]
        dispersion, ratio = dispersion[over], ratio[over]
    return counts
