"""A small count model that learns what a count model must, and small training cells."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix
from torch import nn

from models.base import Budget, SilentMonitor
from models.counts.generator import CountGenerator
from models.counts.likelihood import draw_nb, nb_log_likelihood
from models.counts.training import Trainer

RATES = np.array([[4.0, 0.2, 1.0], [0.3, 3.0, 1.0]])


class RateModel(CountGenerator):
    """One rate for each gene of each type, found by gradient descent."""

    name = "rate_model"

    def __init__(self, *, learning_rate: float = 0.05) -> None:
        self.learning_rate = learning_rate

    def _learn(self, train, *, seed, device, budget, monitor):
        self._rates = nn.Embedding(train.n_types, train.counts.shape[1])
        torch.nn.init.zeros_(self._rates.weight)
        adam = torch.optim.Adam(self._rates.parameters(), lr=self.learning_rate)
        trainer = Trainer(
            self._rates,
            {"adam": adam},
            train.counts,
            train.types,
            batch_size=64,
            budget=budget,
            monitor=monitor,
            seed=seed,
            device=torch.device(device),
        )

        def step(batch):
            loss = -nb_log_likelihood(batch.counts, self._rates(batch.types), torch.tensor([10.0])).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            return {"loss": loss.detach()}

        trainer.run(step)

    def _tensors(self):
        return {"rates": self._rates.weight}

    def _restore(self, tensors: Mapping[str, torch.Tensor]):
        self._rates = nn.Embedding.from_pretrained(tensors["rates"])

    def _draw(self, types, *, generator):
        return draw_nb(self._rates(types), torch.tensor([10.0]), generator=generator)


def training_cells(n_cells: int = 400) -> AnnData:
    """Poisson counts of three genes, a quarter of the cells of the second type."""
    rng = np.random.default_rng(7)
    types = rng.permutation(np.arange(n_cells) % 4 == 0).astype(int)
    counts = csr_matrix(rng.poisson(RATES[types]).astype(np.float32))
    names = np.array(["NK/T", "B"])[types]
    obs = pd.DataFrame({"cell_type": pd.Categorical(names)}, index=[f"c{i}" for i in range(n_cells)])
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=["g0", "g1", "g2"]))
    adata.layers["counts"] = counts.copy()
    return adata


def fitted(model, train, *, seed=0, budget="30epochs", monitor=None):
    model.fit(train, seed=seed, budget=Budget.parse(budget), monitor=monitor or SilentMonitor())
    return model


def dense(adata: AnnData) -> np.ndarray:
    return adata.X.toarray()
