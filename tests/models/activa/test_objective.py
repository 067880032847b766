"""Our fused computation against a plain oracle: each player's loss from the formulas, a graph of its own."""

import copy

import pytest
import torch
from torch.distributions import Normal
from torch.distributions.kl import kl_divergence as torch_kl

from models.activa import players as players_module
from models.activa.objective import (
    encode_again,
    forward_passes,
    paper_gradients,
    release_gradients,
    warm_up_gradients,
)
from models.activa.weights import Weights
from tests.models.activa.activa_cases import (
    DEVICES,
    N_GENES,
    small_batch,
    small_networks,
    small_players,
    small_settings,
)


def weights_of(*, device="cpu", **changes):
    """Weights that float32 holds exactly, so that float64 gradients can be compared closely."""
    settings = small_settings(weight_reconstruction=0.0625, **changes)
    return Weights(settings, device=torch.device(device))


def kl(encoded):
    mean, log_variance = encoded
    return torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()


def gradients_of(loss, module):
    """Gradients by plain backward, read from the parameters."""
    module.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def decoded(networks, batch):
    mean, log_variance = networks.encoder(batch.cells)
    return (mean, log_variance), networks.decoder(mean + torch.exp(0.5 * log_variance) * batch.noise)


def fidelity(networks, batch, reconstructed, half=0.5):
    squared = ((batch.cells - reconstructed) ** 2).sum() / len(batch.cells)
    return squared + half * ((batch.logits - networks.conditioner(reconstructed)) ** 2).sum()


def oracle_encoder_loss(networks, batch, margin, *, half=0.5):
    posterior, reconstructed = decoded(networks, batch)
    generated = networks.decoder(batch.prior)
    fooled = [kl(networks.encoder(cells.detach())) for cells in (reconstructed, generated)]
    game = sum(torch.clamp(margin - value, min=0) for value in fooled)
    return kl(posterior) + 0.25 * game + 0.0625 * fidelity(networks, batch, reconstructed, half)


def oracle_generator_loss(networks, batch):
    _, reconstructed = decoded(networks, batch)
    generated = networks.decoder(batch.prior)
    game = kl(networks.encoder(reconstructed)) + kl(networks.encoder(generated))
    return 0.5 * game + 0.0625 * fidelity(networks, batch, reconstructed)


def margin_of(networks, batch, active):
    """A margin that leaves both, one or none of the hinges active."""
    players = small_players(copy.deepcopy(networks))
    passes = forward_passes(players, batch, open_generator=True, halved=True)
    low, high = sorted(kl.item() for kl in passes.kls)
    assert high - low > 1e-6
    return {"both": high + 1, "one": (low + high) / 2, "none": low / 2}[active]


def assert_same(ours, theirs, *, rtol=1e-9):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=rtol, atol=1e-10)


@pytest.fixture(params=[N_GENES, N_GENES + 14], ids=["genes", "genes and zeros"])
def networks(request, monkeypatch):
    monkeypatch.setattr(players_module, "product_width", lambda *_, **__: request.param)
    return small_networks().double()


@pytest.fixture
def batch(networks):
    return small_batch(networks, dtype=torch.float64)


@pytest.mark.parametrize("active", ["both", "one", "none"])
def test_paper_gradients_are_those_of_two_separate_losses(networks, batch, active):
    margin = margin_of(networks, batch, active)
    encoder_loss = oracle_encoder_loss(networks, batch, margin)
    of_encoder = gradients_of(encoder_loss, networks.encoder)
    generator_loss = oracle_generator_loss(networks, batch)
    of_decoder = gradients_of(generator_loss, networks.decoder)
    ours = paper_gradients(small_players(networks), batch, weights_of(), margin=margin)
    assert_same(ours.encoder, of_encoder)
    assert_same(ours.decoder, of_decoder)
    assert ours.terms["encoder_loss"].item() == pytest.approx(encoder_loss.item(), rel=1e-10)
    assert ours.terms["generator_loss"].item() == pytest.approx(generator_loss.item(), rel=1e-10)


