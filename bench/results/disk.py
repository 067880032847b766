"""Disks that fill up while a run writes."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from datasets.cache import is_disk_full, try_space

__all__ = ["DISK_FULL", "NO_SPACE", "ends_on_full_disk", "is_disk_full", "try_space"]

DISK_FULL = errno.ENOSPC
"""Exit code of a worker that could not even write down that the disk is full."""
NO_SPACE = "no space left on the disk of the run folder"
Arguments = ParamSpec("Arguments")


def ends_on_full_disk(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Have a worker's main function return `DISK_FULL` where a full disk would make it raise."""

    @wraps(main)
    def ending(*arguments: Arguments.args, **words: Arguments.kwargs) -> int:
        try:
            return main(*arguments, **words)
        except (OSError, RuntimeError) as error:
            if not is_disk_full(error):
                raise
            # The log lies on the same disk.
            with contextlib.suppress(OSError):
                print(f"{NO_SPACE}: {error}", file=sys.stderr)  # noqa: T201
            return DISK_FULL

    return ending
