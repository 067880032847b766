import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from models.counts.flow import (
    SIGMA,
    VelocityNetwork,
    antithetic_times,
    guided,
    matching_loss,
    nearest_pairs,
    paired,
    sinusoidal,
    solve,
)

MEAN, DEVIATION = torch.tensor([1.5, -1.0]), torch.tensor([0.5, 1.2])


def between_gaussians(points: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The velocity of straight paths from N(0, I) to N(mean, diag(deviation²)), in closed form.

    E[x₁ − x₀ | x_t] with x_t = (1 − t) x₀ + t x₁: jointly normal, so the mean plus covariance over variance.
    """
    t = times[:, None]
    slope = (t * DEVIATION**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * DEVIATION**2)
    return MEAN + slope * (points - t * MEAN)


@pytest.mark.slow
def test_the_velocity_between_gaussians_is_learnt():
    torch.manual_seed(0)
    network = VelocityNetwork(2, 1, width=64, n_blocks=2)
    adam = torch.optim.Adam(network.parameters(), lr=2e-3)
    noise = torch.Generator().manual_seed(1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 1200)
    for _ in range(1200):
        starts, ends = (torch.randn((512, 2), generator=noise) for _ in range(2))
        times = antithetic_times(512, generator=noise, device=starts.device)
        types = torch.zeros(512, dtype=torch.long)
        loss = matching_loss(network, starts, MEAN + DEVIATION * ends, times, types, generator=noise)
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    with torch.inference_mode():
        times = torch.rand(4000, generator=noise)
        points = (1 - times[:, None]) * torch.randn((4000, 2), generator=noise)
        points += times[:, None] * (MEAN + DEVIATION * torch.randn((4000, 2), generator=noise))
        for code in (0, network.no_type):
            learnt = network(points, times, torch.full((4000,), code))
            error = (learnt - between_gaussians(points, times)).square().mean().sqrt()
            assert error < 0.15
        drawn = solve(guided(network, types.new_zeros(4000), 1.0), torch.randn((4000, 2)), n_steps=20)
    assert drawn.mean(dim=0).numpy() == pytest.approx(MEAN.numpy(), abs=0.1)
    assert drawn.std(dim=0).numpy() == pytest.approx(DEVIATION.numpy(), abs=0.1)


def test_the_solver_maps_gaussian_to_gaussian_as_the_closed_form_does():
    """Every point x₀ goes to mean + deviation × x₀."""
    starts = torch.randn((500, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = solve(between_gaussians, starts, n_steps=20)
    assert (ends - (MEAN + DEVIATION * starts)).abs().max() < 1e-3


def test_fixed_steps_give_the_points_of_dopri5():
    """Against SciPy's Dormand-Prince 5(4) at 1e-5, with a network of random weights."""
    torch.manual_seed(0)
    network = VelocityNetwork(5, 3, width=32, n_blocks=3).double()
    for parameter in network.parameters():
        # Larger than at the start of a training: the velocity bends.
        parameter.data *= 1.5
    types = torch.arange(40) % 3
    velocity = guided(network, types, 1.0)
    starts = torch.randn((40, 5), dtype=torch.float64)

    def right_side(time, flat):
        points = torch.from_numpy(flat.reshape(40, 5))
        return velocity(points, torch.full((40,), time, dtype=torch.float64)).numpy().ravel()

    with torch.inference_mode():
        expected = solve_ivp(right_side, (0, 1), starts.numpy().ravel(), method="RK45", rtol=1e-5, atol=1e-5)
        ours = solve(velocity, starts, n_steps=20)
    assert np.abs(expected.y[:, -1] - starts.numpy().ravel()).max() > 0.3
    assert ours.numpy().ravel() == pytest.approx(expected.y[:, -1], abs=1e-3)


def test_the_loss_is_the_squared_error_on_straight_paths():
    seen = {}

    class Zero(VelocityNetwork):
        def forward(self, points, times, types, given=None):
            seen.update(points=points, types=types)
            return torch.zeros_like(points)

    noise = torch.Generator().manual_seed(0)
    starts, ends = torch.randn((3000, 2), generator=noise), torch.randn((3000, 2), generator=noise)
    times, types = torch.linspace(0, 1, 3000), torch.ones(3000, dtype=torch.long)
    loss = matching_loss(Zero(2, 2, width=4, n_blocks=1), starts, ends, times, types, generator=noise)
    assert float(loss) == pytest.approx(float((ends - starts).square().mean()), rel=1e-6)
    path = (1 - times[:, None]) * starts + times[:, None] * ends
    off = seen["points"] - path
    assert float(off.std()) == pytest.approx(SIGMA, rel=0.05)
    assert float((seen["types"] == 2).float().mean()) == pytest.approx(0.2, abs=0.03)
    assert set(seen["types"].tolist()) == {1, 2}


def test_times_come_in_pairs_around_one_half():
    times = antithetic_times(7, generator=torch.Generator().manual_seed(0), device=torch.device("cpu"))
    assert len(times) == 7
    assert (times[:3] + times[4:]).numpy() == pytest.approx(1.0)


def test_embedded_times_are_sines_and_cosines():
    row = sinusoidal(torch.tensor([0.25]))[0]
    assert row.shape == (100,)
    assert row[[0, 50]].numpy() == pytest.approx([np.sin(2.5), np.cos(2.5)], abs=1e-5)
    assert row[[49, 99]].numpy() == pytest.approx([np.sin(0.025), np.cos(0.025)], abs=1e-5)
    assert row[24].item() == pytest.approx(np.sin(0.25 * 10 * 100 ** (-24 / 49)), abs=1e-5)


def test_pairs_have_the_least_squared_distances_of_all():
    """Against every pairing of five points."""
    rng = np.random.default_rng(0)
    starts, ends = rng.normal(size=(5, 2)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)

    def cost(order):
        return np.square(starts[list(order)] - ends).sum()

    best = min(itertools.permutations(range(5)), key=cost)
    assert nearest_pairs(starts, ends).tolist() == list(best)


def test_noise_is_paired_within_types_only():
    starts = torch.tensor([[0.0], [10.0], [0.0], [10.0]])
    ends, types = torch.tensor([[9.0], [1.0], [2.0], [8.0]]), torch.tensor([0, 0, 1, 1])
    assert paired(starts, ends, types)[:, 0].tolist() == [10.0, 0.0, 0.0, 10.0]
    # Types that hold one end of the line each cannot swap.
    assert paired(starts, ends, torch.tensor([0, 1, 0, 1]))[:, 0].tolist() == [0.0, 10.0, 0.0, 10.0]


def test_what_is_given_of_a_cell_enters_its_velocity_alone():
    torch.manual_seed(0)
    network = VelocityNetwork(2, 1, width=8, n_blocks=1, n_given=1)
    points, times, types = torch.randn((3, 2)), torch.rand(3), torch.zeros(3, dtype=torch.long)
    first, second = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [-2.0]])
    one, other = (guided(network, types, 1.0, given=given)(points, times) for given in (first, second))
    assert torch.equal(one[:2], other[:2])
    assert not torch.allclose(one[2], other[2])


def test_guidance_weighs_the_type_against_none():
    torch.manual_seed(0)
    network = VelocityNetwork(2, 2, width=8, n_blocks=1)
    points, times, types = torch.randn((6, 2)), torch.rand(6), torch.tensor([0, 1] * 3)
    with_type, without = network(points, times, types), network(points, times, torch.full((6,), 2))
    for weight in (0.0, 1.0, 2.5):
        expected = (without + weight * (with_type - without)).detach().numpy()
        ours = guided(network, types, weight)(points, times).detach().numpy()
        assert ours == pytest.approx(expected, abs=1e-6)
