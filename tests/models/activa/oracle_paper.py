"""The paper's objective, transcribed plainly (spec: eqs. 2 to 6): every loss a graph of its own, plain Adam.

It shares nothing with `models.activa`: its networks are sequences of layers of its own, and each player's
gradient is one ordinary backward pass of its own loss through its own forward passes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.speed.baselines import PlainActiva

HINGE_WEIGHT, ADVERSARIAL_WEIGHT, FIDELITY_WEIGHT = 0.25, 0.5, 0.05


class PaperStep:
    """The paper's training step: L_Enc and L_Gen at the same weights, then both players' Adam."""

    def __init__(self, model: PlainActiva, *, margin: float = 110.0) -> None:
        self.model, self.margin = model.train(), margin
        model.classifier.eval().requires_grad_(False)
        self.encoder_adam = torch.optim.Adam(model.encoder.parameters(), lr=2e-4)
        self.generator_adam = torch.optim.Adam(model.decoder.parameters(), lr=2e-4)

    def __call__(self, cells: Tensor, noise: Tensor, prior: Tensor) -> dict[str, Tensor]:
        """Update both players; afterwards each parameter's ``grad`` is that of its player's loss."""
        losses, terms = self.losses(cells, noise, prior)
        players = (self.model.encoder, self.model.decoder)
        gradients = [
            torch.autograd.grad(loss, list(player.parameters()), retain_graph=True)
            for loss, player in zip(losses, players, strict=True)
        ]
        for player, found in zip(players, gradients, strict=True):
            for parameter, gradient in zip(player.parameters(), found, strict=True):
                parameter.grad = gradient
        self.encoder_adam.step()
        self.generator_adam.step()
        return {name: term.detach() for name, term in terms.items()}

    def losses(self, cells: Tensor, noise: Tensor, prior: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return L_Enc and L_Gen, and their terms.

        L_Enc sees x_r and x_g as constants and L_Gen does not, so each has passes of its own; those of L_Gen
        run on a copy of the running statistics, because the algorithm has them once.
        """
        model = self.model
        generated = model.decoder(prior)
        mean, log_variance = model.encode(cells)
        reconstructed = model.decoder(mean + torch.exp(log_variance / 2) * noise)
        kl = divergence(mean, log_variance)
        fooled = [divergence(*model.encode(values.detach())) for values in (reconstructed, generated)]
        through = [divergence(*self._encode_aside(values)) for values in (reconstructed, generated)]
        squared = ((cells - reconstructed) ** 2).sum(dim=1).mean()
        logits = 0.5 * ((model.classifier(cells) - model.classifier(reconstructed)) ** 2).sum()
        hinges = [torch.clamp(self.margin - value, min=0) for value in fooled]
        encoder_loss = kl + HINGE_WEIGHT * (hinges[0] + hinges[1]) + FIDELITY_WEIGHT * (squared + logits)
        generator_loss = ADVERSARIAL_WEIGHT * (through[0] + through[1]) + FIDELITY_WEIGHT * (squared + logits)
        return [encoder_loss, generator_loss], {
            "encoder_loss": encoder_loss,
            "encoder_kl": kl,
            "encoder_hinge_reconstructed": hinges[0],
            "encoder_hinge_generated": hinges[1],
            "generator_loss": generator_loss,
            "generator_kl_reconstructed": through[0],
            "generator_kl_generated": through[1],
            "reconstruction": squared,
            "conditioning": logits,
        }

    def _encode_aside(self, cells: Tensor) -> tuple[Tensor, ...]:
        encoder = self.model.encoder
        statistics = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
        return torch.func.functional_call(encoder, statistics, (cells,)).chunk(2, dim=1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)) in nats, mean over the batch."""
    return (-0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum(dim=1)).mean()
