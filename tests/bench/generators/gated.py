"""Generators for the gate: a tiny autoencoder in PyTorch, and what a change might do to it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse

from models.base import Generator, Settled


class Tiny(Generator):
    """One linear layer each way, trained with Adam; draws what it reconstructs of noise."""

    name = "tiny_torch"
    framework = "pytorch"
    space = "cp20k"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        import torch

        torch.manual_seed(seed)
        self.genes = list(train.var_names)
        cells = torch.from_numpy(train.X[:64].toarray()).log1p()
        self.encoder = torch.nn.Linear(len(self.genes), 8)
        self.decoder = torch.nn.Linear(8, len(self.genes))
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=1e-2)
        with monitor.phase("descent"):
            for step in range(int(budget.amount)):
                loss = self.loss(cells)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                monitor.advance((step + 1) / budget.amount)
                monitor.log(step, loss=float(loss))

    def loss(self, cells):
        return (self.decoder(self.encoder(cells)) - cells).square().mean()

    def sample(self, n_cells, *, cell_types=None, seed):
        import anndata
        import torch

        with torch.no_grad():
            drawn = self.decoder(torch.zeros(n_cells, 8)).relu()
        return anndata.AnnData(sparse.csr_matrix(drawn.numpy().astype(np.float32)))

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder, *, device="cpu"):
        raise NotImplementedError


class OneOperatorMore(Tiny):
    """Adds one multiplication to every step."""

    def loss(self, cells):
        return super().loss(cells * 1.0)


class DrawsNothing(Tiny):
    """Its sampling calls no operator."""

    def sample(self, n_cells, *, cell_types=None, seed):
        return None


class Refuses(Tiny):
    @classmethod
    def skip(cls, train):
        return "needs spliced counts"


class Breaks(Tiny):
    def fit(self, train, *, seed, device="cpu", budget, monitor):
        raise ValueError("no such gene")


class Plain(Tiny):
    """Without a framework."""

    framework = "numpy"

    def fit(self, train, *, seed, device="cpu", budget, monitor):
        for step in range(int(budget.amount)):
            monitor.log(step, flat=1.0)
            monitor.advance((step + 1) / budget.amount)

    def sample(self, n_cells, *, cell_types=None, seed):
        return None


class Idle(Plain):
    """Declares a framework and does nothing with it."""

    framework = "pytorch"


class Settles(Tiny):
    """Leaves to the machine how many operators a sample takes."""

    name = "settles"

    def __init__(self, *, operators: int | Literal["auto"] = "auto") -> None:
        self.operators = operators

    @classmethod
    def settle(cls, settings, *, n_genes, device):
        return {"operators": Settled(2, "two will do")} if settings["operators"] == "auto" else {}

    def sample(self, n_cells, *, cell_types=None, seed):
        cells = super().sample(n_cells, seed=seed)
        import torch

        number = torch.ones(1)
        for _ in range(self.operators):
            number = number + 1
        return cells
