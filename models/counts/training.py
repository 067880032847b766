"""The loop of steps that count models share: batches, progress, curves and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.activa.cells import BatchOrder, TrainingCells, on_device
from models.activa.storage import read_state, write_state
from models.base import Budget, Diverged, Monitor, Progress

LOG_EVERY: Final = 20
"""Steps between two curve points, and between two offers of a checkpoint."""


class Batch(NamedTuple):
    """Cells of a step.

    Attributes
    ----------
    counts
        n_cells × n_genes, float32.
    types
        n_cells codes.
    rows
        Numbers of the cells among the training cells, on the CPU.
    """

    counts: Tensor
    types: Tensor
    rows: Tensor


Step = Callable[[Batch], dict[str, Tensor]]


class Trainer:
    """Takes steps until a share of the budget is used, and can be stopped and resumed anywhere.

    Parameters
    ----------
    network
        All that is trained, on the device; its state goes into the checkpoints.
    optimisers
        Optimisers by name; their state goes into the checkpoints, too.
    counts
        n_cells × n_genes, CSR or on disk.
    types
        n_cells codes.
    batch_size
        Cells of a step.
    budget, monitor
        Budget, whose steps are those of `run`, and monitor; see `models.base.Generator.fit`.
    seed
        Seed of the order of cells and of `noise`.
    device
        Device of the batches.

    Attributes
    ----------
    noise
        Random generator on the device, for the steps.
    progress
        Progress of the training in its budget.
    """

    def __init__(
        self,
        network: nn.Module,
        optimisers: Mapping[str, torch.optim.Optimizer],
        counts: Any,
        types: np.ndarray,
        *,
        batch_size: int,
        budget: Budget,
        monitor: Monitor,
        seed: int,
        device: torch.device,
    ) -> None:
        self.network, self.optimisers, self.monitor = network, optimisers, monitor
        self._device = device
        self.cells = TrainingCells(counts, device=device)
        self.types = torch.tensor(types, dtype=torch.long, device=device)
        order_seed, noise_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
        self._order = BatchOrder(counts.shape[0], batch_size, seed=order_seed)
        self.noise = torch.Generator(device).manual_seed(noise_seed)
        self._budget = budget
        self.progress = Progress(budget, self._order.batches_per_epoch)
        if monitor.resume_from is not None:
            self.restore(monitor.resume_from)

    def run(self, step: Step, *, until: float = 1.0) -> None:
        """Repeat a step until `until` of the budget is used.

        Parameters
        ----------
        step
            Function that updates the networks with a batch and returns the terms of its losses, scalars.
        until
            Share of the whole budget, in (0, 1].

        Raises
        ------
        Diverged
            If a term or, at the end, a weight is NaN or infinite.
        """
        terms: dict[str, Tensor] = {}
        while self.progress.fraction < until:
            terms = step(self.batch(self._order.next(), ahead=self._order.upcoming()))
            self.progress.steps += 1
            self.monitor.advance(self.progress.fraction)
            if self.progress.steps % LOG_EVERY == 1:
                self._log(terms)
            if self.progress.steps % LOG_EVERY == 0:
                self.monitor.checkpoint(self.save)
        if terms and self.progress.steps % LOG_EVERY != 1:
            self._log(terms)
        for name, tensor in self.network.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise Diverged(f"{name} holds NaN or infinite values; lower the learning rate")

    def batch(self, rows: Tensor, *, ahead: Iterable[Tensor] = ()) -> Batch:
        """Return training cells by their numbers (on the CPU, each once); `ahead` has the next ones."""
        return Batch(self.cells.batch(rows, ahead=ahead), self.types[on_device(rows, self._device)], rows)

    def close(self) -> None:
        """Read nothing ahead any more."""
        self.cells.close()

    def _log(self, terms: dict[str, Tensor]) -> None:
        values = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
        for name, value in values.items():
            if not np.isfinite(value):
                raise Diverged(f"{name} is {value} at step {self.progress.steps}; lower the learning rate")
        self.monitor.log(self.progress.steps, **values)

    def save(self, folder: Path) -> None:
        """Write all that an interrupted training needs to go on as if nothing had happened."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for which, optimiser in self.optimisers.items():
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{which}.{index}.{key}": moment for key, moment in moments.items()}
        order = self._order.state()
        tensors |= {"order": order["generator"], "noise": self.noise.get_state()}
        facts = {
            "steps": self.progress.steps,
            "seconds": self.progress.seconds,
            "position": order["position"],
        }
        write_state(folder, tensors, facts)

    def restore(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        tensors, facts = read_state(folder)
        self.network.load_state_dict(under(tensors, "network."))
        for which, optimiser in self.optimisers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in under(tensors, f"optimiser.{which}.").items():
                index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self._order.restore(generator=tensors["order"], position=facts["position"])
        self.noise.set_state(tensors["noise"])
        self.progress = Progress(
            self._budget,
            self._order.batches_per_epoch,
            done_steps=facts["steps"],
            done_seconds=facts["seconds"],
        )


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
