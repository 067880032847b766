"""ACTIVA's hyper-parameters and their published values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from models.base import AUTO, Settled
from models.precision import Precision, settle_precision

Objective = Literal["paper", "release"]
SamplingNorm = Literal["prior", "eval", "batch"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every constant of ACTIVA; the defaults are the paper's and the release's.

    Parameters
    ----------
    objective
        ``"paper"``: the generator plays against the encoder (eq. 5). ``"release"``: the authors' code,
        whose adversarial term never reaches the generator.
    conditioner
        ``"actinn"``, or ``"package.module:Class"`` (see `models.activa.conditioner.Conditioner`).
    latent_dim
        Dimensions of the latent space.
    hidden_sizes
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    batch_size
        Cells in a batch; at least 2, because BatchNorm needs two.
    learning_rate
        Learning rate of Adam for encoder and decoder.
    margin
        m of the hinge, in nats.
    weight_kl
        Weight of KL(Enc(x)) in the encoder's loss.
    weight_hinge
        α₁ of each hinge term in the encoder's loss.
    weight_adversarial
        α₁ of each KL term in the generator's loss.
    weight_reconstruction
        α₂ of L_AE + L_CT in both losses.
    soft_adapt
        Whether the weights follow the losses' rates of change (SoftAdapt).
    classifier_learning_rate, classifier_weight_decay
        Learning rate and weight decay of Adam in the conditioner's pre-training.
    precision
        Precision of the wide layers' products: ``"bf16"``, ``"fp32"``, or ``"auto"`` for what a probe finds
        faster (see `models.precision`) on the machine that trains. Weights, Adam and in training all that
        lies between those layers are fp32 in either, but that with ``"bf16"`` a GPU rounds the factors of
        products there to TF32; samples are drawn with the decoder's other layers in bf16, too.
    sampling_norm
        BatchNorm statistics that samples are drawn with (see `models.activa.sampling`).
    confidence_threshold
        τ: the least softmax confidence of a cell drawn on demand, in [0, 1).
    max_draws_per_cell
        Bound on draws on demand, for each cell asked for.

    Raises
    ------
    ValueError
        If a value lies outside its range; the message names it.
    """

    objective: Objective = "paper"
    conditioner: str = "actinn"
    latent_dim: int = 128
    hidden_sizes: tuple[int, ...] = (1024, 512, 256)
    batch_size: int = 128
    learning_rate: float = 2e-4
    margin: float = 110.0
    weight_kl: float = 1.0
    weight_hinge: float = 0.25
    weight_adversarial: float = 0.5
    weight_reconstruction: float = 0.05
    soft_adapt: bool = False
    classifier_learning_rate: float = 1e-4
    classifier_weight_decay: float = 0.005
    precision: Precision = "auto"
    sampling_norm: SamplingNorm = "prior"
    confidence_threshold: float = 0.0
    max_draws_per_cell: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        for name, allowed in (
            ("objective", ("paper", "release")),
            ("sampling_norm", ("prior", "eval", "batch")),
            ("precision", (AUTO, "bf16", "fp32")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"activa: {name}={getattr(self, name)!r} is not one of {', '.join(allowed)}")
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"activa: {name}={getattr(self, name)} must be at least {least}")
        for name in ("learning_rate", "classifier_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"activa: {name}={getattr(self, name)} must be above 0")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"activa: hidden_sizes={self.hidden_sizes} must be one or more positive widths")
        if self.confidence_threshold >= 1:
            raise ValueError(f"activa: confidence_threshold={self.confidence_threshold} must be below 1")

    def settled_precision(self, *, n_genes: int, device: str) -> Settled:
        """Return the precision for this machine, and why.

        Parameters
        ----------
        n_genes
            Width of a cell.
        device
            Device of the networks.
        """
        hidden = self.hidden_sizes[0]
        return settle_precision(
            self.precision,
            # Two passes are multiplied as one, or more.
            rows=2 * self.batch_size,
            widest=[(hidden, n_genes), (n_genes, hidden)],
            device=device,
        )

    def settled(self, *, n_genes: int, device: str) -> Self:
        """Return these settings with nothing left to the machine; parameters as in `settled_precision`."""
        return replace(self, precision=self.settled_precision(n_genes=n_genes, device=device).value)


_LEAST = {
    "latent_dim": 1,
    "batch_size": 2,
    "margin": 0,
    "weight_kl": 0,
    "weight_hinge": 0,
    "weight_adversarial": 0,
    "weight_reconstruction": 0,
    "classifier_weight_decay": 0,
    "confidence_threshold": 0,
    "max_draws_per_cell": 1,
}
