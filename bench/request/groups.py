"""Names that stand for several models: ``--models cheats``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final


def _cheats() -> Iterable[str]:
    from models.cheats import SUITE

    return SUITE


GROUPS: Final[Mapping[str, Callable[[], Iterable[str]]]] = {"cheats": _cheats}
"""Group → the registered names that it stands for."""


def expanded(choices: Iterable[str]) -> list[str]:
    """Put the models of a group in the place of its name; each model comes once.

    Parameters
    ----------
    choices
        Names of models and of groups, files and classes, as the option ``--models`` takes them.
    """
    named = (GROUPS[choice]() if choice in GROUPS else (choice,) for choice in choices)
    return list(dict.fromkeys(name for names in named for name in names))
