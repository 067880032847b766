import copy
from itertools import count

import numpy as np
import pytest
import torch

import models.base
from models.activa import training as training_module
from models.activa.batchnorm import estimate_on_prior
from models.activa.conditioner import classifier_learning_rate
from models.activa.sampling import sample_cells
from models.activa.training import train
from models.base import Budget, Diverged
from tests.models.activa.activa_cases import (
    DEVICES,
    N_GENES,
    HandAdam,
    Interrupted,
    KeepingMonitor,
    begun,
    small_cells,
    small_settings,
)

pytestmark = pytest.mark.slow


def run(*, budget="6epochs", monitor=None, seed=0, device="cpu", **changes):
    matrix, types = small_cells()
    return train(
        matrix,
        types,
        n_cell_types=3,
        seed=seed,
        budget=Budget.parse(budget),
        settings=small_settings(**changes),
        device=device,
        monitor=monitor,
    )


def assert_same_weights(ours, theirs):
    theirs = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def assert_close_weights(ours, theirs, **tolerance):
    theirs = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], **tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_phases_steps_and_progress(device):
    monitor = KeepingMonitor()
    networks = run(budget="10epochs", monitor=monitor, device=device)
    phases = ["classifier", "warm_up", "adversarial", "batchnorm"]
    # On a GPU the fourth full batch of a phase's step is recorded; an epoch has three.
    assert [phase for phase in monitor.phases if phase != "compile"] == phases
    assert monitor.phases.count("compile") == (device == "cuda")
    assert monitor.steps == {"classifier": 4, "warm_up": 4, "adversarial": 36}
    assert monitor.fractions[:4] == [0.0] * 4
    assert monitor.fractions[4:] == [step / 40 for step in range(1, 41)]
    assert monitor.offers == 11
    assert not networks.training
    assert networks.device.type == device


def test_a_budget_in_seconds_ends(monkeypatch):
    ticks = count()
    monkeypatch.setattr(models.base.time, "perf_counter", lambda: 0.005 * next(ticks))
    monitor = KeepingMonitor()
    run(budget="0.4s", monitor=monitor)
    assert all(monitor.steps[phase] > 0 for phase in ("classifier", "warm_up", "adversarial"))
    # Told after a step, as the budget ends before the next.
    assert monitor.fractions[-1] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("objective", ["paper", "release"])
def test_every_term_is_logged_by_generator_step(objective):
    monitor = KeepingMonitor()
    run(budget="10epochs", monitor=monitor, objective=objective)
    steps = {}
    for step, values in monitor.curves:
        steps.setdefault(frozenset(values), []).append(step)
    assert steps == {
        frozenset({"classifier_loss"}): [1, 4],
        frozenset({"encoder_kl", "reconstruction"}): [1, 4],
        frozenset(
            {
                "encoder_loss",
                "encoder_kl",
                "encoder_hinge_reconstructed",
                "encoder_hinge_generated",
                "reconstruction",
                "conditioning",
                "generator_loss",
                "generator_kl_reconstructed",
                "generator_kl_generated",
            }
        ): [5, 25, 40],
        frozenset({"batchnorm_draws", "batchnorm_variance_ratio"}): [40],
    }


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("objective", ["paper", "release"])
def test_same_seed_same_weights_and_the_global_random_state_is_left_alone(objective, precision):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = run(objective=objective, precision=precision)
    torch.manual_seed(4)
    again = run(objective=objective, precision=precision)
    other = run(objective=objective, precision=precision, seed=1)
    assert_same_weights(first, again)
    assert not torch.equal(first.decoder.output[0].weight, other.decoder.output[0].weight)
    torch.manual_seed(3)
    run(objective=objective)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == before_numpy).all()  # noqa: NPY002


