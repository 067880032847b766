import numpy as np
import pytest
import torch
from scipy.stats import kstest, nbinom

from models.counts.likelihood import draw_entries, draw_nb, nb_log_likelihood

MEANS = np.array([0.001, 0.3, 2.0, 50.0, 900.0])
DISPERSIONS = np.array([0.05, 0.7, 3.0, 40.0])


def grid():
    counts, means, dispersions = np.meshgrid(
        np.array([0.0, 1.0, 7.0, 300.0]), MEANS, DISPERSIONS, indexing="ij"
    )
    return (torch.tensor(part, dtype=torch.float64) for part in (counts, means, dispersions))


def test_log_likelihood_is_that_of_scipy_and_of_torch_distributions():
    counts, means, dispersions = grid()
    found = nb_log_likelihood(counts, means.log(), dispersions.log())
    n, p = dispersions.numpy(), (dispersions / (dispersions + means)).numpy()
    assert found.numpy() == pytest.approx(nbinom.logpmf(counts.numpy(), n, p), rel=1e-9, abs=1e-9)
    # torch counts successes: its probs are the complement of SciPy's.
    other = torch.distributions.NegativeBinomial(dispersions, probs=means / (dispersions + means))
    assert found.numpy() == pytest.approx(other.log_prob(counts).numpy(), rel=1e-9, abs=1e-9)


def test_gradients_are_finite_at_extremes():
    log_mean = torch.tensor([-30.0, 15.0], requires_grad=True)
    log_dispersion = torch.tensor([-12.0, 12.0], requires_grad=True)
    nb_log_likelihood(torch.tensor([0.0, 3.0]), log_mean, log_dispersion).sum().backward()
    assert torch.isfinite(log_mean.grad).all()
    assert torch.isfinite(log_dispersion.grad).all()


@pytest.mark.parametrize(
    ("mean", "dispersion"),
    [(0.003, 0.01), (0.4, 0.3), (6.0, 2.0), (7.3, 0.05), (7.5, 0.05), (80.0, 25.0), (1.5, 3e6)],
)
def test_draws_have_the_frequencies_of_scipy(mean, dispersion):
    n_draws = 40_000
    log_mean = torch.full((n_draws, 1), mean).log()
    drawn = draw_nb(
        log_mean, torch.tensor([[dispersion]]).log(), generator=torch.Generator().manual_seed(4)
    ).numpy()[:, 0]
    distribution = nbinom(dispersion, dispersion / (dispersion + mean))
    assert drawn.mean() == pytest.approx(mean, abs=5 * distribution.std() / np.sqrt(n_draws))
    for count in (0, 1, round(mean), round(2 * mean)):
        expected = distribution.cdf(count)
        error = np.sqrt(expected * (1 - expected) / n_draws)
        assert (drawn <= count).mean() == pytest.approx(expected, abs=5 * error + 1e-6)


def test_no_draw_lies_beyond_the_distribution():
    """Where float32 adds up to less than the uniform number, the sum must still end in time."""
    mean, dispersion = 0.4, 0.3
    log_mean = torch.full((3_000_000,), mean).log()
    drawn = draw_nb(log_mean, torch.tensor(dispersion).log(), generator=torch.Generator().manual_seed(0))
    assert drawn.max() <= nbinom.isf(1e-10, dispersion, dispersion / (dispersion + mean))
    assert drawn.max() >= nbinom.isf(1e-4, dispersion, dispersion / (dispersion + mean))


def test_small_and_large_means_are_drawn_in_their_places():
    log_mean = torch.tensor([[-3.0, 5.0], [5.0, -3.0]]).repeat(4000, 1)
    drawn = draw_nb(log_mean, torch.tensor([[2.0, 2.0]]), generator=torch.Generator().manual_seed(2))
    means = drawn.view(-1, 2, 2).mean(dim=0).numpy()
    assert means == pytest.approx(np.exp([[-3.0, 5.0], [5.0, -3.0]]), rel=0.1)


@pytest.mark.parametrize(("mean", "dispersion"), [(0.4, 0.3), (6.0, 2.0), (80.0, 25.0)])
def test_a_count_and_its_place_make_a_uniform_number(mean, dispersion):
    """F(c - 1) + within · P(c), SciPy's F: the randomised rank of a draw from F itself is uniform."""
    n_draws = 40_000
    log_mean, log_dispersion = (
        torch.full((2, n_draws), mean).log(),
        torch.full((2, n_draws), dispersion).log(),
    )
    drawn = draw_entries(
        log_mean,
        log_dispersion,
        generator=torch.Generator().manual_seed(3),
        stays_zero=torch.tensor([[0.0], [0.5]]),
    )
    first, second = (drawn.places // n_draws == row for row in (0, 1))
    distribution = nbinom(dispersion, dispersion / (dispersion + mean))
    counts, within = drawn.counts[first].numpy(), drawn.within[first].numpy()
    assert len(counts) == n_draws
    ranks = distribution.cdf(counts - 1) + within * distribution.pmf(counts)
    assert kstest(ranks, "uniform").pvalue > 1e-4
    if mean < 7:
        # Half of the zeros of the second row are told.
        told = second.sum().item() / n_draws
        expected = 1 - distribution.pmf(0) / 2
        assert told == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / n_draws))
        assert drawn.within[second][drawn.counts[second] == 0].min() >= 0.5 - 1e-6
