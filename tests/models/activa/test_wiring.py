"""What Training hands to the objective and to Adam, and what it does with conditioners from outside."""

import copy

import pytest
import torch
from torch import nn

from models.activa import training as training_module
from models.activa.objective import encode_again, paper_gradients, release_gradients, warm_up_gradients
from models.activa.weights import Weights
from tests.models.activa.activa_cases import (
    N_GENES,
    HandAdam,
    Interrupted,
    KeepingMonitor,
    begun,
    small_batch,
    small_cells,
    small_players,
    small_settings,
)

# Powers of two, which float32 holds exactly; the margin lies between the KL terms of small networks.
UNUSUAL = {
    "learning_rate": 2**-7,
    "margin": 3.0,
    "weight_kl": 2.0,
    "weight_hinge": 4.0,
    "weight_adversarial": 8.0,
    "weight_reconstruction": 2**-9,
}


def replayed(networks, players, weights, batch, kind):
    """One step by the formulas, on networks of our own."""
    ours = small_players(networks)
    if kind == "warm_up":
        gradients, passes = warm_up_gradients(ours, batch), None
    elif kind == "paper":
        gradients, passes = paper_gradients(ours, batch, weights, margin=3.0), None
    else:
        gradients, passes = release_gradients(ours, batch, weights, margin=3.0)
    players["encoder"].step(gradients.encoder)
    again = {} if passes is None else encode_again(ours, passes, weight_adversarial=8.0)
    players["decoder"].step(gradients.decoder)
    return gradients.terms | again


@pytest.mark.parametrize("soft_adapt", [False, True])
@pytest.mark.parametrize("kind", ["warm_up", "paper", "release"])
def test_steps_are_adams_on_the_objectives_gradients(monkeypatch, kind, soft_adapt):
    objective = "release" if kind == "release" else "paper"
    training = begun(objective=objective, soft_adapt=soft_adapt, **UNUSUAL)
    training.freeze_conditioner()
    training._players = small_players(training.networks.double())
    networks = copy.deepcopy(training.networks)
    players = {
        name: HandAdam(networks.get_submodule(name).parameters(), rate=2**-7)
        for name in ("encoder", "decoder")
    }
    weights = Weights(small_settings(soft_adapt=soft_adapt, **UNUSUAL), device=torch.device("cpu"))
    batch = small_batch(networks, dtype=torch.float64)
    phase = "warm_up" if kind == "warm_up" else "adversarial"
    for number in range(4):
        batch = batch._replace(noise=batch.noise.roll(number, 0), prior=1.1 * batch.prior)
        monkeypatch.setattr(training, "_batch", lambda batch=batch: batch)
        terms = training.step(phase)
        expected = replayed(networks, players, weights, batch, kind)
        assert terms.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(terms[name], value, rtol=1e-9, atol=1e-9, msg=name)
    ours = training.networks.state_dict()
    for name, tensor in networks.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-7, atol=1e-9, msg=name)


class NoisyConditioner(nn.Sequential):
    """BatchNorm and Dropout; remembers the mode of each pass."""

    def __init__(self, n_genes, n_cell_types):
        super().__init__(nn.BatchNorm1d(n_genes), nn.Dropout(0.5), nn.Linear(n_genes, n_cell_types))
        self.modes = []

    def forward(self, cells):
        self.modes.append(self.training)
        return super().forward(cells)


class PartlyFrozenConditioner(nn.Module):
    """Its first layer is fixed, and one parameter is never used."""

    def __init__(self, n_genes, n_cell_types):
        super().__init__()
        self.fixed = nn.Linear(n_genes, 8).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))
        self.learning = nn.Linear(8, n_cell_types)

    def forward(self, cells):
        return self.learning(self.fixed(cells).relu())


class FrozenConditioner(nn.Linear):
    """As one that was trained elsewhere."""

    def __init__(self, n_genes, n_cell_types):
        super().__init__(n_genes, n_cell_types)
        self.requires_grad_(False)


def from_here(conditioner):
    return f"{__name__}:{conditioner.__name__}"


def test_a_conditioner_trains_in_train_mode_and_conditions_in_eval_mode():
    training = begun(budget="20epochs", conditioner=from_here(NoisyConditioner))
    conditioner = training.run().conditioner
    n_steps = training.steps["classifier"]
    assert n_steps == 4 and len(conditioner.modes) > 2 * n_steps
    assert conditioner.modes == [True] * n_steps + [False] * (len(conditioner.modes) - n_steps)
    assert conditioner[0].num_batches_tracked == n_steps
    cells = torch.from_numpy(small_cells()[0].toarray())
    torch.testing.assert_close(training._logits, conditioner(cells))


def test_a_conditioners_random_numbers_follow_the_seed(tmp_path, monkeypatch):
    """Whatever the global state is, which is left alone, and also after an interruption."""
    monkeypatch.setattr(training_module, "LOG_EVERY", 3)
    name = from_here(NoisyConditioner)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = begun(budget="20epochs", conditioner=name).run()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with pytest.raises(Interrupted):
        begun(
            budget="20epochs", conditioner=name, monitor=KeepingMonitor(folder=tmp_path / "state", stop_at=1)
        ).run()
    resumed = begun(
        budget="20epochs", conditioner=name, monitor=KeepingMonitor(resume_from=tmp_path / "state")
    ).run()
    for name, tensor in first.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_dropout_differs_from_step_to_step():
    training = begun(conditioner=from_here(NoisyConditioner))
    kept = []
    dropout = training.networks.conditioner[1]
    dropout.register_forward_pre_hook(lambda _, inputs: torch.ones_like(inputs[0][:10]))
    dropout.register_forward_hook(lambda _, __, out: kept.append(out != 0) or out[:1].expand(16, -1))
    for _ in range(2):
        training.step("classifier")
    assert kept[0].shape == (10, N_GENES) and not torch.equal(*kept)


def test_frozen_and_unused_parameters_of_a_conditioner_keep_their_values(tmp_path):
    name = from_here(PartlyFrozenConditioner)
    training = begun(budget="20epochs", conditioner=name)
    before = copy.deepcopy(training.networks.conditioner)
    conditioner = training.run().conditioner
    assert torch.equal(conditioner.fixed.weight, before.fixed.weight)
    assert torch.equal(conditioner.unused, before.unused)
    assert not torch.equal(conditioner.learning.weight, before.learning.weight)
    with pytest.raises(Interrupted):
        begun(
            budget="20epochs", conditioner=name, monitor=KeepingMonitor(folder=tmp_path / "state", stop_at=2)
        ).run()
    resumed = begun(
        budget="20epochs", conditioner=name, monitor=KeepingMonitor(resume_from=tmp_path / "state")
    ).run()
    assert torch.equal(resumed.conditioner.learning.weight, conditioner.learning.weight)


def test_a_wholly_frozen_conditioner_is_not_trained():
    training = begun(conditioner=from_here(FrozenConditioner), budget="4epochs")
    before = training.networks.conditioner.weight.clone()
    assert torch.equal(training.run().conditioner.weight, before)
    assert training.steps == {"classifier": 0, "warm_up": 4, "adversarial": 12}
