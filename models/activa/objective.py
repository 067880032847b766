"""Both players' gradients, as the paper defines them and as the release computes them.

Notation of the paper: x cells, x_r their reconstructions, x_g cells decoded from the prior. Every pass
through a network is a pass of its own, never one concatenated batch, because BatchNorm's statistics
are those of a pass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import grad

from models.activa.losses import conditioning_loss, hinge, kl_divergence, reconstruction_loss
from models.activa.networks import Networks
from models.activa.weights import Weights


class Batch(NamedTuple):
    """What one update needs.

    Attributes
    ----------
    cells
        x: n_cells × n_genes, ``cp20k``, at least two cells.
    logits
        C(x): n_cells × n_cell_types. The conditioner is frozen, so they are constants.
    noise
        ε of z = μ + σ ε: n_cells × latent_dim, standard normal.
    prior
        z_p: n_cells × latent_dim, standard normal.
    """

    cells: Tensor
    logits: Tensor
    noise: Tensor
    prior: Tensor


class Gradients(NamedTuple):
    """Gradients in the order of each player's parameters, and every term of the losses, detached."""

    encoder: list[Tensor]
    decoder: list[Tensor]
    terms: dict[str, Tensor]


class Passes(NamedTuple):
    """Outcome of the five forward passes of one step.

    ``reconstructed`` and ``generated`` hang on the decoder. Their leaves are the same values cut off from
    it; L_AE and L_CT hang on the first, and so do the KL terms of an open encoder on both.
    """

    reconstructed: Tensor
    generated: Tensor
    reconstructed_leaf: Tensor
    generated_leaf: Tensor
    kl: Tensor
    kl_reconstructed: Tensor
    kl_generated: Tensor
    reconstruction: Tensor
    conditioning: Tensor


def forward_passes(networks: Networks, batch: Batch, *, open_encoder: bool, halved: bool) -> Passes:
    """Decode z_p, encode x, decode z, encode x_r and x_g: the release's order, the paper names none.

    Parameters
    ----------
    networks
        Encoder and decoder in train mode, the conditioner frozen in eval mode.
    batch
        The cells and their noise.
    open_encoder
        Whether KL(Enc(x_r)) and KL(Enc(x_g)) can be differentiated with respect to x_r and x_g.
    halved
        As in `conditioning_loss`.
    """
    encoder, decoder = networks.encoder, networks.decoder
    with torch.set_grad_enabled(open_encoder):
        generated = decoder(batch.prior)
    mean, log_variance = encoder(batch.cells)
    reconstructed = decoder(mean + (log_variance / 2).exp() * batch.noise)
    reconstructed_leaf = reconstructed.detach().requires_grad_()
    generated_leaf = generated.detach().requires_grad_(open_encoder)
    seen = reconstructed_leaf if open_encoder else reconstructed_leaf.detach()
    return Passes(
        reconstructed=reconstructed,
        generated=generated,
        reconstructed_leaf=reconstructed_leaf,
        generated_leaf=generated_leaf,
        kl=kl_divergence(mean, log_variance),
        kl_reconstructed=kl_divergence(*encoder(seen)),
        kl_generated=kl_divergence(*encoder(generated_leaf)),
        reconstruction=reconstruction_loss(batch.cells, reconstructed_leaf),
        conditioning=conditioning_loss(batch.logits, networks.conditioner(reconstructed_leaf), halved=halved),
    )


def paper_gradients(networks: Networks, batch: Batch, weights: Weights, *, margin: float) -> Gradients:
    """Gradients of L_Enc and L_Gen as the paper defines them, both at the present weights.

    One set of forward passes serves both players. The encoder sees x_r and x_g as constants, while the
    generator's KL terms flow through the encoder into it. So each KL is differentiated once: with
    respect to the encoder's weights, which enter L_Enc with the hinge's sign, and to the cells, whence
    it is carried on into the decoder for L_Gen. The decoder's weights receive all of L_Gen's gradient,
    the latent code only that of α₂ (L_AE + L_CT), as L_Enc has it.

    Parameters
    ----------
    networks
        Encoder and decoder in train mode, the conditioner frozen in eval mode.
    batch
        The cells and their noise.
    weights
        Of the terms of both losses.
    margin
        m of the hinge, in nats.
    """
    encoder, decoder = list(networks.encoder.parameters()), list(networks.decoder.parameters())
    passes = forward_passes(networks, batch, open_encoder=True, halved=True)
    encoder_weights, encoder_terms = _encoder_loss(passes, weights, margin)
    generator_weights, generator_terms = _generator_loss(passes, weights)
    to_reconstructed, *by_reconstructed = grad(passes.kl_reconstructed, [passes.reconstructed_leaf, *encoder])
    to_generated, *by_generated = grad(passes.kl_generated, [passes.generated_leaf, *encoder])
    fidelity = _fidelity_gradients(passes)

    adversary = generator_weights[0]
    of_decoder = grad(
        [passes.reconstructed, passes.generated],
        decoder,
        [
            adversary * to_reconstructed + _weighted(fidelity, generator_weights),
            adversary * to_generated,
        ],
        retain_graph=True,
    )
    of_encoder = grad(
        [passes.kl, passes.reconstructed],
        encoder,
        [encoder_weights[0], _weighted(fidelity, encoder_weights)],
    )
    slopes = _hinge_slopes(passes, encoder_weights, margin)
    for total, *parts in zip(of_encoder, by_reconstructed, by_generated, strict=True):
        for part, slope in zip(parts, slopes, strict=True):
            total.addcmul_(part, slope)
    return Gradients(list(of_encoder), list(of_decoder), encoder_terms | generator_terms)


def release_gradients(
    networks: Networks, batch: Batch, weights: Weights, *, margin: float
) -> tuple[Gradients, Passes]:
    """Gradients as the authors' released code computes them.

    One backward pass of L_Enc also gives the generator's gradient, that of α₂ (L_AE + L_CT). The generator
    step adds nothing to it: it encodes detached cells (`encode_again`), so the adversarial term never
    reaches the decoder. L_CT is not halved.

    Parameters
    ----------
    networks, batch, weights, margin
        As in `paper_gradients`.

    Returns
    -------
    Gradients, Passes
        The gradients, and the passes, which `encode_again` needs.
    """
    encoder, decoder = list(networks.encoder.parameters()), list(networks.decoder.parameters())
    passes = forward_passes(networks, batch, open_encoder=False, halved=False)
    encoder_weights, terms = _encoder_loss(passes, weights, margin)
    gradients = grad(
        [passes.kl, passes.kl_reconstructed, passes.kl_generated, passes.reconstructed],
        [*encoder, *decoder],
        [
            encoder_weights[0],
            *_hinge_slopes(passes, encoder_weights, margin),
            _weighted(_fidelity_gradients(passes), encoder_weights),
        ],
    )
    of_encoder, of_decoder = list(gradients[: len(encoder)]), list(gradients[len(encoder) :])
    return Gradients(of_encoder, of_decoder, terms), passes


@torch.no_grad()
def encode_again(networks: Networks, passes: Passes, *, weight_adversarial: float) -> dict[str, Tensor]:
    """Encode the same x_r and x_g after the encoder's step, as the release's generator step does.

    Nothing is differentiated: the release throws these gradients away. What stays are the generator's
    KL terms, as it logs them, and two more updates of the encoder's running statistics. Its L_Gen has no
    other terms: L_AE and L_CT reach the decoder through L_Enc.
    """
    kls = [kl_divergence(*networks.encoder(cells)) for cells in (passes.reconstructed, passes.generated)]
    loss = weight_adversarial * (kls[0] + kls[1])
    return {"generator_loss": loss, "generator_kl_reconstructed": kls[0], "generator_kl_generated": kls[1]}


def warm_up_gradients(networks: Networks, batch: Batch) -> Gradients:
    """Gradients of the plain VAE, L_AE + KL(Enc(x)), both weighted 1."""
    encoder, decoder = list(networks.encoder.parameters()), list(networks.decoder.parameters())
    mean, log_variance = networks.encoder(batch.cells)
    reconstructed = networks.decoder(mean + (log_variance / 2).exp() * batch.noise)
    kl = kl_divergence(mean, log_variance)
    reconstruction = reconstruction_loss(batch.cells, reconstructed)
    gradients = grad(kl + reconstruction, [*encoder, *decoder])
    terms = {"encoder_kl": kl.detach(), "reconstruction": reconstruction.detach()}
    return Gradients(list(gradients[: len(encoder)]), list(gradients[len(encoder) :]), terms)


@torch.no_grad()
def _encoder_loss(passes: Passes, weights: Weights, margin: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights of the encoder's terms, and the terms by the name they are logged under."""
    hinges = [hinge(kl, margin=margin) for kl in (passes.kl_reconstructed, passes.kl_generated)]
    terms = torch.stack([passes.kl, hinges[0] + hinges[1], passes.reconstruction, passes.conditioning])
    encoder_weights = weights.of("encoder", terms)
    return encoder_weights, {
        "encoder_loss": (encoder_weights * terms).sum(),
        "encoder_kl": passes.kl.detach(),
        "encoder_hinge_reconstructed": hinges[0],
        "encoder_hinge_generated": hinges[1],
        "reconstruction": passes.reconstruction.detach(),
        "conditioning": passes.conditioning.detach(),
    }


@torch.no_grad()
def _generator_loss(passes: Passes, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights of the generator's terms, and the terms of its own by the name they are logged under."""
    kls = [passes.kl_reconstructed.detach(), passes.kl_generated.detach()]
    terms = torch.stack([kls[0] + kls[1], passes.reconstruction, passes.conditioning])
    generator_weights = weights.of("generator", terms)
    return generator_weights, {
        "generator_loss": (generator_weights * terms).sum(),
        "generator_kl_reconstructed": kls[0],
        "generator_kl_generated": kls[1],
    }


def _hinge_slopes(passes: Passes, encoder_weights: Tensor, margin: float) -> list[Tensor]:
    """Derivative of the weighted hinges with respect to each KL: minus the weight, or 0 beyond the margin."""
    kls = (passes.kl_reconstructed.detach(), passes.kl_generated.detach())
    return [-encoder_weights[1] * (kl < margin) for kl in kls]


def _fidelity_gradients(passes: Passes) -> tuple[Tensor, Tensor]:
    """Gradients of L_AE and of L_CT with respect to x_r."""
    leaf = passes.reconstructed_leaf
    return grad(passes.reconstruction, leaf)[0], grad(passes.conditioning, leaf)[0]


def _weighted(fidelity: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
    """Sum of the gradients of L_AE and L_CT; in both players' weights theirs come last."""
    return weights[-2] * fidelity[0] + weights[-1] * fidelity[1]
