"""The hand-written training step against plain oracles, its precision, and what a GPU needs of it."""

import copy
import dataclasses
import warnings

import pytest
import torch
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode

from models.activa import wide
from models.activa.conditioner import ACTINN
from models.activa.networks import build_networks
from models.activa.objective import Batch, paper_gradients, release_gradients, warm_up_gradients
from models.activa.reference import PaperStep, ReleaseStep, plain_copy
from models.activa.settings import Settings
from models.activa.weights import Weights
from models.activa.wide import WideLinear, rows_on_lines, whole_rows
from tests.models.activa.activa_cases import (
    DEVICES,
    N_GENES,
    N_TYPES,
    begun,
    small_batch,
    small_networks,
    small_players,
)

ORACLES = {"paper": PaperStep, "release": ReleaseStep}


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def batches(n_batches, networks, *, device):
    """Batches of one set of cells, each with noise of its own; the last one is smaller."""
    whole = small_batch(networks, n_cells=16, dtype=next(networks.parameters()).dtype)
    for number in range(n_batches):
        n_cells = 10 if number == n_batches - 1 else 16
        batch = whole._replace(noise=whole.noise.roll(number, 0), prior=whole.prior * (1 + 0.1 * number))
        yield Batch(*(values[:n_cells].to(device) for values in batch))


def watched(optimiser):
    """Gradients that an optimiser was given in its last step."""
    gradients = []

    def watch(optimiser, args, kwargs):
        gradients[:] = [parameter.grad.clone() for parameter in optimiser.param_groups[0]["params"]]

    optimiser.register_step_pre_hook(watch)
    return gradients


def frozen_training(**changes):
    training = begun(**changes)
    training.freeze_conditioner()
    return training


def step(training, batch):
    training._batch = lambda: batch
    return training.step("adversarial")


def states(training, oracle):
    """Both sides' weights and running statistics by name."""
    for player in ("encoder", "decoder"):
        ours, theirs = (networks.get_submodule(player) for networks in (training.networks, oracle.model))
        values = zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True)
        yield from ((name, mine, other) for (name, mine), other in values)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("objective", ["paper", "release"])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_steps_are_the_oracles(objective, dtype, close, device):
    """Losses, gradients, and running statistics, over several steps of Adam.

    In float32 each step begins at the same weights: Adam moves a weight whose gradient is nothing but
    rounding as far as any other. In float64 both go their own way, and end at the same weights too.
    """
    training = frozen_training(objective=objective, precision="fp32", device=device)
    ours = training.networks.to(dtype)
    training._players = small_players(ours)
    oracle = ORACLES[objective](plain_copy(ours.encoder, ours.decoder, ours.conditioner).to(dtype))
    given = [watched(training._optimisers[player]) for player in ("encoder", "decoder")]
    due = [watched(oracle.encoder_adam), watched(oracle.generator_adam)]
    for batch in batches(8, copy.deepcopy(ours).cpu(), device=device):
        terms, expected = step(training, batch), oracle(batch.cells, batch.noise, batch.prior)
        assert terms.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(terms[name], value, rtol=1e-5, atol=1e-5, msg=name)
        for mine, other in zip([*given[0], *given[1]], [*due[0], *due[1]], strict=True):
            assert relative_error(mine, other) < close
        for name, mine, other in states(training, oracle):
            # The release's last two passes are those of an encoder that Adam has moved already.
            if "running" in name:
                assert relative_error(mine, other) < (10 * close if objective == "release" else close), name
            if dtype == torch.float32:
                other.copy_(mine)
    for name, mine, other in states(training, oracle):
        assert relative_error(mine.double(), other.double()) < close, name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(40, 300), (64, 320)])
