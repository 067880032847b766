"""Training of ACTIVA on arrays: the conditioner, the VAE's warm-up, then the game."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.activa import objective
from models.activa.batchnorm import PRIOR_BATCH_SIZE, PRIOR_BATCHES, estimate_on_prior
from models.activa.cells import BatchOrder, TrainingCells, batches_per_epoch, on_device
from models.activa.conditioner import ACTINN, classifier_learning_rate
from models.activa.networks import Networks, build_networks
from models.activa.optimisers import build_optimisers
from models.activa.phases import CLASSIFIER_SHARE, WARM_UP_SHARE, early_phase_over
from models.activa.players import Players
from models.activa.randomness import seeded
from models.activa.recording import RecordedStep, Step
from models.activa.settings import Settings
from models.activa.storage import read_state, write_state
from models.activa.weights import Weights
from models.activa.wide import narrow_arithmetic
from models.base import Budget, Diverged, Monitor, Progress, SilentMonitor
from models.streaming import in_memory

LOG_EVERY: Final = 20
"""Steps between two curve points, each of which costs a synchronisation of the device; a checkpoint is
offered as often, because an epoch of a large data set takes long."""


def train(
    matrix: sp.csr_matrix,
    types: np.ndarray,
    *,
    n_cell_types: int,
    seed: int,
    budget: Budget,
    settings: Settings | None = None,
    device: str = "cpu",
    monitor: Monitor | None = None,
) -> Networks:
    """Train ACTIVA's three networks.

    Parameters
    ----------
    matrix
        n_cells × n_genes, ``cp20k``; at least two cells. One that stays on disk (see
        `models.streaming.RowReader`) is read batch by batch.
    types
        n_cells codes in 0 … n_cell_types − 1.
    n_cell_types
        How many types the conditioner tells apart.
    seed
        Everything random follows from it; PyTorch's global random state is left alone.
    budget
        Generator updates, epochs or seconds: warm-up and game together. The conditioner's steps come
        on top, at least one, except that a budget in seconds holds them too.
    settings
        Hyper-parameters; None for the published ones.
    device
        ``"cpu"`` or ``"cuda"``.
    monitor
        Phases ``classifier``, ``warm_up``, ``adversarial``, ``batchnorm``, and on a GPU ``compile`` within
        the second and the third; curves; checkpoints.

    Returns
    -------
    Networks
        In eval mode, on the device.

    Raises
    ------
    Diverged
        If a loss or a weight is NaN or infinite.
    """
    training = Training(
        sp.csr_matrix(matrix, dtype=np.float32) if in_memory(matrix) else matrix,
        types,
        n_cell_types=n_cell_types,
        seed=seed,
        budget=budget,
        settings=settings or Settings(),
        device=torch.device(device),
        monitor=monitor or SilentMonitor(),
    )
    with closing(training):
        return training.run()


def rehearse(device: str) -> None:
    """Train a tiny model, so that what PyTorch sets up on first use is not counted as training.

    The first optimiser alone makes it import some 800 modules; the first work on a GPU takes seconds too.
    """
    train(
        sp.eye(4, 3, format="csr"),
        np.arange(4) % 2,
        n_cell_types=2,
        seed=0,
        budget=Budget(4, "steps"),
        settings=Settings(latent_dim=1, hidden_sizes=(2,), precision="fp32"),
        device=device,
    )


class Training:
    """One training and all its state; use `train` unless you need single steps.

    Parameters as in `train`. For single steps of the game alone::

        training.freeze_conditioner()
        terms = training.step("adversarial")

    Attributes
    ----------
    networks
        The networks in training.
    steps
        Optimiser steps done, by phase.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        types: np.ndarray,
        *,
        n_cell_types: int,
        seed: int,
        budget: Budget,
        settings: Settings,
        device: torch.device,
        monitor: Monitor,
    ) -> None:
        n_cells, n_genes = matrix.shape
        self.settings = settings = settings.settled(n_genes=n_genes, device=str(device))
        self.monitor = monitor
        self._device = device
        children = np.random.SeedSequence(seed).spawn(6)
        seeds = [int(child.generate_state(1)[0]) for child in children]
        self.networks = build_networks(
            settings, n_genes=n_genes, n_cell_types=n_cell_types, seed=seeds[0]
        ).to(device)
        self._cells = TrainingCells(matrix, device=device)
        self._types = torch.tensor(types, dtype=torch.long, device=device)
        self._logits = torch.empty(0)
        self._orders = {
            "classifier": BatchOrder(n_cells, settings.batch_size, seed=seeds[1]),
            "players": BatchOrder(n_cells, settings.batch_size, seed=seeds[2]),
        }
        self._noise = torch.Generator(device).manual_seed(seeds[3])
        self._prior_seed, self._conditioner_seed = seeds[4:]
        self._weights = Weights(settings, device=device)
        self._optimisers = build_optimisers(self.networks, settings)
        # A cell left over alone joins the last batch.
        self._players = Players(self.networks, n_cells=min(n_cells, settings.batch_size + 1))
        self._updates = self._recorded(
            {
                "warm_up": self._warm_up,
                "adversarial": self._play if settings.objective == "paper" else self._play_as_released,
            }
        )
        self._budget = budget
        self._steps_per_epoch = batches_per_epoch(n_cells, settings.batch_size)
        self.steps = {"classifier": 0, "warm_up": 0, "adversarial": 0}
        self._began: dict[str, float] = {}
        self._progress = Progress(budget, self._steps_per_epoch)
        if monitor.resume_from is not None:
            self.restore(monitor.resume_from)

    def run(self) -> Networks:
        """Go through all phases and return the networks in eval mode."""
        with self.monitor.phase("classifier"):
            if "conditioner" in self._optimisers:
                over = self._early(CLASSIFIER_SHARE, least_steps=1)
                self._repeat("classifier", over=over)
            self.freeze_conditioner()
        with self.monitor.phase("warm_up"):
            self._repeat("warm_up", over=self._early(WARM_UP_SHARE, least_steps=0))
        with self.monitor.phase("adversarial"):
            self._repeat("adversarial", over=lambda _: self._progress.finished)
        self.networks.eval()
        if self.settings.sampling_norm == "prior":
            self._settle_batchnorm()
        self._require_finite_weights()
        return self.networks

    def _early(self, share: float, *, least_steps: int) -> Callable[[str], bool]:
        def over(phase: str) -> bool:
            return early_phase_over(
                share,
                steps=self.steps[phase],
                seconds=self._progress.seconds - self._began[phase],
                budget=self._budget,
                steps_per_epoch=self._steps_per_epoch,
                least_steps=least_steps,
            )

        return over

    def _repeat(self, phase: str, *, over: Callable[[str], bool]) -> None:
        self._began.setdefault(phase, self._progress.seconds)
        terms: dict[str, Tensor] = {}
        while not over(phase):
            terms = self.step(phase)
            if phase != "classifier":
                self._progress.steps += 1
            self.monitor.advance(self._progress.fraction)
            if self.steps[phase] % LOG_EVERY == 1:
                self._log(phase, terms)
            if 0 in (self.steps[phase] % LOG_EVERY, self.steps[phase] % self._steps_per_epoch):
                self.monitor.checkpoint(self.save)
        if terms and self.steps[phase] % LOG_EVERY != 1:
            self._log(phase, terms)

    def _log(self, phase: str, terms: dict[str, Tensor]) -> None:
        step = self.steps["classifier"] if phase == "classifier" else self._progress.steps
        values = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
        for name, value in values.items():
            if not np.isfinite(value):
                raise Diverged(f"activa: {name} is {value} at step {step} ({phase}); lower the learning rate")
        self.monitor.log(step, **values)

    def step(self, phase: str) -> dict[str, Tensor]:
        """Do one step of a phase, and count it.

        Parameters
        ----------
        phase
            ``"classifier"``, or after `freeze_conditioner` ``"warm_up"`` or ``"adversarial"``.

        Returns
        -------
        dict
            The terms of the losses, scalars on the device, valid until the next step.
        """
        if phase == "classifier":
            terms = self._classifier_step()
        else:
            with narrow_arithmetic(self.settings.precision, device=self._device):
                terms = self._updates[phase](self._batch())
        self.steps[phase] += 1
        return terms

    def _classifier_step(self) -> dict[str, Tensor]:
        rows, step = self._orders["classifier"].next(), self.steps["classifier"]
        cells = self._cells.batch(rows, ahead=self._orders["classifier"].upcoming())
        # The release lowers the rate after a step, and so one step later.
        decayed = step if self.settings.objective == "paper" else max(0, step - 1)
        group = self._optimisers["conditioner"].param_groups[0]
        group["lr"] = classifier_learning_rate(self.settings.classifier_learning_rate, decayed)
        with seeded(self._conditioner_seed + step, device=self._device):
            logits = self.networks.conditioner(cells)
        loss = cross_entropy(logits, self._types[on_device(rows, self._device)])
        self._update("conditioner", torch.autograd.grad(loss, group["params"], allow_unused=True))
        return {"classifier_loss": loss.detach()}

    @torch.no_grad()
    def freeze_conditioner(self) -> None:
        """Fix the conditioner, and with it C(x) of all training cells."""
        conditioner = self.networks.conditioner.eval().requires_grad_(False)
        self._logits = self._cells.of_all(conditioner, batch_size=self.settings.batch_size)

    def _batch(self) -> objective.Batch:
        rows = self._orders["players"].next()
        shape = (2, len(rows), self.settings.latent_dim)
        noise, prior = torch.randn(shape, generator=self._noise, device=self._device)
        cells = self._cells.batch(rows, ahead=self._orders["players"].upcoming())
        return objective.Batch(cells, self._logits[on_device(rows, self._device)], noise, prior)

    def _recorded(self, steps: dict[str, Step]) -> dict[str, Step]:
        """Have the steps recorded on a GPU, except with a conditioner of which nobody knows what it does."""
        if self._device.type != "cuda" or not isinstance(self.networks.conditioner, ACTINN):
            return steps
        size = self.settings.batch_size
        return {
            phase: RecordedStep(step, batch_size=size, device=self._device, monitor=self.monitor)
            for phase, step in steps.items()
        }

    def _warm_up(self, batch: objective.Batch) -> dict[str, Tensor]:
        gradients = objective.warm_up_gradients(self._players, batch)
        self._update("encoder", gradients.encoder)
        self._update("decoder", gradients.decoder)
        return gradients.terms

    def _play(self, batch: objective.Batch) -> dict[str, Tensor]:
        margin = self.settings.margin
        gradients = objective.paper_gradients(self._players, batch, self._weights, margin=margin)
        self._update("encoder", gradients.encoder)
        self._update("decoder", gradients.decoder)
        return gradients.terms

    def _play_as_released(self, batch: objective.Batch) -> dict[str, Tensor]:
        margin = self.settings.margin
        gradients, passes = objective.release_gradients(self._players, batch, self._weights, margin=margin)
        self._update("encoder", gradients.encoder)
        again = objective.encode_again(
            self._players, passes, weight_adversarial=self.settings.weight_adversarial
        )
        self._update("decoder", gradients.decoder)
        return gradients.terms | again

    def _update(self, player: str, gradients: Sequence[Tensor | None]) -> None:
        parameters = self._optimisers[player].param_groups[0]["params"]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimisers[player].step()
        self._optimisers[player].zero_grad()
        if player in self._players.wide:
            self._players.wide[player].refresh()

    def _settle_batchnorm(self) -> None:
        with self.monitor.phase("batchnorm"):
            ratio = estimate_on_prior(
                self.networks.decoder, latent_dim=self.settings.latent_dim, seed=self._prior_seed
            )
        self.monitor.log(
            self._progress.steps,
            batchnorm_draws=PRIOR_BATCHES * PRIOR_BATCH_SIZE,
            batchnorm_variance_ratio=ratio,
        )

    def _require_finite_weights(self) -> None:
        for name, tensor in self.networks.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise Diverged(f"activa: {name} holds NaN or infinite values; lower the learning rate")

    def close(self) -> None:
        """End the thread that reads cells ahead, if there is one, and take no further step."""
        self._cells.close()
        # They refer back to the training, which would keep cells and moments until the cycle is found.
        self._updates.clear()

    def save(self, folder: Path) -> None:
        """Write all that an interrupted training needs to go on as if nothing had happened."""
        tensors = {f"networks.{name}": tensor for name, tensor in self.networks.state_dict().items()}
        for player, optimiser in self._optimisers.items():
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"adam.{player}.{index}.{key}": moment for key, moment in moments.items()}
        orders = {name: order.state() for name, order in self._orders.items()}
        tensors |= {f"order.{name}": state["generator"] for name, state in orders.items()}
        tensors["noise"] = self._noise.get_state()
        for player, adapt in self._weights.soft_adapt.items():
            tensors[f"soft_adapt.{player}"] = adapt.previous
        facts = {
            "steps": self.steps,
            "began": self._began,
            "seconds": self._progress.seconds,
            "positions": {name: state["position"] for name, state in orders.items()},
        }
        write_state(folder, tensors, facts)

    def restore(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        tensors, facts = read_state(folder)
        self.networks.load_state_dict(_under(tensors, "networks."))
        for layer in self._players.wide.values():
            layer.refresh()
        for player, optimiser in self._optimisers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(tensors, f"adam.{player}.").items():
                index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})
        for name, order in self._orders.items():
            order.restore(generator=tensors[f"order.{name}"], position=facts["positions"][name])
        self._noise.set_state(tensors["noise"])
        for player, adapt in self._weights.soft_adapt.items():
            adapt.previous.copy_(tensors[f"soft_adapt.{player}"])
        self.steps = facts["steps"]
        self._began = facts["began"]
        self._progress = Progress(
            self._budget,
            self._steps_per_epoch,
            done_steps=self.steps["warm_up"] + self.steps["adversarial"],
            done_seconds=facts["seconds"],
        )


def _under(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Entries whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
