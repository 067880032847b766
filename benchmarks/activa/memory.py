"""Peak resident memory of a stretch of work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from bench.hardware import kernel_number

_STATUS = "/proc/self/status"
_MARK = Path("/proc/self/clear_refs")


def peak_rss_above(work: Callable[[], object]) -> int | None:
    """Return by how many bytes this process's resident set grew at most while `work` ran.

    The kernel's own mark is set back before, so that nothing between two samples is missed. What `work`
    returns is let go only after the reading: a result counts.

    Parameters
    ----------
    work
        Function that is measured; it is called once in any case.

    Returns
    -------
    int or None
        None where the kernel keeps no such mark, or does not let it be set back (only Linux does).
    """
    before = None
    with contextlib.suppress(OSError):
        _MARK.write_text("5")
        before = kernel_number(_STATUS, "VmRSS:")
    result = work()
    peak = kernel_number(_STATUS, "VmHWM:")
    del result
    return None if before is None or peak is None else 1024 * max(0, peak - before)
