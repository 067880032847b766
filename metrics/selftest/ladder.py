"""Ladders: real cells, made worse rung by rung. The first rung leaves them as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from metrics.declaration import NotApplicable
from metrics.scarcest_type import countable_types
from metrics.selftest import corruptions
from metrics.selftest.cells import FreshCells
from metrics.spaces import Csr, Space

FEWEST_OF_TYPE = 10


@dataclass(frozen=True)
class Ladder:
    """One way to make cells worse.

    Parameters
    ----------
    name, description
        Name, and one line on what happens to the cells.
    rungs
        Amounts of the corruption, from none, that `corrupt` takes.
    corrupt
        Function of cells, a rung and a seed that returns n_cells × n_genes.
    label
        Name of a rung, as a format of its number.
    space
        Space of the corrupted values.
    """

    name: str
    description: str
    rungs: tuple[float, ...]
    corrupt: Callable[[FreshCells, float, int], Csr]
    label: str = "{:.0%}"
    space: Space = "counts"

    @property
    def labels(self) -> list[str]:
        """Names of the rungs: ``25 %``, ``× 0.8``, ``all``."""
        return [self.label.format(rung).replace("%", " %").replace("inf", "all") for rung in self.rungs]


def rarest_type(cells: FreshCells) -> str:
    """Return the type with the fewest cells, of those with at least 10 that a classifier recognises.

    Raises
    ------
    NotApplicable
        If there are not two such types.
    """
    names, sizes = np.unique(cells.types, return_counts=True)
    countable, _ = countable_types(cells.real)
    enough = (sizes >= FEWEST_OF_TYPE) & np.isin(names, countable)
    if enough.sum() < 2:
        raise NotApplicable(
            f"fewer than two types with {FEWEST_OF_TYPE} of the cells can be told from others"
        )
    return str(names[enough][sizes[enough].argmin()])


def commonest_type(cells: FreshCells) -> str:
    """Return the type with the most cells.

    Raises
    ------
    NotApplicable
        If it is the only one.
    """
    names, sizes = np.unique(cells.types, return_counts=True)
    if names.size < 2:
        raise NotApplicable("all cells are of one type")
    return str(names[sizes.argmax()])


def _losing(type_of: Callable[[FreshCells], str], cells: FreshCells, share: float, seed: int) -> Csr:
    return corruptions.lose_type(
        cells.counts,
        cells.types,
        type_of(cells),
        share,
        others=cells.spare_counts,
        other_types=cells.spare_types,
        seed=seed,
    )


SHARES = (0.0, 0.1, 0.25, 0.5)
FACTORS = (1.0, 0.8, 0.5)
FACTOR = "× {:g}"

LADDERS: dict[str, Ladder] = {
    ladder.name: ladder
    for ladder in (
        Ladder(
            "lost_correlations",
            "a share of the genes permuted, each by itself, among the cells of each type",
            (0.0, 0.25, 0.5, 1.0),
            lambda cells, share, seed: corruptions.shuffle_genes(cells.counts, cells.types, share, seed=seed),
        ),
        Ladder(
            "wrong_zeros",
            "a share of the non-zero counts set to zero",
            (0.0, 0.05, 0.1, 0.2),
            lambda cells, share, seed: corruptions.drop_counts(cells.counts, share, seed=seed),
        ),
        Ladder(
            "lost_rare_type",
            f"a share of the cells of the rarest type with at least {FEWEST_OF_TYPE} cells, of those that a "
            "classifier recognises, replaced by fresh cells of other types",
            (0.0, 0.5, 1.0),
            partial(_losing, rarest_type),
        ),
        Ladder(
            "lost_common_type",
            "a share of the cells of the commonest type replaced by fresh cells of other types",
            (0.0, 0.5, 1.0),
            partial(_losing, commonest_type),
        ),
        Ladder(
            "copied_cells",
            "a share of the cells replaced by copies of training cells",
            SHARES,
            lambda cells, share, seed: corruptions.copy_cells(
                cells.counts, cells.copied_counts, share, seed=seed
            ),
        ),
        Ladder(
            "repeated_cells",
            "a share of the cells replaced by copies of the remaining ones",
            SHARES,
            lambda cells, share, seed: corruptions.repeat_cells(cells.counts, share, seed=seed),
        ),
        Ladder(
            "shallow_cells",
            "each single count kept with a probability: less depth",
            FACTORS,
            lambda cells, factor, seed: corruptions.thin(cells.counts, factor, seed=seed),
            label=FACTOR,
        ),
        Ladder(
            "wrong_library_size",
            "cells declared to be cp20k, of a smaller library size than that",
            FACTORS,
            lambda cells, factor, _: corruptions.scale(cells.counts, factor),
            label=FACTOR,
            space="cp20k",
        ),
        Ladder(
            "collapsed_modes",
            "every cell replaced by one of so many of the cells",
            (np.inf, 50, 10, 2),
            lambda cells, n_prototypes, seed: corruptions.collapse(
                cells.counts, round(min(n_prototypes, cells.counts.shape[0])), seed=seed
            ),
            label="{:g}",
        ),
    )
}
