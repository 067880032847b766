"""Profiles: how much of everything a run does. Budgets themselves belong to the models."""

from dataclasses import dataclass
from typing import Literal

ProfileName = Literal["smoke", "quick", "paper"]


@dataclass(frozen=True)
class Profile:
    """Everything that ``--profile`` chooses.

    Attributes
    ----------
    name
        Name of the profile, which is also the key into `Generator.default_budgets`.
    models, baselines, controls
        Generators that run when the request names none; baselines and controls run in any case.
    timing_cells, timing_repeats, timing_limit_seconds
        Number of cells of a timed sample of a model or baseline, number of such samples, and total seconds
        after which no further one begins.
    augmentation_fractions
        Shares of the type's training cells that are kept, one Job each.
    augmentation_one_fraction
        Whether to keep only the smallest fraction that leaves at least 10 cells.
    augmentation_seeds
        Number of subsampling seeds of the augmentation experiment.
    """

    name: ProfileName
    models: tuple[str, ...] = ("activa", "scgan", "cscgan")
    baselines: tuple[str, ...] = ("poisson_factors", "nb_copula", "knn_poisson")
    controls: tuple[str, ...] = ("real", "shuffle", "shuffle_within_type", "poisson", "memorise", "null")
    timing_cells: int = 100_000
    timing_repeats: int = 3
    timing_limit_seconds: float = 30.0
    augmentation_fractions: tuple[float, ...] = (0.1, 0.05, 0.01, 0.005)
    augmentation_one_fraction: bool = True
    augmentation_seeds: int = 1


PROFILES: dict[str, Profile] = {
    "smoke": Profile(
        name="smoke", baselines=(), controls=("real", "shuffle"), timing_cells=2_000, timing_repeats=1
    ),
    "quick": Profile(name="quick", timing_limit_seconds=5.0),
    "paper": Profile(
        name="paper",
        timing_repeats=5,
        timing_limit_seconds=1800.0,
        augmentation_one_fraction=False,
        augmentation_seeds=5,
    ),
}
