"""What came out of asking for one promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from bench.promises.workbench import Workbench

Status = Literal["kept", "noted", "broken", "not asked"]


@dataclass(frozen=True)
class Finding:
    """One line of the checklist.

    Attributes
    ----------
    promise
        What is promised, in a few words.
    status
        ``"kept"``; ``"noted"`` where it is kept and there is something to know; ``"broken"``; ``"not asked"``
        where it is none of this generator's, or an earlier one has to be kept first.
    told
        What was seen.
    remedy
        What to do about it; empty unless it is broken.
    """

    promise: str
    status: Status
    told: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Promise:
    """A promise and how it is asked for.

    Attributes
    ----------
    words
        As `Finding.promise`.
    remedy
        What to do where it is broken.
    ask
        Returns what there is to know, or ""; raises `Broken` or `NotAsked`.
    needed
        Whether nothing that follows can be asked for where it is broken.
    """

    words: str
    remedy: str
    ask: Callable[[Workbench], str]
    needed: bool = False


class Broken(Exception):
    """A promise is broken; the message says what was seen."""


class NotAsked(Exception):
    """A promise is none of this generator's; the message says why."""


NOT_REACHED: Final = "not reached: mend what is broken above first"
