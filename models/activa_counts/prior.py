"""What latent vectors and library sizes are drawn from: the encoder's aggregate posterior, type by type."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.activa_counts.settings import Settings
from models.activa_counts.training import Learnt
from models.counts.generator import TrainingSet
from models.counts.mixtures import TypeMixtures
from models.streaming import row_sums

LEAST_KL: Final = 0.02
"""In nats: a latent dimension that tells less of a cell, on average, is drawn as standard normal."""


class Prior:
    """Mixtures of Gaussians per type over the latent dimensions in use and the standardised log library size.

    Use `fit`; the constructor takes the tensors that `tensors` returned.

    Parameters
    ----------
    used
        The latent dimensions that the mixtures are over.
    latent_dim
        Number of all latent dimensions, as a tensor of one value.
    library
        Mean and standard deviation of the log library sizes.
    thresholds
        n_types × (n_strata - 1): where, in log library size, a stratum of a type ends and the next begins.
    mixtures
        The tensors of a `TypeMixtures`, each under its name after ``mixtures.``.
    """

    def __init__(
        self, *, used: Tensor, latent_dim: Tensor, library: Tensor, thresholds: Tensor, **mixtures: Tensor
    ) -> None:
        self._used, self._latent_dim, self._library = used, latent_dim, library
        self._thresholds = thresholds
        self._mixtures = TypeMixtures(**{name.removeprefix("mixtures."): t for name, t in mixtures.items()})

    @property
    def n_strata(self) -> int:
        """Strata of library size in each type, some of them empty where a type has few cells."""
        return self._thresholds.shape[1] + 1

    @property
    def n_groups(self) -> int:
        """Strata of all types."""
        return len(self._thresholds) * self.n_strata

    def strata_of_types(self) -> Tensor:
        """Return how many strata of each type have cells, n_types."""
        return 1 + torch.isfinite(self._thresholds).sum(dim=1)

    def groups(self, types: Tensor, log_library: Tensor) -> Tensor:
        """Return which stratum of which type cells of these log library sizes belong to (codes)."""
        above = log_library[:, None] > self._thresholds[types]
        return types * self.n_strata + above.sum(dim=1)

    def draw(self, types: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return latent vectors and log library sizes of cells of these types (codes)."""
        points = self._mixtures.draw(types, generator=generator)
        shape = (len(types), int(self._latent_dim))
        latent = torch.randn(shape, generator=generator, device=types.device)
        latent[:, self._used.long()] = points[:, :-1]
        return latent, points[:, -1] * self._library[1] + self._library[0]

    def tensors(self) -> dict[str, Tensor]:
        """Return what the constructor takes."""
        mixtures = {f"mixtures.{name}": tensor for name, tensor in self._mixtures.tensors().items()}
        own = {"used": self._used, "latent_dim": self._latent_dim, "library": self._library}
        return own | {"thresholds": self._thresholds} | mixtures


def fit(learnt: Learnt, train: TrainingSet, settings: Settings, *, seed: int) -> Prior:
    """Fit mixtures to draws from the posteriors of the training cells, with their library sizes."""
    networks = learnt.networks
    kl = 0.5 * (learnt.mean.square() + learnt.log_variance.exp() - 1 - learnt.log_variance).mean(dim=0)
    used = torch.nonzero(kl > LEAST_KL)[:, 0]
    noise = torch.randn(learnt.mean.shape, generator=torch.Generator().manual_seed(seed))
    latent = learnt.mean + torch.exp(learnt.log_variance / 2) * noise
    log_library = np.log(np.maximum(row_sums(train.counts), 1))
    library = networks.library.cpu().clone()
    standardised = (log_library - library[0].item()) / library[1].item()
    mixtures = TypeMixtures.fit(
        np.column_stack([latent[:, used].numpy(), standardised.astype(np.float32)]),
        train.types,
        n_types=train.n_types,
        most_components=settings.most_components,
        seed=seed,
    )
    tensors = {
        "used": used.int(),
        "latent_dim": torch.tensor([settings.latent_dim]),
        "library": library,
        "thresholds": _thresholds(log_library, train, settings),
    } | {f"mixtures.{name}": tensor for name, tensor in mixtures.tensors().items()}
    return Prior(**{name: tensor.to(networks.library.device) for name, tensor in tensors.items()})


def _thresholds(log_library: np.ndarray, train: TrainingSet, settings: Settings) -> Tensor:
    """Return quantiles of each type's log library sizes, as many as its cells allow, then infinity."""
    thresholds = np.full((train.n_types, settings.strata - 1), np.inf, dtype=np.float32)
    for code in range(train.n_types):
        sizes = log_library[train.types == code]
        n_strata = int(np.clip(len(sizes) // settings.stratum_cells, 1, settings.strata))
        shares = np.arange(1, n_strata) / n_strata
        thresholds[code, : n_strata - 1] = np.quantile(sizes, shares)
    return torch.tensor(thresholds)
