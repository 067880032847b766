"""Hyper-parameters shared by scGAN and cscGAN."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Constants of networks and training; the defaults are those of the authors' release.

    Parameters
    ----------
    latent_dim
        Size of the noise, which is standard normal.
    generator_sizes, critic_sizes
        Units of the hidden layers, from the input up.
    batch_size
        Cells in a batch, real and generated.
    critic_steps
        Critic updates for each generator update but the first, which has one before it.
    gradient_penalty_weight
        λ of WGAN-GP.
    learning_rate, final_learning_rate
        Learning rate of both optimisers at the start and at the end of the budget.
    beta_1, beta_2
        Decay of AMSGrad's first and second moment.
    library_size
        Total of every generated cell.
    batch_norm_decay
        Share of BatchNorm's running statistics that is kept at each training-mode pass.

    Raises
    ------
    ValueError
        If a number lies outside its range.
    """

    latent_dim: int = 128
    generator_sizes: tuple[int, ...] = (256, 512, 1024)
    critic_sizes: tuple[int, ...] = (1024, 512, 256)
    batch_size: int = 128
    critic_steps: int = 6
    gradient_penalty_weight: float = 10.0
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    beta_1: float = 0.5
    beta_2: float = 0.9
    library_size: float = 20_000.0
    batch_norm_decay: float = 0.999

    def __post_init__(self) -> None:
        positive = ("latent_dim", "batch_size", "critic_steps", "learning_rate", "final_learning_rate")
        for name in (*positive, "library_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("beta_1", "beta_2", "batch_norm_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 0 and below 1")
        if self.gradient_penalty_weight < 0:
            raise ValueError(
                f"gradient_penalty_weight is {self.gradient_penalty_weight}: it must not be negative"
            )
        for name in ("generator_sizes", "critic_sizes"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(
                    f"{name} is {sizes}: it must name at least one layer, each of 1 unit or more"
                )

    def rate_at(self, fraction: float) -> float:
        """Return the learning rate at a share of the budget: exponential, from the first to the final one."""
        return self.learning_rate * (self.final_learning_rate / self.learning_rate) ** fraction
