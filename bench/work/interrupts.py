"""Ctrl-C: the first one counts, at whatever moment, and those after it disturb nothing."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

SOON = 0.01
"""Seconds until what could not be raised is raised again."""


def heed_the_first() -> bool:
    """Have Ctrl-C raise one KeyboardInterrupt; return False where whoever started this process ignores it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = _raise_again
    return True


def heed_termination() -> None:
    """Have SIGTERM do what Ctrl-C does: what runs on other machines does not end with this process."""
    signal.signal(signal.SIGTERM, interrupt)


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and ignore this signal and Ctrl-C from then on: ending takes its time."""
    for handled in (number, signal.SIGINT):
        signal.signal(handled, signal.SIG_IGN)
    raise KeyboardInterrupt


def _raise_again(lost: Any) -> None:
    """Keep an interrupt that came where nothing can be raised: in a destructor, in an import."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, SOON)
