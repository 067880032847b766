"""What is timed: cells to train on, and networks whose samples have a given density and a rare type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
import torch

from bench.speed.rounds import interleave
from bench.speed.workload import Effort, Shape
from benchmarks.activa.floors import Rates
from models.activa.networks import Networks, build_networks
from models.activa.reference import BATCH_SIZE, PlainActiva
from models.activa.settings import Settings

RARE_TYPE: Final = 0
LIBRARY_SIZE: Final = 20_000
PILOT_CELLS: Final = 4096
"""Draws from which biases are chosen."""


@dataclass(frozen=True)
class ActivaShape(Shape):
    """How much is timed of ACTIVA.

    Attributes
    ----------
    on_demand_cells
        Number of cells drawn of a type that comes in `rare_share` of the draws.
    batch_size
        Cells in a training batch, as in the release.
    """

    on_demand_cells: int = 1_500
    rare_share: float = 0.01
    batch_size: int = field(default=BATCH_SIZE, init=False)

    @classmethod
    def reduced(cls) -> Self:
        """Return a shape that takes seconds on two cores."""
        return replace(super().reduced(), on_demand_cells=60)


class Conditions(NamedTuple):
    """What is measured under: how much, beside what this machine can do, how long, and where."""

    shape: ActivaShape
    rates: Rates
    effort: Effort
    device: str

    def interleaved(
        self, contenders: Mapping[str, Callable[[], float]], *, steps: int = 1
    ) -> dict[str, list[float]]:
        """Take turns of so many steps, as long as the effort allows; contenders return the seconds of one."""
        limit_seconds = self.effort.limit_seconds / steps
        return interleave(contenders, repeats=self.effort.repeats, limit_seconds=limit_seconds)


def training_cells(shape: Shape, *, seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """Draw synthetic cells, ``cp20k``, and their types.

    Returns
    -------
    csr_matrix, ndarray
        n_cells × n_genes float32 with row sums of 20 000, and n_cells codes.
    """
    from datasets.synthetic import Recipe, draw_counts

    recipe = Recipe(shape.n_cells, shape.n_genes, shape.n_types)
    counts, types = draw_counts(recipe, seed=seed, progress=lambda *_: None)
    scale = LIBRARY_SIZE / np.maximum(counts.sum(axis=1), 1)
    return sp.csr_matrix(sp.diags_array(np.asarray(scale).ravel()) @ counts, dtype=np.float32), types


@torch.no_grad()
def plain_networks(shape: ActivaShape, *, density: float, device: str, seed: int = 0) -> PlainActiva:
    """Build networks in eval mode that draw `density` non-zero values and `RARE_TYPE` in its share of cells.

    Untrained weights give every gene a normal-looking activation, so a bias per gene fixes how often it
    is above 0; another one on the classifier's logit fixes how often type 0 wins.

    Parameters
    ----------
    shape
        Genes, types and the rare share.
    density
        Share of non-zero values in the samples.
    device
        Device that the networks lie on.
    seed
        Seed of the weights and the pilot's draws.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PlainActiva(shape.n_genes, shape.n_types).eval().requires_grad_(False)
    latent = torch.randn(PILOT_CELLS, model.latent_dim, generator=torch.Generator().manual_seed(seed))
    last, rarest = model.decoder[-2], model.classifier[-1]
    assert isinstance(last, torch.nn.Linear) and isinstance(rarest, torch.nn.Linear)
    hidden = model.decoder[:-2](latent)
    for weight, bias in zip(last.weight.split(1024), last.bias.split(1024), strict=True):
        bias.copy_(-torch.quantile(hidden @ weight.T, 1 - density, dim=0))
    logits = torch.cat([model.classifier(model.decoder(part)) for part in latent.split(BATCH_SIZE)])
    behind = logits[:, 1:].max(dim=1).values - logits[:, RARE_TYPE]
    rarest.bias[RARE_TYPE] += torch.quantile(behind, shape.rare_share)
    return model.to(device)


def activa_networks(plain: PlainActiva, settings: Settings, *, n_types: int) -> Networks:
    """Build `models.activa`'s networks with the same weights, in eval mode on the same device."""
    networks = build_networks(settings, n_genes=plain.n_genes, n_cell_types=n_types, seed=0)
    values = plain.state_dict().values()
    networks.load_state_dict(dict(zip(networks.state_dict(), values, strict=True)))
    return networks.eval().requires_grad_(False).to(plain.device)
