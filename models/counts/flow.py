"""Flows from noise to latent codes, given the type: velocity network, flow matching, solver."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SIGMA = 1e-4
DROPPED = 0.2
EMBEDDING = 100
FASTEST, SLOWEST = 10.0, 0.1
"""Radians that the angles of the embedded time go through: few, so that the flow is smooth in time."""

Velocity = Callable[[Tensor, Tensor], Tensor]


class VelocityNetwork(nn.Module):
    """A residual MLP of a point, the time in [0, 1] and the type.

    The time is embedded in sines and cosines, the type in a table whose last row stands for no type; their
    sum enters every block.

    Parameters
    ----------
    n_dimensions, n_types
        Dimensions of the points, and number of types.
    width, n_blocks
        Width and number of the residual blocks.
    n_given
        Number of values that are given of each cell beside its type.
    """

    def __init__(
        self, n_dimensions: int, n_types: int, *, width: int, n_blocks: int, n_given: int = 0
    ) -> None:
        super().__init__()
        self.given = nn.Linear(n_given, EMBEDDING, bias=False) if n_given else None
        self.no_type = n_types
        self.types = nn.Embedding(n_types + 1, EMBEDDING)
        self.times = nn.Sequential(
            nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )
        self.first = nn.Linear(n_dimensions, width)
        self.conditions = nn.ModuleList(nn.Linear(EMBEDDING, width) for _ in range(n_blocks))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(2 * n_blocks)
        )
        self.last = nn.Linear(width, n_dimensions)

    def forward(self, points: Tensor, times: Tensor, types: Tensor, given: Tensor | None = None) -> Tensor:
        """Return velocities, n_points × n_dimensions; the others hold a row for each point."""
        condition = self.times(sinusoidal(times)) + self.types(types)
        if self.given is not None:
            condition = condition + self.given(given)
        hidden = self.first(points)
        for number, enter in enumerate(self.conditions):
            inner = self.blocks[2 * number](hidden) + enter(nn.functional.silu(condition))
            hidden = hidden + self.blocks[2 * number + 1](inner)
        return self.last(hidden)


def sinusoidal(times: Tensor) -> Tensor:
    """Return sines and cosines of times in [0, 1] at 50 frequencies, n_times × 100."""
    half = EMBEDDING // 2
    steps = torch.arange(half, device=times.device) / (half - 1)
    angles = times[:, None] * FASTEST * (SLOWEST / FASTEST) ** steps
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def antithetic_times(n_times: int, *, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw times in pairs t and 1 − t, t uniform in [0, 1]."""
    half = torch.rand((n_times + 1) // 2, generator=generator, device=device)
    return torch.cat([half, 1 - half])[:n_times]


def matching_loss(
    velocity: VelocityNetwork,
    starts: Tensor,
    ends: Tensor,
    times: Tensor,
    types: Tensor,
    given: Tensor | None = None,
    *,
    generator: torch.Generator,
) -> Tensor:
    """Return the mean squared error of the velocity on straight paths (Lipman et al. 2023, arXiv:2210.02747).

    Parameters
    ----------
    velocity
        The network; a fifth of the points is shown to it without their type.
    starts, ends
        n_points × n_dimensions: noise, and the code that it is paired with.
    times, types, given
        Time, type and other given values of each point.
    generator
        Random generator of the noise around the paths and of the types that are left out.
    """
    share = times[:, None]
    noise = torch.randn(ends.shape, generator=generator, device=ends.device)
    points = (1 - share) * starts + share * ends + SIGMA * noise
    dropped = torch.rand(len(types), generator=generator, device=types.device) < DROPPED
    shown = types.masked_fill(dropped, velocity.no_type)
    return (velocity(points, times, shown, given) - (ends - starts)).square().mean()


def nearest_pairs(starts: NDArray[np.float32], ends: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return which start belongs to each end, so that squared distances sum to least."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    return np.asarray(linear_sum_assignment(cdist(ends, starts, "sqeuclidean"))[1], dtype=np.int64)


def paired(starts: Tensor, ends: Tensor, types: Tensor) -> Tensor:
    """Return the starts in the order that pairs them with the ends, by `nearest_pairs` within each type."""
    ordered = starts.clone()
    for code in types.unique():
        rows = (types == code).nonzero()[:, 0]
        order = torch.from_numpy(nearest_pairs(starts[rows].cpu().numpy(), ends[rows].cpu().numpy()))
        ordered[rows] = starts[rows[order.to(rows.device)]]
    return ordered


def guided(
    velocity: VelocityNetwork, types: Tensor, weight: float, *, given: Tensor | None = None
) -> Velocity:
    """Return the velocity of points of some types, v₀ + weight (v_type − v₀); 1 asks for v_type alone."""

    def of(points: Tensor, times: Tensor) -> Tensor:
        with_type = velocity(points, times, types, given)
        if weight == 1:
            return with_type
        without = velocity(points, times, torch.full_like(types, velocity.no_type), given)
        return without + weight * (with_type - without)

    return of


def solve(velocity: Velocity, starts: Tensor, *, n_steps: int) -> Tensor:
    """Carry points from time 0 to time 1 by the classical Runge–Kutta method, in equal steps.

    Parameters
    ----------
    velocity
        Velocity as a function of points and their times.
    starts
        n_points × n_dimensions.
    n_steps
        Number of steps, each of which evaluates the velocity four times.
    """
    points, step = starts, 1 / n_steps
    for number in range(n_steps):
        times = torch.full((len(points),), number * step, device=points.device, dtype=points.dtype)
        first = velocity(points, times)
        second = velocity(points + step / 2 * first, times + step / 2)
        third = velocity(points + step / 2 * second, times + step / 2)
        fourth = velocity(points + step * third, times + step)
        points = points + step / 6 * (first + 2 * second + 2 * third + fourth)
    return points