# With 6 epochs the first offer comes in the classifier's phase, the second in the warm-up, the fourth in the
# game; with 3 the first comes in the game, and in the middle of an epoch.
@pytest.mark.parametrize(
    ("budget", "stop_at", "done"),
    [("6epochs", 1, 4), ("6epochs", 2, 8), ("6epochs", 4, 16), ("3epochs", 1, 10)],
)
@pytest.mark.parametrize(
    "changes", [{}, {"soft_adapt": True}, {"objective": "release"}, {"precision": "bf16"}]
)
def test_a_resumed_training_gives_the_numbers_of_an_unbroken_one(tmp_path, budget, stop_at, done, changes):
    unbroken = KeepingMonitor()
    expected = run(budget=budget, monitor=unbroken, **changes)
    with pytest.raises(Interrupted):
        run(budget=budget, monitor=KeepingMonitor(folder=tmp_path / "state", stop_at=stop_at), **changes)
    resumed = KeepingMonitor(resume_from=tmp_path / "state")
    assert_same_weights(run(budget=budget, monitor=resumed, **changes), expected)
    assert resumed.curves[-2:] == unbroken.curves[-2:]
    assert resumed.fractions == unbroken.fractions[done:]


@pytest.mark.parametrize(("stop_at", "done"), [(1, 3), (3, 7), (7, 14), (9, 17)])
@pytest.mark.parametrize(
    "changes", [{}, {"soft_adapt": True}, {"objective": "release"}, {"precision": "bf16"}]
)
def test_a_training_can_be_resumed_in_the_middle_of_an_epoch(tmp_path, monkeypatch, stop_at, done, changes):
    """Offers come at every third and at every fourth step, an epoch, of each phase."""
    monkeypatch.setattr(training_module, "LOG_EVERY", 3)
    unbroken = KeepingMonitor()
    expected = run(monitor=unbroken, **changes)
    with pytest.raises(Interrupted):
        run(monitor=KeepingMonitor(folder=tmp_path / "state", stop_at=stop_at), **changes)
    resumed = KeepingMonitor(resume_from=tmp_path / "state")
    assert_same_weights(run(monitor=resumed, **changes), expected)
    assert resumed.fractions == unbroken.fractions[done:]


def test_the_smallest_budget_trains_the_classifier():
    monitor = KeepingMonitor()
    run(budget="1steps", monitor=monitor)
    assert monitor.steps == {"classifier": 1, "adversarial": 1}


def test_a_checkpoint_holds_the_step_before_the_first_one(tmp_path):
    training = begun()
    training.save(tmp_path)
    assert_same_weights(begun(KeepingMonitor(resume_from=tmp_path)).networks, training.networks)


