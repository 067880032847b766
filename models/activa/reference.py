"""ACTIVA in plain PyTorch: the page to read first, and the tests' oracle of everything that is faster.

Heydari et al., Bioinformatics 38(8), 2022, doi:10.1093/bioinformatics/btac095 (the paper), and the authors'
released code. Notation of the paper: x cells, (μ, σ) = Enc(x), z = μ + σ ε, x_r = Gen(z), x_g = Gen(z_p) with
z_p ~ N(0, I), s is r or g, C the conditioner's logits, [·]⁺ what lies above 0.

====  ===========================================================================  ===================
eq.                                                                                 here
====  ===========================================================================  ===================
2     KL = −½ Σ_j (1 + log σ_j² − μ_j² − σ_j²), mean over the batch                `divergence`
–     L_AE = Σ_genes (x − x_r)², mean over the batch                               `reconstruction`
–     L_Enc = KL(x) + α₁ Σ_s [m − KL(x_s)]⁺ + α₂ (L_AE + L_CT), x_s constants      `PaperStep.losses`
5     L_Gen = α₁ Σ_s KL(x_s) + α₂ (L_AE + L_CT), the gradient flows through Enc    `PaperStep.losses`
6     L_CT = ½ Σ_i ‖C(x_i) − C(x_r,i)‖²                                            `PaperStep.losses`
–     what the released code computes instead                                      `ReleaseStep`
====  ===========================================================================  ===================

Of the weights, α₁ is `HINGE_WEIGHT` for a hinge and `ADVERSARIAL_WEIGHT` in L_Gen, α₂ is `FIDELITY_WEIGHT`.

It shares nothing with the rest of `models.activa`: networks of its own, fp32, eager, every pass where the
algorithm has it, an optimiser for each player. Nothing here is done to be fast, with three exceptions that
favour the release where it is timed: anomaly detection is off (the release turns it on, which only costs
time), nothing is printed, and the frozen classifier's weights take no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

BATCH_SIZE: Final = 128
LEARNING_RATE: Final = 2e-4
MARGIN: Final = 110.0
HINGE_WEIGHT: Final = 0.25
ADVERSARIAL_WEIGHT: Final = 0.5
FIDELITY_WEIGHT: Final = 0.05


class PlainActiva(nn.Module):
    """ACTIVA's three networks as plain sequences of layers.

    Parameters
    ----------
    n_genes, n_cell_types
        Width of a cell and number of its possible types.
    hidden_sizes
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    latent_dim
        Dimensions of z.
    """

    def __init__(
        self,
        n_genes: int,
        n_cell_types: int,
        *,
        hidden_sizes: Sequence[int] = (1024, 512, 256),
        latent_dim: int = 128,
    ) -> None:
        super().__init__()
        self.n_genes = n_genes
        self.latent_dim = latent_dim
        self.encoder = nn.Sequential(*_blocks([n_genes, *hidden_sizes, 2 * latent_dim]))
        self.decoder = nn.Sequential(
            *_blocks([latent_dim, *reversed(hidden_sizes)]), nn.Linear(hidden_sizes[0], n_genes), nn.ReLU()
        )
        self.classifier = nn.Sequential(
            nn.Linear(n_genes, 100),
            nn.ReLU(),
            nn.Linear(100, 50),
            nn.ReLU(),
            nn.Linear(50, 25),
            nn.ReLU(),
            nn.Linear(25, n_cell_types),
        )

    def encode(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (n_cells × latent_dim each) of cells (n_cells × n_genes)."""
        mean, log_variance = self.encoder(cells).chunk(2, dim=1)
        return mean, log_variance

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device


