"""What came out of asking for one promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["kept", "noted", "broken", "not asked"]


@dataclass(frozen=True)
class Finding:
    """One line of the checklist.

    Attributes
    ----------
    promise
        What is promised, in a few words.
    status
        ``"kept"``; ``"noted"`` if it is kept with a remark; ``"broken"``; ``"not asked"`` if it does not
        apply to this generator, or an earlier promise must be kept first.
    told
        What was seen, in words.
    remedy
        What to do about a broken promise; otherwise empty.
    """

    promise: str
    status: Status
    told: str = ""
    remedy: str = ""


class Broken(Exception):
    """A promise is broken; the message says what was seen."""


class NotAsked(Exception):
    """A promise is none of this generator's; the message says why."""


NOT_REACHED: Final = "not reached: mend what is broken above first"
