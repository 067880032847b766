"""The plain transcription of ACTIVA, against NumPy in double precision and properties of Adam."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.activa.floors import PRODUCTS
from models.activa.networks import build_networks
from models.activa.reference import (
    PaperStep,
    PlainActiva,
    ReleaseStep,
    plain_copy,
    release_loader,
    sample_plainly,
    sample_type_plainly,
)
from models.activa.settings import Settings

N_GENES, N_TYPES, LATENT = 30, 3, 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PlainActiva(N_GENES, N_TYPES, hidden_sizes=(12, 8), latent_dim=LATENT).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    cells = 5 * torch.rand(16, N_GENES, generator=generator, dtype=torch.double)
    noise, prior = torch.randn(2, 16, LATENT, generator=generator, dtype=torch.double)
    return cells, noise, prior


def forward(layers, values):
    """Linear, ReLU and BatchNorm by the batch's own statistics, in NumPy."""
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        elif isinstance(layer, torch.nn.ReLU):
            values = np.maximum(values, 0)
        else:
            values = (values - values.mean(axis=0)) / np.sqrt(values.var(axis=0) + 1e-5)
    return values


def kl(encoded):
    mean, log_variance = np.split(encoded, 2, axis=1)
    return (
        np.mean(0.5 * np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance, axis=1)),
        mean,
        log_variance,
    )


def numpy_terms(model, batch, *, half):
    """Terms of both losses that need no optimiser, with the margin at 30 nats."""
    cells, noise, prior = (part.numpy() for part in batch)
    terms = {}
    terms["encoder_kl"], mean, log_variance = kl(forward(model.encoder, cells))
    reconstructed = forward(model.decoder, mean + np.exp(log_variance / 2) * noise)
    fakes = {"reconstructed": reconstructed, "generated": forward(model.decoder, prior)}
    of_fakes = {name: kl(forward(model.encoder, fake))[0] for name, fake in fakes.items()}
    terms |= {f"encoder_hinge_{name}": max(0, 30 - value) for name, value in of_fakes.items()}
    terms["reconstruction"] = np.sum((cells - reconstructed) ** 2) / 16
    logits = [forward(model.classifier, values) for values in (cells, reconstructed)]
    terms["conditioning"] = np.sum((logits[0] - logits[1]) ** 2) * half
    fidelity = 0.05 * (terms["reconstruction"] + terms["conditioning"])
    hinges = terms["encoder_hinge_reconstructed"] + terms["encoder_hinge_generated"]
    terms["encoder_loss"] = terms["encoder_kl"] + 0.25 * hinges + fidelity
    return terms, of_fakes, fidelity


@pytest.mark.parametrize(("kind", "half"), [(PaperStep, 0.5), (ReleaseStep, 1.0)])
def test_the_terms_of_the_encoders_loss_are_those_of_numpy(model, batch, kind, half):
    expected, _, _ = numpy_terms(model, batch, half=half)
    terms = kind(model, margin=30.0)(*batch)
    assert min(expected["encoder_hinge_reconstructed"], expected["encoder_hinge_generated"]) > 0
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-10), name


def test_the_papers_generator_is_told_by_the_encoder_at_the_same_weights(model, batch):
    _, of_fakes, fidelity = numpy_terms(model, batch, half=0.5)
    terms = PaperStep(model, margin=30.0)(*batch)
    for name, value in of_fakes.items():
        assert float(terms[f"generator_kl_{name}"]) == pytest.approx(value, rel=1e-10)
    expected = 0.5 * sum(of_fakes.values()) + fidelity
    assert float(terms["generator_loss"]) == pytest.approx(expected, rel=1e-10)