def plain_copy(encoder: nn.Module, decoder: nn.Module, classifier: nn.Module) -> PlainActiva:
    """Build plain networks with the weights and running statistics of others, on the same device.

    Parameters
    ----------
    encoder, decoder, classifier
        Networks of ACTIVA's architecture, whatever their parts are called: weights and buffers are
        taken in the order in which ``state_dict`` lists them.

    Raises
    ------
    ValueError
        If there are more or fewer of them than ACTIVA has.
    RuntimeError
        If a shape does not fit.
    """
    widths = [len(value) for name, value in encoder.state_dict().items() if name.endswith("running_mean")]
    inputs, outputs = _first_and_last(encoder.state_dict()), _first_and_last(classifier.state_dict())
    model = PlainActiva(
        inputs[0].shape[1], len(outputs[1]), hidden_sizes=widths[:-1], latent_dim=widths[-1] // 2
    ).to(inputs[0].device)
    for source, target in (
        (encoder, model.encoder),
        (decoder, model.decoder),
        (classifier, model.classifier),
    ):
        values = [value.detach().clone() for value in source.state_dict().values()]
        target.load_state_dict(dict(zip(target.state_dict(), values, strict=True)))
    return model


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the KL divergence to N(0, I) in nats, mean over the batch (eq. 2, its signs put right)."""
    return (-0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum(dim=1)).mean()


def reconstruction(cells: Tensor, reconstructed: Tensor) -> Tensor:
    """Return L_AE: squared errors summed over genes, mean over the batch."""
    return ((cells - reconstructed) ** 2).sum(dim=1).mean()


class PaperStep:
    """The paper's step, one call a batch: both players' gradients at the same weights, then both step.

    Parameters
    ----------
    model
        Networks, changed in place: encoder and decoder go to train mode, the classifier is frozen.
    margin
        m of the hinge, in nats.
    """

    def __init__(self, model: PlainActiva, *, margin: float = MARGIN) -> None:
        self.model, self.margin = model, margin
        self.encoder_adam, self.generator_adam = _begin(model)

    def __call__(self, cells: Tensor, noise: Tensor, prior: Tensor) -> dict[str, Tensor]:
        """Update both players once.

        Parameters
        ----------
        cells
            x: n_cells × n_genes, ``cp20k``.
        noise
            ε of z = μ + σ ε: n_cells × latent_dim, standard normal.
        prior
            z_p: n_cells × latent_dim, standard normal.

        Returns
        -------
        dict
            Both losses and their terms, by the names under which `models.activa` logs them. Each
            parameter's ``grad`` holds that of its player's loss.
        """
        losses, terms = self.losses(cells, noise, prior)
        players = (self.model.encoder, self.model.decoder)
        # Both before either steps.
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
        reconstructed = model.decoder(mean + torch.exp(0.5 * log_variance) * noise)
        fakes = (reconstructed, generated)
        kl = divergence(mean, log_variance)
        hinges = [torch.relu(self.margin - divergence(*model.encode(fake.detach()))) for fake in fakes]
        through = [divergence(*self._encode_aside(fake)) for fake in fakes]
        squared = reconstruction(cells, reconstructed)
        logits = 0.5 * ((model.classifier(cells) - model.classifier(reconstructed)) ** 2).sum()
        fidelity = FIDELITY_WEIGHT * (squared + logits)
        encoder_loss = kl + HINGE_WEIGHT * (hinges[0] + hinges[1]) + fidelity
        generator_loss = ADVERSARIAL_WEIGHT * (through[0] + through[1]) + fidelity
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


class ReleaseStep:
    """The released code's training step, one call a batch.

    One backward pass of the encoder's loss also gives the generator's gradient. The generator's loss
    then encodes *detached* cells: its gradients land in the encoder, where nobody uses them. L_CT has no ½.

    Parameters
    ----------
    model
        Networks, changed in place: encoder and decoder go to train mode, the classifier is frozen.
    margin
        m of the hinge, in nats.
    """

    def __init__(self, model: PlainActiva, *, margin: float = MARGIN) -> None:
        self.model, self.margin = model, margin
        self.encoder_adam, self.generator_adam = _begin(model)

    def __call__(self, cells: Tensor, noise: Tensor, prior: Tensor) -> dict[str, Tensor]:
        """Update encoder and generator once; takes and returns what `PaperStep` does.

        Each parameter's ``grad`` holds what its optimiser used, except that the encoder's holds besides what
        the generator's loss added after the encoder's step.
        """
        model = self.model
        self.encoder_adam.zero_grad()
        self.generator_adam.zero_grad()
        generated = model.decoder(prior)
        mean, log_variance = model.encode(cells)
        reconstructed = model.decoder(mean + torch.exp(0.5 * log_variance) * noise)
        terms = self._encoder_terms(cells, mean, log_variance, reconstructed, generated)
        terms["encoder_loss"].backward()
        self.encoder_adam.step()

        kl_reconstructed = divergence(*model.encode(reconstructed.detach()))
        kl_generated = divergence(*model.encode(generated.detach()))
        generator_loss = ADVERSARIAL_WEIGHT * (kl_reconstructed + kl_generated)
        generator_loss.backward()
        self.generator_adam.step()
        terms |= {
            "generator_loss": generator_loss,
            "generator_kl_reconstructed": kl_reconstructed,
            "generator_kl_generated": kl_generated,
        }
        return {name: term.detach() for name, term in terms.items()}

    def _encoder_terms(
        self,
        cells: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        reconstructed: Tensor,
        generated: Tensor,
    ) -> dict[str, Tensor]:
        model = self.model
        terms = {
            "encoder_kl": divergence(mean, log_variance),
            "encoder_hinge_reconstructed": torch.relu(
                self.margin - divergence(*model.encode(reconstructed.detach()))
            ),
            "encoder_hinge_generated": torch.relu(
                self.margin - divergence(*model.encode(generated.detach()))
            ),
            "reconstruction": reconstruction(cells, reconstructed),
            "conditioning": ((model.classifier(cells) - model.classifier(reconstructed)) ** 2).sum(),
        }
        hinges = terms["encoder_hinge_reconstructed"] + terms["encoder_hinge_generated"]
        fidelity = terms["reconstruction"] + terms["conditioning"]
        terms["encoder_loss"] = terms["encoder_kl"] + HINGE_WEIGHT * hinges + FIDELITY_WEIGHT * fidelity
        return terms


def release_loader(cells: np.ndarray, types: np.ndarray, *, seed: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Shuffled batches as the release has them: a DataLoader over a Python list of cells and types.

    Parameters
    ----------
    cells
        n_cells × n_genes, dense float32.
    types
        n_cells codes.
    seed
        Seed of the shuffling.
    """
    pairs = [(torch.from_numpy(cell), int(code)) for cell, code in zip(cells, types, strict=True)]
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(pairs, batch_size=BATCH_SIZE, shuffle=True, generator=generator)  # type: ignore[arg-type]


