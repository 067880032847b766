"""Seeds of a metric's own: one branch of the seed tree for each purpose."""

from __future__ import annotations

from zlib import crc32

import numpy as np


def derived_seed(seed: int, purpose: str) -> int:
    """Derive the seed of one purpose.

    Purposes are independent of one another and of the order in which they are asked for, so that
    adding a metric changes no other metric's numbers.

    Parameters
    ----------
    seed
        The seed that others are derived from.
    purpose
        What the random numbers are for.

    Returns
    -------
    int
        Below 2³², as scikit-learn wants it.
    """
    branch = np.random.SeedSequence(seed, spawn_key=(crc32(purpose.encode()),))
    return int(branch.generate_state(1)[0])
