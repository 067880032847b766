"""Hyper-parameters of the count ACTIVA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.base import AUTO, GeneratorError
from models.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every constant of the count ACTIVA; the defaults were chosen on validation cells.

    Parameters
    ----------
    latent_dim, hidden_sizes
        Dimensions of the latent space; widths of the encoder's hidden layers, which the decoder has in
        reverse.
    batch_size, learning_rate
        Cells of a step, and the peak rate of Adam.
    weight_kl
        Weight of KL(Enc(x)) beside the negative log-likelihood, both summed over a cell.
    weight_conditioning
        Weight of the conditioner's term; 0 for no conditioner.
    weight_adversarial, margin
        Weight of the game's terms, 0 for no game, and the game's margin in nats.
    most_components
        Largest number of components of a type's mixture.
    marginal_draws
        Number of draws that the marginals of each group of cells are learned from; 0 imposes none.
    prior_cells
        Number of cells that the model's own marginals count for beside the training cells'.
    strata, stratum_cells
        Largest number of strata of library size of a type, and least number of training cells in each.
    precision
        Precision of the hidden layers in training: ``"bf16"``, ``"fp32"`` or ``"auto"``. Cells are drawn in
        fp32.

    Raises
    ------
    GeneratorError
        If a value lies outside its range; the message names it.
    """

    latent_dim: int = 32
    hidden_sizes: tuple[int, ...] = (512, 256)
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_kl: float = 1.0
    weight_conditioning: float = 0.0
    weight_adversarial: float = 0.0
    margin: float = 40.0
    most_components: int = 20
    marginal_draws: int = 2000
    prior_cells: float = 5.0
    strata: int = 3
    stratum_cells: int = 300
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise GeneratorError(f"activa_counts: {name}={getattr(self, name)} must be at least {least}")
        for name in ("learning_rate", "prior_cells"):
            if not getattr(self, name) > 0:
                raise GeneratorError(f"activa_counts: {name}={getattr(self, name)} must be above 0")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise GeneratorError(
                f"activa_counts: hidden_sizes={self.hidden_sizes} must be one or more positive widths"
            )
        if self.precision not in (AUTO, "bf16", "fp32"):
            raise GeneratorError(
                f"activa_counts: precision={self.precision!r} is not one of {AUTO}, bf16, fp32"
            )


_LEAST: Final = {
    "latent_dim": 1,
    "batch_size": 2,
    "weight_kl": 0,
    "weight_conditioning": 0,
    "weight_adversarial": 0,
    "margin": 0,
    "most_components": 1,
    "marginal_draws": 0,
    "strata": 1,
    "stratum_cells": 1,
}
