"""One seed tree: every random stream is a named branch of the seed the user gave."""

import zlib

import numpy as np


def derive(seed: int, *path: str | int) -> int:
    """Return the seed at the end of a named path below `seed`.

    Parameters
    ----------
    seed
        The user's seed (training, sample or split seed).
    path
        Names and numbers that lead to the branch, such as ``("sample", 3)``.

    Returns
    -------
    int
        Between 0 and 2**31 − 1, which every framework takes.
    """
    branch = [zlib.crc32(step.encode()) if isinstance(step, str) else step for step in path]
    return int(np.random.SeedSequence(seed, spawn_key=branch).generate_state(1)[0] >> 1)