@pytest.mark.parametrize("active", ["both", "one", "none"])
def test_release_gradients_are_what_one_backward_of_the_encoders_loss_leaves(networks, batch, active):
    margin = margin_of(networks, batch, active)
    loss = oracle_encoder_loss(networks, batch, margin, half=1.0)
    networks.decoder.zero_grad()
    of_encoder = gradients_of(loss, networks.encoder)
    of_decoder = [parameter.grad.clone() for parameter in networks.decoder.parameters()]
    ours, _ = release_gradients(small_players(networks), batch, weights_of(), margin=margin)
    assert_same(ours.encoder, of_encoder)
    assert_same(ours.decoder, of_decoder)
    assert ours.terms["encoder_loss"].item() == pytest.approx(loss.item(), rel=1e-10)


def test_terms_are_those_of_the_formulas(networks, batch):
    margin = margin_of(networks, batch, "one")
    terms = paper_gradients(small_players(networks), batch, weights_of(), margin=margin).terms
    posterior, reconstructed = decoded(networks, batch)
    fooled = [kl(networks.encoder(cells)).item() for cells in (reconstructed, networks.decoder(batch.prior))]
    squared = ((batch.cells - reconstructed) ** 2).sum(dim=1).mean().item()
    logits = networks.conditioner(reconstructed)
    expected = {
        "encoder_kl": kl(posterior).item(),
        "encoder_hinge_reconstructed": max(0, margin - fooled[0]),
        "encoder_hinge_generated": max(0, margin - fooled[1]),
        "generator_kl_reconstructed": fooled[0],
        "generator_kl_generated": fooled[1],
        "reconstruction": squared,
        "conditioning": ((batch.logits - logits) ** 2).sum().item() / 2,
    }
    losses = {"encoder_loss", "generator_loss"}
    assert {name: terms[name].item() for name in terms.keys() - losses} == pytest.approx(expected, abs=1e-9)
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize("device", DEVICES)
def test_the_adversarial_term_reaches_the_generator_with_the_papers_objective_only(device):
    def decoder_gradients(objective, weight_adversarial):
        networks = small_networks().to(device)
        batch = small_batch(small_networks())
        batch = type(batch)(*(tensor.to(device) for tensor in batch))
        weights = weights_of(weight_adversarial=weight_adversarial, device=device)
        if objective == "paper":
            return paper_gradients(small_players(networks), batch, weights, margin=110.0).decoder
        return release_gradients(small_players(networks), batch, weights, margin=110.0)[0].decoder

    for with_game, without in zip(
        decoder_gradients("paper", 64.0), decoder_gradients("paper", 0.0), strict=True
    ):
        assert (with_game - without).norm() > 1e-3 * without.norm()
    for with_game, without in zip(
        decoder_gradients("release", 64.0), decoder_gradients("release", 0.0), strict=True
    ):
        assert torch.equal(with_game, without)


def test_the_hinge_pushes_the_encoder_away_and_not_at_all_beyond_the_margin(networks, batch):
    def encoder_gradients(margin, weight_hinge):
        weights = weights_of(weight_hinge=weight_hinge)
        return paper_gradients(small_players(copy.deepcopy(networks)), batch, weights, margin=margin).encoder

    beyond = margin_of(networks, batch, "none")
    assert_same(encoder_gradients(beyond, 0.25), encoder_gradients(beyond, 0.0))
    below = margin_of(networks, batch, "both")
    change = [
        a - b for a, b in zip(encoder_gradients(below, 0.25), encoder_gradients(below, 0.0), strict=True)
    ]
    cells = [values.detach() for values in (decoded(networks, batch)[1], networks.decoder(batch.prior))]
    fooled = sum(kl(networks.encoder(values)) for values in cells)
    upwards = torch.autograd.grad(fooled, list(networks.encoder.parameters()))
    assert_same(change, [-0.25 * gradient for gradient in upwards], rtol=1e-6)


