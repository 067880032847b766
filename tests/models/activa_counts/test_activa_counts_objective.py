import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from models.activa_counts.objective import Networks, losses
from models.activa_counts.settings import Settings
from models.activa_counts.training import rate_share
from models.counts.training import Batch

N_GENES = 6


def setting(**changes):
    return Settings(latent_dim=3, hidden_sizes=(8, 5), **changes)


def networks():
    torch.manual_seed(3)
    made = Networks(setting(), n_genes=N_GENES, n_types=2)
    counts = np.arange(1, N_GENES + 1)
    made.start_at(counts, np.array([3.0, 3.5, 4.0]))
    return made


def batch(n_cells=12):
    rng = np.random.default_rng(0)
    counts = torch.tensor(rng.poisson(4.0, (n_cells, N_GENES)), dtype=torch.float32)
    return Batch(counts, torch.arange(n_cells) % 2, torch.arange(n_cells))


def found(made, settings, kl_share=1.0):
    return losses(made, batch(), settings, kl_share=kl_share, noise=torch.Generator().manual_seed(1))


def gradients(loss, module):
    parts = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat([part.ravel() for part in parts if part is not None])


def test_reconstruction_is_scipys_likelihood_of_the_decoded_means():
    made = networks()
    terms = found(made, setting()).terms
    cells = batch()
    with torch.no_grad():
        totals = cells.counts.sum(dim=1)
        mean, log_variance = made.encoder(torch.log1p(cells.counts / totals[:, None] * 1e4))
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
        latent = mean + torch.exp(log_variance / 2) * noise
        library = made.standardised(totals.log())
        means = made.log_shares(latent, library).exp().double() * totals[:, None]
        theta = made.decoder.log_dispersion(cells.types).exp().double()
    expected = -nbinom.logpmf(cells.counts, theta, theta / (theta + means)).sum(axis=1).mean()
    assert terms["reconstruction"].item() == pytest.approx(expected, rel=1e-5)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, torch.exp(log_variance / 2)), torch.distributions.Normal(0.0, 1.0)
    )
    assert terms["kl"].item() == pytest.approx(kl.sum(dim=1).mean().item(), rel=1e-5)


def test_the_decoder_begins_with_the_genes_mean_shares():
    made = networks()
    torch.nn.init.zeros_(made.decoder.output.weight)
    shares = made.log_shares(torch.zeros(1, 3), torch.zeros(1)).exp()[0].detach().numpy()
    expected = np.arange(1, N_GENES + 1) + 0.5
    assert shares == pytest.approx(expected / expected.sum(), rel=1e-5)


def test_the_game_reaches_the_decoder_and_pulls_the_players_apart():
    """The adversarial term must change the generator's gradient, and leave the encoder's to the encoder."""
    made = networks()
    plain, game = found(made, setting()), found(made, setting(weight_adversarial=0.5, margin=1e3))
    assert not torch.allclose(gradients(plain.decoder, made.decoder), gradients(game.decoder, made.decoder))
    terms = game.terms
    both = terms["kl_reconstructed"] + terms["kl_generated"]
    assert game.decoder.item() == pytest.approx((terms["reconstruction"] + 0.5 * both).item(), rel=1e-6)
    hinges = 2e3 - both
    expected = terms["reconstruction"] + terms["kl"] + 0.5 * hinges
    assert game.encoder.item() == pytest.approx(expected.item(), rel=1e-6)
    # In the encoder's loss the decoder's cells are given.
    alone = game.encoder - terms["reconstruction"] - terms["kl"]
    parts = torch.autograd.grad(alone, list(made.decoder.parameters()), allow_unused=True)
    assert all(part is None or not part.any() for part in parts)


def test_the_conditioner_pulls_reconstructions_towards_its_own_call():
    made = networks()
    plain, conditioned = found(made, setting()), found(made, setting(weight_conditioning=2.0))
    added = conditioned.decoder - plain.decoder
    assert added.item() == pytest.approx(2 * conditioned.terms["conditioning"].item(), rel=1e-4)
    assert not torch.allclose(
        gradients(plain.decoder, made.decoder), gradients(conditioned.decoder, made.decoder)
    )


def test_the_kl_counts_as_far_as_it_has_risen():
    made = networks()
    half, whole = found(made, setting(), kl_share=0.5), found(made, setting(), kl_share=1.0)
    assert (whole.encoder - half.encoder).item() == pytest.approx(0.5 * whole.terms["kl"].item(), rel=1e-4)


def test_the_rate_rises_then_falls_to_nothing():
    assert [rate_share(f) for f in (0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=1e-9)
