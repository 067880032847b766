"""Which cells of a large data set scores look at: a sample of them, the same for all that is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from bench.request.seeds import derive

if TYPE_CHECKING:
    import pandas as pd

MOST_SCORED: Final = {"train": 100_000, "test": 20_000}
"""Cells of either part of the split: what is computed of them must fit into memory."""


def scored_rows(obs: pd.DataFrame) -> np.ndarray:
    """Tell which of the prepared cells scores look at: all, or as many as `MOST_SCORED`, drawn at random.

    Parameters
    ----------
    obs
        Table of all prepared cells, one row each.

    Returns
    -------
    np.ndarray
        Boolean, n_cells; cells for validation are never among them.
    """
    chosen = np.zeros(len(obs), dtype=bool)
    for part, most in MOST_SCORED.items():
        rows = np.flatnonzero(obs["split"] == part)
        if len(rows) > most:
            rng = np.random.default_rng(derive(0, "scored cells", part))
            rows = rng.choice(rows, most, replace=False)
        chosen[rows] = True
    return chosen


def told_of_scored(obs: pd.DataFrame) -> list[str]:
    """Return what a reader of scores must know of it: nothing, where they look at all cells."""
    parts = [
        f"{most} of the {size} {part} cells"
        for part, most in MOST_SCORED.items()
        if (size := int((obs["split"] == part).sum())) > most
    ]
    return [f"scores look at {' and '.join(parts)}, drawn at random"] if parts else []