def test_bf16_products_are_those_of_fp32_but_for_rounding(device, shape):
    """Each factor and the product are rounded by 2⁻⁹ at most, so three times that bounds the error."""
    generator = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(300, 40)
    rows, by_outputs = torch.randn(70, 300, generator=generator), torch.randn(70, 40, generator=generator)
    exact = torch.autograd.functional.vjp(
        lambda rows, weight, bias: torch.nn.functional.linear(rows, weight, bias),
        (rows, linear.weight, linear.bias),
        by_outputs,
    )
    layer = wide.WideLinear(linear.to(device), dtype=torch.bfloat16, shape=shape)
    rows = pad(rows, (0, shape[1] - 300)).to(device).bfloat16()
    by_outputs = pad(by_outputs, (0, shape[0] - 40)).to(device).bfloat16()
    outputs, by_rows = layer.forward(rows), layer.backward(by_outputs)
    assert not outputs[:, 40:].any() and not by_rows[:, 300:].any()
    found = (outputs[:, :40], by_rows[:, :300], *layer.learn(by_outputs, rows))
    for mine, wanted in zip(found, [exact[0], *exact[1]], strict=True):
        assert 1e-4 < relative_error(mine.float().cpu(), wanted) < 3 * 2**-9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["warm_up", "paper", "release"])
def test_bf16_gradients_point_where_those_of_fp32_point(kind, device):
    """Of networks that have learned something.

    BatchNorm divides by how much a unit differs between cells, but rounding is in proportion to its value: a
    unit that is nearly alike in all cells loses more digits than its products do, whichever layer rounds.
    """
    training = frozen_training(precision="fp32", device=device, learning_rate=0.005)
    for _ in range(60):
        training.step("warm_up")
    batch = training._batch()
    computed = []
    for precision in ("fp32", "bf16"):
        networks = copy.deepcopy(training.networks)
        networks.settings = dataclasses.replace(training.settings, precision=precision)
        players, weights = small_players(networks), Weights(networks.settings, device=torch.device(device))
        if kind == "warm_up":
            computed.append(warm_up_gradients(players, batch))
        elif kind == "paper":
            computed.append(paper_gradients(players, batch, weights, margin=110.0))
        else:
            computed.append(release_gradients(players, batch, weights, margin=110.0)[0])
    for name, value in computed[0].terms.items():
        torch.testing.assert_close(computed[1].terms[name], value, rtol=5e-3, atol=5e-2, msg=name)
    for player in ("encoder", "decoder"):
        theirs, ours = (torch.cat([part.flatten() for part in getattr(of, player)]) for of in computed)
        assert 0.97 < torch.cosine_similarity(ours, theirs, dim=0) < 1 - 1e-9


def test_bf16_keeps_fp32_weights_and_multiplies_by_their_present_values():
    training = frozen_training(precision="bf16")
    for batch in batches(3, copy.deepcopy(training.networks), device="cpu"):
        step(training, batch)
    players = training._players
    for layer, parameter in (
        (players.first, training.networks.encoder.layers[0].weight),
        (players.last, training.networks.decoder.output[0].weight),
    ):
        assert parameter.dtype == torch.float32 and not torch.equal(parameter, parameter.bfloat16().float())
        assert torch.equal(layer.weight, parameter.bfloat16())
    moments = training._optimisers["encoder"].state_dict()["state"][0]
    assert moments["exp_avg"].dtype == torch.float32


