"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

# Reached only by what never happens: a test must hold however busy the machine is.
LIMIT_SECONDS = 300

Found = TypeVar("Found")


def wait_until(found: Callable[[], Found]) -> Found:
    """Return what `found` returns as soon as that is true."""
    until = time.monotonic() + LIMIT_SECONDS
    while not (answer := found()):
        assert time.monotonic() < until, f"what was waited for did not happen in {LIMIT_SECONDS} s"
        time.sleep(0.02)
    return answer
