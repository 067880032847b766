"""Small networks, cells and a monitor that keeps what it is told, for ACTIVA's tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from models.activa.networks import Networks, build_networks
from models.activa.objective import Batch
from models.activa.players import Players
from models.activa.settings import Settings
from models.activa.training import Training
from models.base import Budget

N_GENES, N_TYPES = 50, 3

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]


def small_settings(**changes: object) -> Settings:
    """Settings of small networks, computed in full precision unless told otherwise."""
    small = {"latent_dim": 4, "hidden_sizes": (24, 16, 8), "batch_size": 16, "precision": "fp32"}
    return Settings(**small | changes)


def small_networks(settings: Settings | None = None, *, seed: int = 0) -> Networks:
    """Networks with biases and BatchNorm weights away from their initial values, the conditioner frozen."""
    networks = build_networks(settings or small_settings(), n_genes=N_GENES, n_cell_types=N_TYPES, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in networks.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    networks.conditioner.eval().requires_grad_(False)
    return networks.train()


def small_players(networks: Networks, *, n_cells: int = 20) -> Players:
    return Players(networks, n_cells=n_cells)


def small_cells(n_cells: int = 60, *, seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """Cells of three types that differ, in ``cp20k``, and their codes."""
    rng = np.random.default_rng(seed)
    types = np.arange(n_cells) % N_TYPES
    counts = rng.poisson(rng.gamma(0.5, 4.0, size=(N_TYPES, N_GENES))[types]) + np.eye(1, N_GENES, dtype=int)
    return sp.csr_matrix((20_000 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)), types


def small_batch(networks: Networks, *, n_cells: int = 12, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(5)
    cells = torch.from_numpy(small_cells(n_cells)[0].toarray()).to(dtype) / 1000
    noise, prior = torch.randn((2, n_cells, networks.settings.latent_dim), generator=generator, dtype=dtype)
    with torch.no_grad():
        logits = networks.conditioner(cells)
    return Batch(cells, logits, noise, prior)


class HandAdam:
    """Adam (Kingma & Ba 2015) with L2 decay, written out; steps the tensors it is given, in place."""

    def __init__(self, parameters, *, rate: float, decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.rate, self.decay, self.steps = rate, decay, 0
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, gradients) -> None:
        self.steps += 1
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self.means, self.squares, strict=True
        ):
            decayed = gradient + self.decay * parameter
            mean.mul_(0.9).add_(0.1 * decayed)
            square.mul_(0.999).add_(0.001 * decayed**2)
            scale = (square / (1 - 0.999**self.steps)).sqrt() + 1e-8
            parameter -= self.rate * mean / (1 - 0.9**self.steps) / scale


class Interrupted(Exception):
    """Stands for a killed training."""


class KeepingMonitor:
    """Keeps phases, steps by phase and curves; writes the n-th checkpoint, and may stop there."""

    def __init__(
        self, *, folder: Path | None = None, stop_at: int | None = None, resume_from: Path | None = None
    ) -> None:
        self.resume_from = resume_from
        self.phases: list[str] = []
        self.steps: dict[str, int] = {}
        self.curves: list[tuple[int, dict[str, float]]] = []
        self.fractions: list[float] = []
        self.offers = 0
        self._open: list[str] = []
        self._folder = folder
        self._stop_at = stop_at

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.phases.append(name)
        self._open.append(name)
        yield
        self._open.pop()

    def log(self, step: int, **values: float) -> None:
        self.curves.append((step, values))

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        self.fractions.append(fraction)
        if self._open:
            self.steps[self._open[-1]] = self.steps.get(self._open[-1], 0) + steps

    def checkpoint(self, save) -> None:
        self.offers += 1
        if self._folder is not None and self.offers == self._stop_at:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
            save(self._folder)
            raise Interrupted


def begun(monitor=None, *, budget: str = "100epochs", device: str = "cpu", **changes: object) -> Training:
    """A training at its very start."""
    matrix, types = small_cells()
    return Training(
        matrix,
        types,
        n_cell_types=N_TYPES,
        seed=0,
        budget=Budget.parse(budget),
        settings=small_settings(**changes),
        device=torch.device(device),
        monitor=monitor or KeepingMonitor(),
    )