def test_a_cpu_without_bf16_units_is_told_of_once_and_computes_the_same(monkeypatch):
    networks = small_networks()
    batch = small_batch(networks)
    training = frozen_training(precision="bf16")
    expected = step(training, batch)
    monkeypatch.setattr(wide, "has_bf16_units", lambda device: False)
    with pytest.warns(
        UserWarning, match=r"^activa: this CPU has no bf16 units, .*; set precision=auto or fp32$"
    ):
        slow = frozen_training(precision="bf16")
    for name, term in step(slow, batch).items():
        assert torch.equal(term, expected[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen_training(precision="fp32")


class Operators(TorchDispatchMode):
    """Lists every operator that is called, with the sizes of what it is given."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        sizes = [tuple(value.shape) for value in args if isinstance(value, torch.Tensor)]
        self.calls.append((str(function), *sizes))
        return function(*args, **(kwargs or {}))


READING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal", "unique", "lift")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("soft_adapt", [False, True])
@pytest.mark.parametrize("objective", ["paper", "release"])
def test_a_step_reads_nothing_from_the_device_and_is_the_same_every_time(objective, soft_adapt, precision):
    """What a CUDA graph asks for, checked where there is no GPU."""
    training = frozen_training(objective=objective, soft_adapt=soft_adapt, precision=precision)
    lists = []
    for number, batch in enumerate(batches(4, copy.deepcopy(training.networks), device="cpu")):
        if number in (1, 2):  # After Adam has made its moments, before the smaller batch.
            training._batch = lambda batch=batch: batch
            with Operators() as operators:
                training.step("adversarial")
            lists.append(operators.calls)
        else:
            step(training, batch)
    assert lists[0] == lists[1] and len(lists[0]) > 100
    names = {call[0].split(".")[1] for call in lists[0]}
    assert not names & set(READING)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("objective", ["paper", "release"])
def test_gradients_need_no_value_at_all(objective, precision):
    """Tensors on the meta device have sizes and no values: whatever asked for one would fail."""
    settings = Settings(precision=precision, soft_adapt=True)
    networks = build_networks(settings, n_genes=N_GENES, n_cell_types=N_TYPES, seed=0).to("meta")
    assert isinstance(networks.conditioner.eval().requires_grad_(False), ACTINN)
    sizes = (N_GENES, N_TYPES, settings.latent_dim, settings.latent_dim)
    batch = Batch(*(torch.empty(16, size, device="meta") for size in sizes))
    players, weights = small_players(networks), Weights(settings, device=torch.device("meta"))
    if objective == "paper":
        gradients = paper_gradients(players, batch, weights, margin=110.0)
    else:
        gradients, _ = release_gradients(players, batch, weights, margin=110.0)
    for player in ("encoder", "decoder"):
        parameters = networks.get_submodule(player).parameters()
        shapes = [gradient.shape for gradient in getattr(gradients, player)]
        assert shapes == [parameter.shape for parameter in parameters]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("soft_adapt", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("objective", ["paper", "release"])
def test_a_recorded_step_is_the_eager_one(objective, precision, soft_adapt):
    changes = {"objective": objective, "precision": precision, "soft_adapt": soft_adapt, "device": "cuda"}
    recorded, eager = frozen_training(**changes), frozen_training(**changes)
    eager._updates = {"adversarial": eager._play if objective == "paper" else eager._play_as_released}
    whole, *others = list(batches(9, copy.deepcopy(eager.networks).cpu(), device="cuda"))
    for batch in [whole, *others, whole, *others]:  # A smaller batch comes between recorded ones.
        terms = {name: term.clone() for name, term in step(recorded, batch).items()}
        for name, term in step(eager, batch).items():
            torch.testing.assert_close(terms[name], term, rtol=1e-4, atol=1e-4, msg=name)
    theirs = eager.networks.state_dict()
    for name, tensor in recorded.networks.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("dtype", "n_columns", "stride"),
    [
        (torch.float32, 50, 64),
        (torch.float32, 64, 64),
        (torch.float64, 50, 56),
        (torch.bfloat16, 50, 50),
    ],
)
def test_rows_of_products_begin_lines_of_the_cache(dtype, n_columns, stride):
    rows = rows_on_lines((5, n_columns), dtype=dtype, device=torch.device("cpu"))
    assert rows.shape == (5, n_columns) and rows.stride() == (stride, 1) and rows.data_ptr() % 64 == 0
    rows[:3] = 1
    whole = whole_rows(rows[:3])
    assert whole.shape == (3, stride) and whole.is_contiguous() and whole.sum() == 3 * n_columns


@pytest.mark.parametrize("n_genes", [50, 64])
def test_gradients_of_a_wide_layer_are_those_of_autograd(n_genes):
    torch.manual_seed(0)
    linear = torch.nn.Linear(n_genes, 7)
    wide = WideLinear(linear, dtype=torch.float32, shape=(7, n_genes))
    cells, by_outputs = torch.randn(5, n_genes), torch.randn(5, 7)
    expected = torch.autograd.grad(linear(cells), list(linear.parameters()), by_outputs)
    for _ in range(2):  # The memory is used again.
        gradients = wide.learn(by_outputs, cells)
        for gradient, of_autograd in zip(gradients, expected, strict=True):
            assert gradient.is_contiguous()
            torch.testing.assert_close(gradient, of_autograd)
