"""Library sizes of each cell type: mixtures of log-normals."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.counts.mixtures import TypeMixtures

MOST_COMPONENTS = 4


class LibrarySizes:
    """The sum of a cell's counts, by type: log-normal mixtures; never a training cell's own sum.

    Parameters
    ----------
    mixtures
        Mixtures of the log of the library size, one dimension.
    """

    def __init__(self, mixtures: TypeMixtures) -> None:
        self.mixtures = mixtures

    @classmethod
    def fit(cls, sizes: NDArray[np.floating], types: NDArray[np.integer], *, n_types: int, seed: int) -> Self:
        """Fit to library sizes of the training cells; an empty cell counts as one of a single count.

        Parameters
        ----------
        sizes, types
            Library sizes and type codes in 0 … n_types - 1, n_cells each.
        n_types
            Number of types, each with a cell at least.
        seed
            Seed of the first guesses.
        """
        logs = np.log(np.maximum(sizes, 1))[:, None]
        return cls(TypeMixtures.fit(logs, types, n_types=n_types, most_components=MOST_COMPONENTS, seed=seed))

    def draw_log(self, types: Tensor, *, generator: torch.Generator) -> Tensor:
        """Draw log library sizes for cells of these types (codes), n_cells."""
        return self.mixtures.draw(types, generator=generator)[:, 0]