@pytest.mark.parametrize(("objective", "late"), [("paper", 0), ("release", 1)])
def test_classifier_learns_as_adam_with_decay_of_rate_and_weights(monkeypatch, objective, late):
    """The release's rate falls one step later."""
    monkeypatch.setattr("models.activa.conditioner.DECAY_EVERY", 3)
    training = begun(
        batch_size=60, classifier_learning_rate=0.01, classifier_weight_decay=0.05, objective=objective
    )
    matrix, types = small_cells()
    conditioner = copy.deepcopy(training.networks.conditioner)
    adam = HandAdam(conditioner.parameters(), rate=0.01, decay=0.05)
    for step in range(8):
        training.step("classifier")
        logits = conditioner(torch.from_numpy(matrix.toarray()))
        loss = -logits.log_softmax(dim=1)[torch.arange(60), torch.from_numpy(types)].mean()
        adam.rate = 0.01 * 0.95 ** (max(0, step - late) // 3)
        adam.step(torch.autograd.grad(loss, adam.parameters))
    assert_close_weights(training.networks.conditioner, conditioner, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("step", "factor"), [(0, 1), (999, 1), (1000, 0.95), (3500, 0.95**3)])
def test_the_classifiers_rate_falls_every_thousand_steps(step, factor):
    assert classifier_learning_rate(1e-4, step) == pytest.approx(1e-4 * factor)


def test_the_conditioner_is_frozen_and_its_logits_are_those_of_the_cells():
    training = begun()
    training.freeze_conditioner()
    before = [parameter.clone() for parameter in training.networks.conditioner.parameters()]
    cells = torch.from_numpy(small_cells()[0].toarray())
    torch.testing.assert_close(training._logits, training.networks.conditioner(cells))
    batch = training._batch()
    torch.testing.assert_close(batch.logits, training.networks.conditioner(batch.cells))
    training.step("adversarial")
    for parameter, old in zip(training.networks.conditioner.parameters(), before, strict=True):
        assert torch.equal(parameter, old) and not parameter.requires_grad


def test_noise_is_standard_normal_and_new_in_every_step():
    training = begun()
    training.freeze_conditioner()
    batches = [training._batch() for _ in range(200)]
    noise = torch.cat([batch.noise for batch in batches])
    prior = torch.cat([batch.prior for batch in batches])
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert abs((noise * prior).mean()) < 0.03
    assert not torch.equal(batches[0].noise, batches[1].noise)


def test_both_players_step_from_gradients_taken_at_the_same_weights():
    """The decoder's first step does not depend on how far the encoder steps."""
    decoders = []
    for rate in (2e-4, 1e-2):
        training = begun()
        training.freeze_conditioner()
        training._optimisers["encoder"].param_groups[0]["lr"] = rate
        training.step("adversarial")
        decoders.append(training.networks.decoder.output[0].weight)
    assert torch.equal(*decoders)


@pytest.mark.parametrize("changes", [{"learning_rate": 1e30}, {"classifier_learning_rate": 1e30}])
def test_divergence_is_named(changes):
    with pytest.raises(
        Diverged, match=r"^activa: \w+ is (nan|inf) at step \d+ \(\w+\); lower the learning rate$"
    ):
        run(budget="30epochs", **changes)


def test_weights_are_checked_at_the_end():
    training = begun(sampling_norm="eval")
    with torch.no_grad():
        training.networks.encoder.layers[0].bias[1] = float("inf")
    with pytest.raises(Diverged, match=r"encoder\.layers\.0\.bias holds NaN or infinite values"):
        training._require_finite_weights()


def prior_moments(networks):
    """Mean and variance of what enters each BatchNorm layer when the decoder decodes the prior."""
    moments, hooks = [], []
    for layer in networks.decoder.hidden:
        if isinstance(layer, torch.nn.BatchNorm1d):
            hooks.append(
                layer.register_forward_hook(
                    lambda layer, inputs, _: moments.append(
                        (inputs[0].mean(0) - layer.running_mean, inputs[0].var(0), layer.running_var)
                    )
                )
            )
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        networks.decoder(torch.randn(20_000, networks.settings.latent_dim, generator=generator))
    for hook in hooks:
        hook.remove()
    return moments


def test_prior_leaves_the_statistics_of_the_prior():
    settled, left = run(sampling_norm="prior"), run(sampling_norm="eval")
    for distance, variance, running in prior_moments(settled):
        assert (distance.abs() < 0.05 * (running.sqrt() + 1e-3)).all()
        torch.testing.assert_close(running, variance, rtol=0.1, atol=1e-6)
    assert any(
        not torch.allclose(running, variance, rtol=0.1, atol=1e-6)
        for _, variance, running in prior_moments(left)
    )
    for parameter, other in zip(settled.parameters(), left.parameters(), strict=True):
        assert torch.equal(parameter, other)


def test_re_estimation_is_seeded_and_keeps_the_momentum():
    networks = run(sampling_norm="eval")
    before = networks.decoder.hidden[2].running_var.clone()
    ratio = estimate_on_prior(networks.decoder, latent_dim=4, seed=1)
    first = networks.decoder.hidden[2].running_var.clone()
    assert 0.01 < ratio < 100 and not torch.equal(before, first)
    estimate_on_prior(networks.decoder, latent_dim=4, seed=1)
    assert torch.equal(networks.decoder.hidden[2].running_var, first)
    assert networks.decoder.hidden[2].momentum == 0.1 and not networks.decoder.training


def test_training_learns():
    """Reconstruction falls below that of the mean cell, and the classifier separates the types."""
    matrix, types = small_cells(90)
    monitor = KeepingMonitor()
    settings = small_settings(
        learning_rate=0.02, classifier_learning_rate=0.002, hidden_sizes=(64, 32), latent_dim=8
    )
    networks = train(
        matrix,
        types,
        n_cell_types=3,
        seed=0,
        budget=Budget.parse("150epochs"),
        settings=settings,
        monitor=monitor,
    )
    cells = matrix.toarray()
    around_mean = ((cells - cells.mean(axis=0)) ** 2).sum(axis=1).mean()
    last = [values["reconstruction"] for _, values in monitor.curves if "reconstruction" in values][-5:]
    assert np.mean(last) < 0.7 * around_mean
    with torch.no_grad():
        calls = networks.conditioner(torch.from_numpy(cells)).argmax(dim=1).numpy()
    assert (calls == types).mean() > 0.9
    assert sample_cells(networks, 10, seed=0).matrix.shape == (10, N_GENES)
