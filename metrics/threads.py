"""How many threads metrics take, in one place, so that a caller can say how many."""

from __future__ import annotations

import os


def usable_threads() -> int:
    """Return the cores this process may use, or what ``OMP_NUM_THREADS`` says where that is fewer.

    Affinity and a container's quota count. Libraries of linear algebra read the same variable.
    """
    from joblib import cpu_count

    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    cores = int(cpu_count())
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores
