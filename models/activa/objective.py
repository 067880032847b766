"""Both players' gradients, as the paper defines them and as the release computes them.

Notation of the paper: x cells, x_r their reconstructions, x_g cells decoded from the prior. Every pass
through BatchNorm is a pass of its own, because its statistics are those of a pass: two passes through the
decoder and three through the encoder. The wide layers at their ends, which hold nearly all the arithmetic,
are computed by hand for several passes at a time (see `models.activa.wide`); what lies between is left to
autograd, which is asked for gradients with respect to the first Linear's outputs and is given those with
respect to the last Linear's inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import grad

from models.activa.losses import conditioning_loss, hinge, kl_divergence, reconstruction_loss
from models.activa.players import Players, through_relu
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
    """Gradients in the order of each player's parameters, and every term of the losses, detached.

    Those of the wide layers lie in memory that the next step writes into.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    terms: dict[str, Tensor]


class Posterior(NamedTuple):
    """The pass of x through the encoder and on through the decoder's hidden layers, as one graph.

    Attributes
    ----------
    outputs
        Outputs of the first Linear: the graph's leaf.
    codes
        Inputs of the last Linear: the graph's end.
    kl
        KL(Enc(x)).
    """

    outputs: Tensor
    codes: Tensor
    kl: Tensor


class Passes(NamedTuple):
    """Outcome of the five forward passes of one step.

    Attributes
    ----------
    posterior
        The pass of x.
    prior_codes
        Inputs of the decoder's last Linear for z_p, in the generator's graph.
    cells
        x, x_r and x_g below one another, in the products' number type and width.
    codes
        Inputs of the decoder's last Linear for x_r and x_g, likewise.
    outputs
        Outputs of the encoder's first Linear for x_r and x_g: leaves on which the two KLs depend.
    kls
        KL(Enc(x_r)) and KL(Enc(x_g)).
    difference
        x_r − x.
    reconstruction
        L_AE, a constant: its gradient is written out in `_fidelity`.
    conditioning
        L_CT.
    by_conditioning
        Gradient of L_CT with respect to x_r.
    """

    posterior: Posterior
    prior_codes: Tensor
    cells: Tensor
    codes: Tensor
    outputs: tuple[Tensor, ...]
    kls: tuple[Tensor, ...]
    difference: Tensor
    reconstruction: Tensor
    conditioning: Tensor
    by_conditioning: Tensor


def forward_passes(players: Players, batch: Batch, *, open_generator: bool, halved: bool) -> Passes:
    """Decode z_p, encode x, decode z, encode x_r and x_g: the release's order, the paper names none.

    Parameters
    ----------
    players
        Encoder and decoder in train mode, the conditioner frozen in eval mode.
    batch
        The cells and their noise.
    open_generator
        Whether the pass of z_p can be differentiated.
    halved
        Whether L_CT is halved (paper, eq. 6).
    """
    networks, n_cells = players.networks, len(batch.cells)
    cells = players.cells(3 * n_cells)
    with torch.set_grad_enabled(open_generator):
        prior_codes = networks.decoder.hidden(batch.prior)
    posterior = _encode(players, batch)
    codes = players.decode([posterior.codes, prior_codes], out=cells[n_cells:])
    outputs = tuple(part.detach().requires_grad_() for part in players.encode(cells[n_cells:]).chunk(2))
    kls = tuple(kl_divergence(*networks.encoder.after_first(part)) for part in outputs)
    decoded = players.genes(cells[n_cells : 2 * n_cells])
    leaf = players.workspace(n_cells).copy_(decoded).requires_grad_()
    conditioning = conditioning_loss(batch.logits, networks.conditioner(leaf), halved=halved)
    difference = torch.sub(leaf.detach(), batch.cells, out=players.difference(n_cells))
    return Passes(
        posterior=posterior,
        prior_codes=prior_codes,
        cells=cells,
        codes=codes,
        outputs=outputs,
        kls=kls,
        difference=difference,
        reconstruction=reconstruction_loss(difference),
        conditioning=conditioning.detach(),
        by_conditioning=grad(conditioning, leaf)[0],
    )


def paper_gradients(players: Players, batch: Batch, weights: Weights, *, margin: float) -> Gradients:
    """Gradients of L_Enc and L_Gen as the paper defines them, both at the present weights.

    One set of forward passes serves both players. The encoder sees x_r and x_g as constants, while the
    generator's KL terms flow through the encoder into it. So each KL is differentiated once, down to the
    first Linear's outputs: from there to its weights, which enter L_Enc with the hinge's sign, and to the
    cells, whence it is carried on into the decoder for L_Gen. The decoder's weights receive all of
    L_Gen's gradient, the latent code only that of α₂ (L_AE + L_CT), as L_Enc has it. Hence three
    gradients with respect to cells: L_Gen's to x_r and to x_g, and L_Enc's to x_r.

    Parameters
    ----------
    players
        Encoder and decoder in train mode, the conditioner frozen in eval mode.
    batch
        The cells and their noise.
    weights
        Weights of the terms of both losses.
    margin
        m of the hinge, in nats.
    """
    n_cells = len(batch.cells)
    passes = forward_passes(players, batch, open_generator=True, halved=True)
    encoder_weights, encoder_terms = _encoder_loss(passes, weights, margin)
    generator_weights, generator_terms = _generator_loss(passes, weights)
    game = _game_gradients(players, passes)

    by_cells, decoded = players.by_cells(3 * n_cells), passes.cells[n_cells:]
    adversarial = generator_weights[0] * torch.cat([by_outputs for by_outputs, *_ in game])
    players.back_through_encoder(adversarial, out=by_cells[: 2 * n_cells])
    fidelity = players.genes(by_cells)[2 * n_cells :]
    fidelity.copy_(_fidelity(players, passes, generator_weights))
    players.genes(by_cells)[:n_cells] += fidelity
    fidelity.copy_(_fidelity(players, passes, encoder_weights))
    through_relu(by_cells[: 2 * n_cells], decoded)
    through_relu(by_cells[2 * n_cells :], decoded[:n_cells])

    *of_generator, of_encoder = players.back_through_decoder(by_cells).chunk(3)
    posterior = passes.posterior
    of_decoder = grad(
        [posterior.codes, passes.prior_codes], players.decoder_rest, of_generator, retain_graph=True
    )
    by_posterior = grad(
        [posterior.kl, posterior.codes],
        [posterior.outputs, *players.encoder_rest],
        [encoder_weights[0], of_encoder],
    )
    slopes = _hinge_slopes(passes, encoder_weights, margin)
    return Gradients(
        _encoder_gradients(players, passes, by_posterior, game, slopes),
        [*of_decoder, *players.last.learn(by_cells[: 2 * n_cells], passes.codes)],
        encoder_terms | generator_terms,
    )


def release_gradients(
    players: Players, batch: Batch, weights: Weights, *, margin: float
) -> tuple[Gradients, Passes]:
    """Gradients as the authors' released code computes them.

    One backward pass of L_Enc also gives the generator's gradient, that of α₂ (L_AE + L_CT). The generator
    step adds nothing to it: it encodes detached cells (`encode_again`), so the adversarial term never
    reaches the decoder. L_CT is not halved.

    Parameters
    ----------
    players, batch, weights, margin
        Networks, cells with their noise, weights of the terms and margin in nats, see `paper_gradients`.

    Returns
    -------
    Gradients, Passes
        The gradients, and the passes, which `encode_again` needs.
    """
    n_cells, n_encoder = len(batch.cells), 1 + len(players.encoder_rest)
    passes = forward_passes(players, batch, open_generator=False, halved=False)
    encoder_weights, terms = _encoder_loss(passes, weights, margin)
    game, posterior = _game_gradients(players, passes), passes.posterior
    by_cells = players.by_cells(n_cells)
    players.genes(by_cells).copy_(_fidelity(players, passes, encoder_weights))
    through_relu(by_cells, passes.cells[n_cells : 2 * n_cells])
    gradients = grad(
        [posterior.kl, posterior.codes],
        [posterior.outputs, *players.encoder_rest, *players.decoder_rest],
        [encoder_weights[0], players.back_through_decoder(by_cells)],
    )
    slopes = _hinge_slopes(passes, encoder_weights, margin)
    of_encoder = _encoder_gradients(players, passes, gradients[:n_encoder], game, slopes)
    of_decoder = [*gradients[n_encoder:], *players.last.learn(by_cells, passes.codes[:n_cells])]
    return Gradients(of_encoder, of_decoder, terms), passes


@torch.no_grad()
def encode_again(players: Players, passes: Passes, *, weight_adversarial: float) -> dict[str, Tensor]:
    """Encode the same x_r and x_g after the encoder's step, as the release's generator step does.

    Nothing is differentiated: the release throws these gradients away. What stays are the generator's
    KL terms, as it logs them, and two more updates of the encoder's running statistics. Its L_Gen has no
    other terms: L_AE and L_CT reach the decoder through L_Enc.
    """
    outputs = players.encode(passes.cells[len(passes.difference) :]).chunk(2)
    kls = [kl_divergence(*players.networks.encoder.after_first(part)) for part in outputs]
    loss = weight_adversarial * (kls[0] + kls[1])
    return {"generator_loss": loss, "generator_kl_reconstructed": kls[0], "generator_kl_generated": kls[1]}


def warm_up_gradients(players: Players, batch: Batch) -> Gradients:
    """Gradients of the plain VAE, L_AE + KL(Enc(x)), both weighted 1."""
    n_cells, n_encoder = len(batch.cells), 1 + len(players.encoder_rest)
    cells, by_cells = players.cells(2 * n_cells), players.by_cells(n_cells)
    posterior = _encode(players, batch)
    codes = players.decode([posterior.codes], out=cells[n_cells:])
    difference = players.difference(n_cells).copy_(players.genes(cells[n_cells:])).sub_(batch.cells)
    players.genes(by_cells).copy_(torch.mul(difference, 2 / n_cells, out=players.workspace(n_cells)))
    through_relu(by_cells, cells[n_cells:])
    gradients = grad(
        [posterior.kl, posterior.codes],
        [posterior.outputs, *players.encoder_rest, *players.decoder_rest],
        [torch.ones_like(posterior.kl), players.back_through_decoder(by_cells)],
    )
    of_encoder = [*players.first.learn(gradients[0], cells[:n_cells]), *gradients[1:n_encoder]]
    of_decoder = [*gradients[n_encoder:], *players.last.learn(by_cells, codes)]
    terms = {"encoder_kl": posterior.kl.detach(), "reconstruction": reconstruction_loss(difference)}
    return Gradients(of_encoder, of_decoder, terms)


def _encode(players: Players, batch: Batch) -> Posterior:
    """Encode x and take z on to the decoder's last layer."""
    cells = players.cells(len(batch.cells))
    players.genes(cells).copy_(batch.cells)
    outputs = players.encode(cells).requires_grad_()
    mean, log_variance = players.networks.encoder.after_first(outputs)
    codes = players.networks.decoder.hidden(mean + (log_variance / 2).exp() * batch.noise)
    return Posterior(outputs, codes, kl_divergence(mean, log_variance))


def _game_gradients(players: Players, passes: Passes) -> list[tuple[Tensor, ...]]:
    """For x_r and x_g: gradients of KL with respect to the first Linear's outputs, then to the rest."""
    return [
        grad(kl, [outputs, *players.encoder_rest])
        for kl, outputs in zip(passes.kls, passes.outputs, strict=True)
    ]


def _encoder_gradients(
    players: Players,
    passes: Passes,
    by_posterior: tuple[Tensor, ...],
    game: list[tuple[Tensor, ...]],
    slopes: list[Tensor],
) -> list[Tensor]:
    """Sum the gradients of the pass of x and, by their slopes, those of the two hinges."""
    by_outputs, *rest = by_posterior
    for (_, *parts), slope in zip(game, slopes, strict=True):
        for total, part in zip(rest, parts, strict=True):
            total.addcmul_(part, slope)
    hinges = [slope * by_hinged for (by_hinged, *_), slope in zip(game, slopes, strict=True)]
    return [*players.first.learn(torch.cat([by_outputs, *hinges]), passes.cells), *rest]


@torch.no_grad()
def _encoder_loss(passes: Passes, weights: Weights, margin: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights of the encoder's terms, and the terms by the name they are logged under."""
    kl = passes.posterior.kl.detach()
    hinges = [hinge(kl, margin=margin) for kl in passes.kls]
    terms = torch.stack([kl, hinges[0] + hinges[1], passes.reconstruction, passes.conditioning])
    encoder_weights = weights.of("encoder", terms)
    return encoder_weights, {
        "encoder_loss": (encoder_weights * terms).sum(),
        "encoder_kl": kl,
        "encoder_hinge_reconstructed": hinges[0],
        "encoder_hinge_generated": hinges[1],
        "reconstruction": passes.reconstruction,
        "conditioning": passes.conditioning,
    }


@torch.no_grad()
def _generator_loss(passes: Passes, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights of the generator's terms, and the terms of its own by the name they are logged under."""
    kls = [kl.detach() for kl in passes.kls]
    terms = torch.stack([kls[0] + kls[1], passes.reconstruction, passes.conditioning])
    generator_weights = weights.of("generator", terms)
    return generator_weights, {
        "generator_loss": (generator_weights * terms).sum(),
        "generator_kl_reconstructed": kls[0],
        "generator_kl_generated": kls[1],
    }


def _hinge_slopes(passes: Passes, encoder_weights: Tensor, margin: float) -> list[Tensor]:
    """Derivative of the weighted hinges with respect to each KL: minus the weight, or 0 beyond the margin."""
    return [-encoder_weights[1] * (kl.detach() < margin) for kl in passes.kls]


def _fidelity(players: Players, passes: Passes, weights: Tensor) -> Tensor:
    """Gradient of L_AE and L_CT with respect to x_r; in both players' weights theirs come last."""
    n_cells = len(passes.difference)
    factor = weights[-2].double() * (2 / n_cells)
    total = torch.mul(passes.difference, factor, out=players.workspace(n_cells))
    return total.addcmul_(passes.by_conditioning, weights[-1])
