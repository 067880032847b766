"""Training of the count ACTIVA: the conditioner where it has a weight, then encoder and decoder."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.activa.randomness import seeded
from models.activa_counts.objective import Networks, classifier_loss, losses
from models.activa_counts.settings import Settings
from models.base import Budget, Monitor
from models.counts.generator import TrainingSet
from models.counts.networks import log_scaled
from models.counts.training import Batch, Trainer
from models.streaming import column_sums, row_sums

CLASSIFIER_SHARE: Final = 0.1
"""Of the budget, for the conditioner."""
SHARE_OF_SECONDS: Final = 0.8
"""Of a budget in seconds: what is left is for mixtures and marginals."""
CLASSIFIER_RATE: Final = 1e-3
RATE_RISES: Final = 0.1
KL_RISES: Final = 0.2
LONGEST_GRADIENT: Final = 10.0


class Learnt(NamedTuple):
    """What the networks are after training.

    Attributes
    ----------
    networks
        Networks in eval mode, without gradients.
    mean, log_variance
        Mean and log variance of each training cell's posterior, n_cells × latent_dim, on the CPU.
    """

    networks: Networks
    mean: Tensor
    log_variance: Tensor


def train(
    settings: Settings, cells: TrainingSet, *, seed: int, device: str, budget: Budget, monitor: Monitor
) -> Learnt:
    """Train the three networks.

    Parameters
    ----------
    settings
        Hyper-parameters.
    cells
        Training cells, at least two.
    seed, device, budget, monitor
        Seed, device, budget and monitor of the training, see `models.base.Generator.fit`.

    Raises
    ------
    Diverged
        If a loss or a weight is NaN or infinite.
    """
    place = torch.device(device)
    networks = _new_networks(settings, cells, seed=seed).to(place)
    optimisers = {
        player: torch.optim.Adam(getattr(networks, player).parameters(), lr=settings.learning_rate)
        for player in ("encoder", "decoder", "conditioner")
    }
    trainer = Trainer(
        networks,
        optimisers,
        cells.counts,
        cells.types,
        batch_size=settings.batch_size,
        budget=budget,
        monitor=monitor,
        seed=seed,
        device=place,
    )
    steps = _Steps(trainer, networks, settings, end=SHARE_OF_SECONDS if budget.unit == "seconds" else 1.0)
    with closing(trainer):
        if settings.weight_conditioning:
            with monitor.phase("classifier"):
                trainer.run(steps.classify, until=CLASSIFIER_SHARE)
            networks.conditioner.requires_grad_(False)
        with monitor.phase("networks"):
            trainer.run(steps.play, until=steps.end)
        networks.eval().requires_grad_(False)
        return _with_posteriors(trainer, networks)


def _new_networks(settings: Settings, cells: TrainingSet, *, seed: int) -> Networks:
    with seeded(seed, device=torch.device("cpu")):
        networks = Networks(settings, n_genes=cells.counts.shape[1], n_types=cells.n_types)
    networks.start_at(column_sums(cells.counts), np.log(np.maximum(row_sums(cells.counts), 1)))
    return networks


class _Steps:
    """The two kinds of steps, and the schedules over the budget."""

    def __init__(self, trainer: Trainer, networks: Networks, settings: Settings, *, end: float) -> None:
        self._trainer, self._networks, self._settings, self.end = trainer, networks, settings, end

    def classify(self, batch: Batch) -> dict[str, Tensor]:
        """Update the conditioner."""
        loss = classifier_loss(self._networks, batch)
        loss.backward()
        self._step("conditioner", CLASSIFIER_RATE)
        return {"classifier_loss": loss.detach()}

    def play(self, batch: Batch) -> dict[str, Tensor]:
        """Update encoder and decoder, with gradients taken at the same weights."""
        fraction = self._trainer.progress.fraction / self.end
        narrow = self._settings.precision == "bf16"
        with torch.autocast(batch.counts.device.type, dtype=torch.bfloat16, enabled=narrow):
            found = losses(
                self._networks,
                batch,
                self._settings,
                kl_share=min(1.0, fraction / KL_RISES),
                noise=self._trainer.noise,
            )
        # KL(Enc(x)) does not touch the decoder: without a game one pass serves both players.
        if self._settings.weight_adversarial:
            self._differentiate("encoder", found.encoder, keep_graph=True)
            self._differentiate("decoder", found.decoder, keep_graph=False)
        else:
            found.encoder.backward()
        for player in ("encoder", "decoder"):
            self._step(player, self._settings.learning_rate * rate_share(fraction))
        return {name: term.detach() for name, term in found.terms.items()}

    def _differentiate(self, player: str, loss: Tensor, *, keep_graph: bool) -> None:
        parameters = list(getattr(self._networks, player).parameters())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=keep_graph), strict=True
        ):
            parameter.grad = gradient

    def _step(self, player: str, rate: float) -> None:
        optimiser = self._trainer.optimisers[player]
        group = optimiser.param_groups[0]
        group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(group["params"], LONGEST_GRADIENT)
        optimiser.step()
        optimiser.zero_grad()


def rate_share(fraction: float) -> float:
    """Share of the peak learning rate: a straight rise over the first tenth, then half a cosine to 0."""
    if fraction < RATE_RISES:
        return max(fraction / RATE_RISES, 0.01)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (fraction - RATE_RISES) / (1 - RATE_RISES))))


@torch.inference_mode()
def _with_posteriors(trainer: Trainer, networks: Networks) -> Learnt:
    found = trainer.cells.of_all(
        lambda counts: torch.cat(networks.encoder(log_scaled(counts)), dim=1), batch_size=1024
    )
    mean, log_variance = found.cpu().chunk(2, dim=1)
    return Learnt(networks, mean.clone(), log_variance.clone())
