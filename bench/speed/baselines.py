"""The released ACTIVA, transcribed plainly: the yardstick of every ratio, and the tests' oracle.

Written from the paper and from the behaviour and constants of the authors' code, with networks of its
own, so that it shares nothing with `models.activa`: fp32, eager, every pass where the released step has
it. It does what a reader of that code would do, and nothing to be fast, with three exceptions that favour
it: anomaly detection is off (the release turns it on, which only costs time), nothing is printed, and
the frozen classifier's weights take no gradients.
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


class ReleaseStep:
    """The released code's training step, one call a batch.

    One backward pass of the encoder's loss also gives the generator's gradient. The generator's loss
    then encodes *detached* cells: its gradients land in the encoder, where nobody uses them.

    Parameters
    ----------
    model
        Changed in place: encoder and decoder go to train mode, the classifier is frozen.
    margin
        m of the hinge, in nats.
    """

    def __init__(self, model: PlainActiva, *, margin: float = MARGIN) -> None:
        self.model = model
        self.margin = margin
        model.train()
        model.classifier.eval().requires_grad_(False)
        self.encoder_adam = torch.optim.Adam(model.encoder.parameters(), lr=LEARNING_RATE)
        self.generator_adam = torch.optim.Adam(model.decoder.parameters(), lr=LEARNING_RATE)

    def __call__(self, cells: Tensor, noise: Tensor, prior: Tensor) -> dict[str, Tensor]:
        """Update encoder and generator once.

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
            parameter's ``grad`` holds what its optimiser used, except that the encoder's holds besides
            what the generator's loss added after the encoder's step.
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

        kl_reconstructed = _kl(*model.encode(reconstructed.detach()))
        kl_generated = _kl(*model.encode(generated.detach()))
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
            "encoder_kl": _kl(mean, log_variance),
            "encoder_hinge_reconstructed": torch.relu(
                self.margin - _kl(*model.encode(reconstructed.detach()))
            ),
            "encoder_hinge_generated": torch.relu(self.margin - _kl(*model.encode(generated.detach()))),
            "reconstruction": ((cells - reconstructed) ** 2).sum(dim=1).mean(),
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
        Of the shuffling.
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
        In eval mode.
    n_cells
        How many.
    seed
        Of the draws.
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
        In eval mode.
    cell_type
        Code of the type.
    draws
        Cells to decode.
    seed
        Of the draws.
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


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence to N(0, I) in nats, mean over the batch."""
    return (-0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum(dim=1)).mean()


def _latent(model: PlainActiva, n_cells: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n_cells, model.latent_dim, generator=generator, device=model.device)