def test_the_generator_learns_reconstruction_and_conditioning_alone(model, batch):
    cells, noise, prior = batch
    step = ReleaseStep(model)
    mean, log_variance = model.encode(cells)
    model.decoder(prior)
    reconstructed = model.decoder(mean + torch.exp(log_variance / 2) * noise)
    fidelity = (cells - reconstructed).square().sum() / 16
    fidelity = fidelity + (model.classifier(cells) - model.classifier(reconstructed)).square().sum()
    expected = torch.autograd.grad(0.05 * fidelity, list(model.decoder.parameters()))
    step(*batch)
    for parameter, gradient in zip(model.decoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_first_step_of_adam_moves_every_weight_by_the_learning_rate(model, batch):
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = ReleaseStep(model, margin=30.0)
    step(*batch)
    for name, parameter in model.named_parameters():
        moved = (parameter.detach() - before[name]).abs()
        if name.startswith("classifier"):
            assert moved.max() == 0
        else:
            learning = moved > 0
            assert learning.any(), name
            assert moved[learning].median() == pytest.approx(2e-4, rel=1e-3), name


def test_the_passes_are_as_many_as_the_release_makes(model, batch):
    ReleaseStep(model)(*batch)
    assert int(model.encoder[2].num_batches_tracked) == 5
    assert int(model.decoder[2].num_batches_tracked) == 2


class Products(TorchDispatchMode):
    """Counts matrix products between genes and the hidden layer beside them."""

    def __init__(self, n_genes, hidden):
        super().__init__()
        self.sizes, self.count = {n_genes, hidden}, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function._schema.name
        if name in ("aten::mm", "aten::addmm"):
            left, right = args[-2:]
            self.count[name] += {*left.shape, *right.shape} >= self.sizes
        return result


def test_the_release_makes_fourteen_products_of_which_two_need_not_be(batch):
    model = PlainActiva(N_GENES, N_TYPES, hidden_sizes=(13, 8), latent_dim=LATENT).double()
    step = ReleaseStep(model)
    with Products(N_GENES, 13) as products:
        step(*batch)
    assert products.count.total() == 14 == sum(PRODUCTS["release"].values()) + 2
    assert sum(PRODUCTS["paper"].values()) == 15


def test_a_copy_of_activas_networks_computes_the_same():
    networks = build_networks(
        Settings(latent_dim=4, hidden_sizes=(12, 8)), n_genes=30, n_cell_types=3, seed=0
    )
    cells = torch.rand(20, 30)
    networks.encoder(cells)
    plain = plain_copy(networks.encoder, networks.decoder, networks.conditioner).eval()
    networks.eval()
    for ours, theirs in zip(plain.encode(cells), networks.encoder(cells), strict=True):
        assert torch.equal(ours, theirs)
    latent = torch.randn(20, 4)
    assert torch.equal(plain.decoder(latent), networks.decoder(latent))
    assert torch.equal(plain.classifier(cells), networks.conditioner(cells))


def test_a_copy_refuses_networks_of_another_architecture(model):
    other = torch.nn.Sequential(*model.encoder, torch.nn.Linear(8, 8))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        plain_copy(other, model.decoder, model.classifier)


def test_plain_samples_are_the_decoded_draws():
    torch.manual_seed(0)
    model = PlainActiva(N_GENES, N_TYPES, hidden_sizes=(12, 8), latent_dim=LATENT).eval()
    generator = torch.Generator().manual_seed(5)
    latent = [torch.randn(size, LATENT, generator=generator) for size in (128, 128, 44)]
    with torch.no_grad():
        cells = torch.cat([model.decoder(part) for part in latent])
        calls = model.classifier(cells).argmax(dim=1)
    np.testing.assert_array_equal(sample_plainly(model, 300, seed=5).toarray(), cells.numpy())
    common = int(calls.mode().values)
    of_type = sample_type_plainly(model, common, 300, seed=5)
    np.testing.assert_array_equal(of_type.toarray(), cells[calls == common].numpy())


def test_the_loader_gives_every_cell_once_an_epoch_with_its_type():
    cells = np.arange(300, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    batches = list(release_loader(cells, np.arange(300) % 7, seed=0))
    assert [len(types) for _, types in batches] == [128, 128, 44]
    numbers = torch.cat([rows[:, 0] for rows, _ in batches])
    assert not torch.equal(numbers, torch.arange(300.0))
    assert torch.equal(numbers.sort().values, torch.arange(300.0))
    assert torch.equal(torch.cat([types for _, types in batches]), numbers.long() % 7)