def test_soft_adapt_multiplies_each_players_terms(networks, batch):
    """In a second step whose terms have changed, gradients are the factor-weighted sums of single terms'."""
    weights = weights_of(soft_adapt=True)
    margin = margin_of(networks, batch, "one")
    paper_gradients(small_players(networks), batch, weights, margin=margin)
    other = batch._replace(noise=-batch.noise, prior=batch.prior.flip(0) * 1.5)
    shadow = copy.deepcopy(weights)
    ours = paper_gradients(small_players(networks), other, weights, margin=margin)
    terms = ours.terms
    hinges = terms["encoder_hinge_reconstructed"] + terms["encoder_hinge_generated"]
    shared = [terms["reconstruction"], terms["conditioning"]]
    of_encoder = shadow.of("encoder", torch.stack([terms["encoder_kl"], hinges, *shared]))
    kls = terms["generator_kl_reconstructed"] + terms["generator_kl_generated"]
    of_generator = shadow.of("generator", torch.stack([kls, *shared]))
    assert of_encoder[2] != of_encoder[3] and of_encoder[2] != of_generator[1]

    posterior, reconstructed = decoded(networks, other)
    generated = networks.decoder(other.prior)
    squared = ((other.cells - reconstructed) ** 2).sum() / len(other.cells)
    logits = ((other.logits - networks.conditioner(reconstructed)) ** 2).sum() / 2
    fooled = [kl(networks.encoder(cells.detach())) for cells in (reconstructed, generated)]
    hinges = sum(torch.clamp(margin - value, min=0) for value in fooled)
    parts = torch.stack([kl(posterior), hinges, squared, logits])
    game = kl(networks.encoder(reconstructed)) + kl(networks.encoder(generated))
    against = torch.stack([game, squared, logits])
    decoder = list(networks.decoder.parameters())
    of_decoder = torch.autograd.grad((of_generator * against).sum(), decoder, retain_graph=True)
    assert_same(ours.decoder, list(of_decoder), rtol=1e-6)
    assert_same(ours.encoder, gradients_of((of_encoder * parts).sum(), networks.encoder), rtol=1e-6)


def running_mean(means):
    running = torch.zeros_like(means[0])
    for mean in means:
        running = 0.9 * running + 0.1 * mean
    return running


@pytest.mark.parametrize(("objective", "encoder_passes"), [("paper", 3), ("release", 5)])
def test_batchnorm_sees_every_pass_by_itself(objective, encoder_passes):
    networks = small_networks()
    batch = small_batch(networks)
    first = networks.encoder.layers[:2]
    with torch.no_grad():
        untouched = copy.deepcopy(networks)
        reconstructed = decoded(untouched, batch)[1]
        seen = [batch.cells, reconstructed, untouched.decoder(batch.prior)]
        means = [first(cells).mean(dim=0) for cells in seen]
        mean, log_variance = untouched.encoder(batch.cells)
        latents = [batch.prior, mean + (log_variance / 2).exp() * batch.noise]  # x_g comes first
        decoded_means = [networks.decoder.hidden[:2](latent).mean(dim=0) for latent in latents]
    if objective == "paper":
        paper_gradients(small_players(networks), batch, weights_of(), margin=110.0)
    else:
        players = small_players(networks)
        _, passes = release_gradients(players, batch, weights_of(), margin=110.0)
        encode_again(players, passes, weight_adversarial=0.5)
        means += means[1:]
    norm = networks.encoder.layers[2]
    torch.testing.assert_close(norm.running_mean, running_mean(means), rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == encoder_passes
    norm = networks.decoder.hidden[2]
    torch.testing.assert_close(norm.running_mean, running_mean(decoded_means), rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == 2


def test_the_release_encodes_again_with_the_stepped_encoder(networks, batch):
    players = small_players(networks)
    _, passes = release_gradients(players, batch, weights_of(), margin=110.0)
    before = [decoded(networks, batch)[1], networks.decoder(batch.prior)]
    with torch.no_grad():
        for parameter in networks.encoder.parameters():
            parameter *= 1.1
    players.first.refresh()
    terms = encode_again(players, passes, weight_adversarial=0.5)
    fooled = [kl(networks.encoder(cells)).item() for cells in before]
    assert terms["generator_kl_reconstructed"].item() == pytest.approx(fooled[0])
    assert fooled[0] != pytest.approx(passes.kls[0].item())
    assert terms["generator_loss"].item() == pytest.approx(0.5 * sum(fooled))


def test_warm_up_is_a_plain_vae(networks, batch):
    posterior, reconstructed = decoded(networks, batch)
    loss = kl(posterior) + ((batch.cells - reconstructed) ** 2).sum(dim=1).mean()
    networks.decoder.zero_grad()
    of_encoder = gradients_of(loss, networks.encoder)
    of_decoder = [parameter.grad for parameter in networks.decoder.parameters()]
    ours = warm_up_gradients(small_players(networks), batch)
    assert_same(ours.encoder, of_encoder)
    assert_same(ours.decoder, of_decoder)
