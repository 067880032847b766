"""How much is timed and how long, from options that are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from bench.errors import RequestError

OPTIONS: Final = {
    "n_cells": ("cells", "training cells"),
    "n_genes": ("genes", "genes"),
    "n_types": ("types", "cell types"),
    "sample_cells": ("sample-cells", "cells drawn"),
    "on_demand_cells": ("on-demand-cells", "cells of the 1 %% type"),
    "repeats": ("repeats", "rounds of each measure (default: 9)"),
    "limit_seconds": ("limit", "seconds after which no round of a measure begins (default: 60)"),
}
"""By field of a shape or an effort: the option, and its words."""
CELLS_OF_A_TYPE: Final = 25
_LEAST: Final = {"n_genes": 50, "n_types": 2, "limit_seconds": 0}


@dataclass(frozen=True)
class Shape:
    """How much is timed.

    Attributes
    ----------
    n_cells, n_genes, n_types
        Numbers of training cells, of their genes and of their types.
    sample_cells
        Number of cells that are drawn at once.
    """

    n_cells: int = 20_000
    n_genes: int = 17_970
    n_types: int = 8
    sample_cells: int = 100_000

    @classmethod
    def reduced(cls) -> Self:
        """Return a shape that takes seconds on two cores."""
        return cls(n_cells=1_280, n_genes=2_000, sample_cells=4_000)


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes
    ----------
    repeats
        Number of rounds of each measure.
    limit_seconds
        Seconds after which no further round of a measure begins.
    total_seconds
        Seconds of all measures, set-up included: what is left is shared among those to come; None for no
        bound. Every measure has one round in any case.
    """

    repeats: int = 9
    limit_seconds: float = 60.0
    total_seconds: float | None = None

    @classmethod
    def quick(cls) -> Self:
        """Return an effort of less than a minute."""
        return cls(repeats=3, limit_seconds=10.0, total_seconds=40.0)

    def share(self, spent_seconds: float, *, n_left: int) -> Effort:
        """Return the effort for the next of `n_left` measures, after so many seconds."""
        if self.total_seconds is None:
            return self
        left = max(0.0, self.total_seconds - spent_seconds) / n_left
        return replace(self, limit_seconds=min(self.limit_seconds, left))


@dataclass(frozen=True)
class Request:
    """What is measured, checked.

    Attributes
    ----------
    names
        The models, or the measures, that are timed.
    shape, effort
        How much is timed, and how long.
    device
        ``"cpu"`` or ``"cuda"``.
    json
        File that the document is written to, or None.
    """

    names: tuple[str, ...]
    shape: Any
    effort: Effort
    device: str
    json: Path | None

    def __post_init__(self) -> None:
        if self.json is not None and not self.json.parent.is_dir():
            raise RequestError(f"--json {str(self.json)!r}: give a file in a folder that exists")


def sized(kind: type[Shape], given: Mapping[str, float | None], *, quick: bool) -> tuple[Any, Effort]:
    """Return a shape and an effort, with the options that were given in place of their defaults.

    Parameters
    ----------
    kind
        Class of the shape.
    given
        Numbers by field of shape or effort; None for the default.
    quick
        Whether the defaults are those of a reduced shape.

    Raises
    ------
    RequestError
        If a number is too small.
    """
    numbers: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    shape, effort = (kind.reduced(), Effort.quick()) if quick else (kind(), Effort())
    for name, value in numbers.items():
        least = _LEAST.get(name, 1)
        if name == "n_cells":
            least = CELLS_OF_A_TYPE * int(numbers.get("n_types", shape.n_types))
        if value < least:
            raise RequestError(f"--{OPTIONS[name][0]} {value} is too small: give at least {least}")
    of_effort = {field.name for field in fields(Effort)}
    changed = {name: numbers.pop(name) for name in of_effort & numbers.keys()}
    return replace(shape, **numbers), replace(effort, **changed)
