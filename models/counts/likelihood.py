"""Negative-binomial counts: log-likelihood and draws, in the parameters that networks give.

Mean μ and inverse dispersion θ: variance μ + μ² / θ (Lopez et al. 2018, doi:10.1038/s41592-018-0229-2).
SciPy's ``nbinom(n, p)`` is the same with n = θ, p = θ / (θ + μ).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

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


class Drawn(NamedTuple):
    """Counts of some entries of a matrix, in ascending order of their places; all others are 0.

    Attributes
    ----------
    places
        Place of each entry in the flattened matrix.
    counts
        Counts of the entries, float32; some may be 0.
    within
        Place of each draw within its count's step of the distribution function, in [0, 1]: uniform.
    """

    places: Tensor
    counts: Tensor
    within: Tensor


def draw_nb(log_mean: Tensor, log_dispersion: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw counts, float32; parameters as in `nb_log_likelihood`."""
    drawn = draw_entries(log_mean, log_dispersion, generator=generator)
    shape = torch.broadcast_shapes(log_mean.shape, log_dispersion.shape)
    counts = torch.zeros(shape, device=log_mean.device)
    counts.view(-1).scatter_(0, drawn.places, drawn.counts)
    return counts


def draw_entries(
    log_mean: Tensor,
    log_dispersion: Tensor,
    *,
    generator: torch.Generator,
    stays_zero: Tensor | None = None,
) -> Drawn:
    """Draw counts, and tell those that are not 0, or lie high among zeros.

    Most counts of a cell are small: where the mean is, the distribution is added up from 0 until it exceeds
    a uniform number (most entries are done after its first term), several times as fast as the Poisson counts
    of gamma rates that the others are. Their rate is held within what float32 can return exactly (2²⁴).

    Parameters
    ----------
    log_mean, log_dispersion
        log μ and log θ of the *inverse* dispersion θ, finite; the two broadcast.
    generator
        Random generator of all draws.
    stays_zero
        Place within the step of 0 from which on a 0 is returned, too, for each entry; 1 if not given.
    """
    log_mean, log_dispersion = torch.broadcast_tensors(log_mean, log_dispersion)
    # log(1 + μ / θ) as it stands: where θ is large, log(θ + μ) - log θ would be lost in rounding.
    none = softplus(log_mean - log_dispersion).mul_(log_dispersion.exp()).neg_().exp_()
    uniform = torch.rand(none.shape, generator=generator, device=none.device)
    untold = none if stays_zero is None else none * stays_zero
    places = true_places((uniform >= untold).logical_or_(log_mean > _LOG_LARGE))
    uniform, none, log_mean, log_dispersion = (
        at(of.reshape(-1), places) for of in (uniform, none, log_mean, log_dispersion)
    )
    is_large = log_mean > _LOG_LARGE
    ratio, dispersion = (log_mean - log_dispersion).sigmoid_(), log_dispersion.exp_()
    counts, within = _inverted(uniform.masked_fill_(is_large, 0), none, dispersion, ratio)
    large = true_places(is_large)
    gamma = torch._standard_gamma(dispersion[large], generator=generator)
    rates = gamma * log_mean[large].exp() / dispersion[large]
    counts[large] = torch.poisson(rates.clamp_(0, 2**24), generator=generator)
    within[large] = torch.rand(large.shape, generator=generator, device=large.device)
    return Drawn(places, counts, within)


def true_places(mask: Tensor) -> Tensor:
    """Return where a mask is true, in the flattened mask."""
    if mask.device.type == "cpu":
        # A seventh of the time that PyTorch takes.
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.view(-1).nonzero()[:, 0]


def at(values: Tensor, places: Tensor) -> Tensor:
    """Return values, or rows, at some places: on a CPU in a quarter of the time of an index."""
    return values.index_select(0, places)


def _inverted(uniform: Tensor, none: Tensor, dispersion: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least count whose cumulative probability exceeds each uniform number, and where in its step.

    Parameters
    ----------
    uniform
        Uniform numbers in [0, 1).
    none
        Probability of a count of 0.
    dispersion, ratio
        θ, and μ / (θ + μ).
    """
    counts, within = torch.zeros_like(uniform), uniform / none
    left = true_places(uniform >= none)
    # What of each uniform number the terms so far have not used up.
    rest, term, ratio = at(uniform - none, left), at(none, left), at(ratio, left)
    first, count = at(dispersion, left) * ratio, 0
    while len(left):
        term = term.mul_(torch.add(first, ratio, alpha=count)).div_(count + 1)
        count += 1
        counts.scatter_(0, left, count)
        within.scatter_(0, left, rest / term)
        over = true_places((rest.sub_(term) >= 0).logical_and_(term > _LEAST_TERM))
        left, rest, term, first, ratio = (at(of, over) for of in (left, rest, term, first, ratio))
    return counts, within.clamp_(0, 1)
