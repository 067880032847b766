"""How much each term of the two losses weighs: fixed constants, or SoftAdapt."""

from __future__ import annotations

import torch
from torch import Tensor

from models.activa.settings import Settings


class SoftAdapt:
    """SoftAdapt (Heydari 2019, arXiv:1912.12355), normalised variant: terms that fall slowly weigh more.

    With the last changes s of K loss terms, the factors are K · softmax(β s / Σ|s|): they are 1 as
    long as all terms change alike, and in the first step. The release's option is another one: once an
    epoch it replaces the constants of two groups, the game and L_AE + L_CT.

    Parameters
    ----------
    n_terms
        Number K of the loss terms.
    beta
        β; above 0 favours the terms that do worst.
    device
        Device that computes the losses.

    Attributes
    ----------
    previous
        The K terms of the step before, NaN before the first. Always the same memory, so that a recorded
        step finds them.
    """

    def __init__(self, n_terms: int, *, beta: float = 0.1, device: torch.device | None = None) -> None:
        self.beta = beta
        self.previous = torch.full((n_terms,), torch.nan, dtype=torch.float64, device=device)

    def factors(self, terms: Tensor) -> Tensor:
        """Return a factor for each of the K terms, given their values in this step."""
        changes = torch.where(self.previous.isnan(), 0.0, terms - self.previous)
        self.previous.copy_(terms)
        scaled = changes / changes.abs().sum().clamp_min(1e-12)
        return len(terms) * torch.softmax(self.beta * scaled, dim=0).to(terms.dtype)


class Weights:
    """Weights of the terms of both losses.

    The encoder's terms are KL(Enc(x)), the sum of its two hinges, L_AE and L_CT; the generator's are the
    sum of its two KL terms, L_AE and L_CT.

    Parameters
    ----------
    settings
        The constants, and whether SoftAdapt multiplies them.
    device
        Device that computes the losses.

    Attributes
    ----------
    soft_adapt
        SoftAdapt objects by player, ``"encoder"`` and ``"generator"``; empty when the weights are fixed.
    """

    def __init__(self, settings: Settings, *, device: torch.device) -> None:
        shared = [settings.weight_reconstruction] * 2
        self._constants = {
            "encoder": torch.tensor([settings.weight_kl, settings.weight_hinge, *shared], device=device),
            "generator": torch.tensor([settings.weight_adversarial, *shared], device=device),
        }
        self.soft_adapt = {
            player: SoftAdapt(len(constants), device=device)
            for player, constants in self._constants.items()
            if settings.soft_adapt
        }

    def of(self, player: str, terms: Tensor) -> Tensor:
        """Return the weights of a player's terms, given their values in this step."""
        if not self.soft_adapt:
            return self._constants[player]
        return self._constants[player] * self.soft_adapt[player].factors(terms)
