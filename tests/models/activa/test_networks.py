import numpy as np
import pytest
import torch
from torch import nn

from models.activa.conditioner import ACTINN, build_conditioner
from models.activa.networks import Decoder, Encoder, build_networks
from models.activa.settings import Settings
from tests.models.activa.activa_cases import N_GENES, N_TYPES, small_networks, small_settings


class LinearConditioner(nn.Linear):
    """A conditioner from outside."""


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes_have_the_parameters_counted_by_hand():
    networks = build_networks(Settings(), n_genes=50, n_cell_types=8, seed=0)
    linear = 51 * 1024 + 1025 * 512 + 513 * 256 + 257 * 256
    assert n_parameters(networks.encoder) == linear + 2 * (1024 + 512 + 256 + 256)
    linear = 129 * 256 + 257 * 512 + 513 * 1024 + 1025 * 50
    assert n_parameters(networks.decoder) == linear + 2 * (256 + 512 + 1024)
    assert n_parameters(networks.conditioner) == 51 * 100 + 101 * 50 + 51 * 25 + 26 * 8


def test_layers_come_in_the_published_order():
    block = [nn.Linear, nn.ReLU, nn.BatchNorm1d]
    assert [type(layer) for layer in Encoder(9, (8, 7), 3).layers] == 3 * block
    decoder = Decoder(3, (7, 8), 9)
    assert [type(layer) for layer in decoder.hidden] == 2 * block
    assert [type(layer) for layer in decoder.output] == [nn.Linear, nn.ReLU]
    assert [type(layer) for layer in ACTINN(9, 4)] == 3 * [nn.Linear, nn.ReLU] + [nn.Linear]


def test_encoder_and_decoder_compute_what_numpy_computes():
    networks = small_networks().eval().double()
    rng = np.random.default_rng(0)
    cells, latent = rng.random((5, N_GENES)), rng.normal(size=(5, 4))

    def through(layers, values):
        for layer in layers:
            state = {name: tensor.detach().numpy() for name, tensor in layer.state_dict().items()}
            if isinstance(layer, nn.Linear):
                values = values @ state["weight"].T + state["bias"]
            elif isinstance(layer, nn.ReLU):
                values = np.maximum(values, 0)
            else:
                centred = (values - state["running_mean"]) / np.sqrt(state["running_var"] + 1e-5)
                values = centred * state["weight"] + state["bias"]
        return values

    encoded = through(networks.encoder.layers, cells)
    mean, log_variance = networks.encoder(torch.from_numpy(cells))
    np.testing.assert_allclose(mean.detach(), encoded[:, :4], rtol=1e-10)
    np.testing.assert_allclose(log_variance.detach(), encoded[:, 4:], rtol=1e-10)
    expected = through([*networks.decoder.hidden, *networks.decoder.output], latent)
    np.testing.assert_allclose(
        networks.decoder(torch.from_numpy(latent)).detach(), expected, rtol=1e-10, atol=1e-12
    )
    assert (expected == 0).any()


def test_actinn_is_initialised_as_its_authors_do_but_for_the_release():
    def first(objective):
        settings = small_settings(objective=objective)
        return build_networks(settings, n_genes=N_GENES, n_cell_types=N_TYPES, seed=0).conditioner[0]

    xavier = np.sqrt(6 / (N_GENES + 100))
    assert (first("paper").bias == 0.01).all()
    assert 0.95 * xavier < first("paper").weight.abs().max() <= xavier
    default = 1 / np.sqrt(N_GENES)
    assert first("release").bias.unique().numel() > 50
    assert 0.95 * default < first("release").weight.abs().max() <= default


def test_weights_follow_the_seed_and_leave_the_global_random_state_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (
        build_networks(small_settings(), n_genes=9, n_cell_types=2, seed=seed).encoder.layers[0].weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_conditioner_can_come_from_outside():
    path = f"{__name__}:LinearConditioner"
    conditioner = build_conditioner(path, 9, 4, objective="paper")
    assert type(conditioner).__name__ == "LinearConditioner"
    assert conditioner.weight.shape == (4, 9)


@pytest.mark.parametrize("name", ["nowhere.module:Class", "json:Nothing", "actin", "json:loads", ""])
def test_an_unusable_conditioner_is_named(name):
    with pytest.raises(ValueError, match=rf"^activa: conditioner='{name}' "):
        build_conditioner(name, 9, 4, objective="paper")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "batch_size=1 must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0"),
        ({"objective": "both"}, "objective='both' is not one of paper, release"),
        ({"hidden_sizes": ()}, r"hidden_sizes=\(\) must be one or more positive widths"),
        ({"confidence_threshold": 1.0}, "confidence_threshold=1.0 must be below 1"),
    ],
)
def test_settings_outside_their_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)