@torch.no_grad()
def sample_plainly(model: PlainActiva, n_cells: int, *, seed: int) -> sp.csr_matrix:
    """Draw cells as the release does: batches of 128, all of them dense on the host, then CSR.

    Parameters
    ----------
    model
        Networks in eval mode.
    n_cells
        Number of cells.
    seed
        Seed of the draws.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    dense = np.empty((n_cells, model.n_genes), dtype=np.float32)
    for start in range(0, n_cells, BATCH_SIZE):
        latent = _latent(model, min(BATCH_SIZE, n_cells - start), generator)
        dense[start : start + BATCH_SIZE] = model.decoder(latent).cpu().numpy()
    return sp.csr_matrix(dense)


@torch.no_grad()
def sample_type_plainly(model: PlainActiva, cell_type: int, draws: int, *, seed: int) -> sp.csr_matrix:
    """Draw cells of one type as the release does: decode, classify, keep, and again.

    The release loops until it has enough; here the number of draws is given, so that both sides of a
    ratio do the same work.

    Parameters
    ----------
    model
        Networks in eval mode.
    cell_type
        Code of the type.
    draws
        Number of cells to decode.
    seed
        Seed of the draws.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    kept = []
    for start in range(0, draws, BATCH_SIZE):
        cells = model.decoder(_latent(model, min(BATCH_SIZE, draws - start), generator))
        kept.append(cells[model.classifier(cells).argmax(dim=1) == cell_type].cpu().numpy())
    return sp.csr_matrix(np.concatenate(kept))


def _blocks(widths: Sequence[int]) -> list[nn.Module]:
    """Linear, ReLU, BatchNorm, for each pair of widths."""
    return [
        layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU(), nn.BatchNorm1d(pair[1]))
    ]


def _first_and_last(state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    tensors = list(state.values())
    return tensors[0], tensors[-1]


def _begin(model: PlainActiva) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    """Set the networks to the game, and return an optimiser for each player."""
    model.train()
    model.classifier.eval().requires_grad_(False)
    players = (model.encoder, model.decoder)
    encoder, generator = (torch.optim.Adam(player.parameters(), lr=LEARNING_RATE) for player in players)
    return encoder, generator


def _latent(model: PlainActiva, n_cells: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n_cells, model.latent_dim, generator=generator, device=model.device)
