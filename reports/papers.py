"""What papers printed: their figures, read from ``published.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import Field

from reports.facts import Facts


class Printed(Facts):
    """Figures of one quantity that stand together in a paper.

    Attributes
    ----------
    where
        The table, figure or section that prints it.
    dataset
        Declared source of the cells, or what the paper calls them.
    quantity
        A metric's value, or a cost.
    protocol
        Protocol of the score, where that is not the paper's.
    hardware
        What was timed; empty for anything but times.
    fraction
        Share of the type that was kept, of the augmentation experiment.
    donors
        Number of donors in question, of an attack on donors.
    sign
        ``<`` or ``≈`` where the paper prints no more than that.
    printed
        Printed mean of each model, and its standard deviation where there is one.
    """

    where: str
    dataset: str
    quantity: str
    protocol: str | None = None
    hardware: str = ""
    fraction: float | None = None
    donors: int | None = None
    sign: str = ""
    printed: dict[str, tuple[float, ...]]

    @property
    def named(self) -> str:
        """The quantity, with what else tells it from others of its name."""
        if self.fraction is not None:
            return f"{self.quantity} at {100 * self.fraction:g} %"
        return self.quantity if self.donors is None else f"{self.quantity} of {self.donors} donors"


class Paper(Facts):
    """A paper.

    Attributes
    ----------
    title, doi, note
        Who printed it; where; what a reader of its figures must know.
    protocol
        Protocol under which the paper's cells were scored.
    second_hand
        Who printed the figures, if not the paper by whose protocol they were taken.
    own
        Models of the paper's authors: figures of others are second-hand.
    sources
        Names of the sources that are declared for data sets of the paper.
    budgets
        Budget of each model; nothing where that is not known.
    in_place
        Generator that stands in the place of each model that is not here.
    differences
        What each protocol does otherwise than the paper: figures that are met under it are explained by that.
    figures
        Printed figures, in the order of the paper.
    """

    title: str
    doi: str
    note: str
    protocol: str
    second_hand: str = ""
    own: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    budgets: dict[str, str] = Field(default={})
    in_place: dict[str, str] = Field(default={})
    differences: dict[str, str] = Field(default={})
    figures: tuple[Printed, ...]

    def here(self, model: str) -> str:
        """Return the generator that stands beside a model of the paper."""
        return self.in_place.get(model, model)

    def is_second_hand(self, model: str) -> bool:
        """Tell whether others made a model; controls and cells without any are nobody's."""
        return model not in (*self.own, "real", "none")

    def protocol_of(self, figure: Printed) -> str:
        """Return the protocol under which a figure was scored."""
        return figure.protocol or self.protocol


@cache
def papers() -> dict[str, Paper]:
    """Return the papers whose figures are known, by name."""
    text = Path(__file__).with_name("published.toml").read_text(encoding="utf-8")
    return {name: Paper.model_validate(facts) for name, facts in tomllib.loads(text).items()}
