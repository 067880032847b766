"""What papers printed, to stand beside what was measured under their protocols."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Final, NamedTuple

from reports.augmentation import augmentation
from reports.rows import means
from reports.table import results
from reports.view import RunView

NOTES: Final = {
    "activa2022": (
        "Published: Heydari et al. 2022, doi:10.1093/bioinformatics/btac095, on its own hardware and "
        "budgets. Its scores were taken after real and synthetic cells had been integrated together, which "
        "removes the very difference that the metrics look for; nothing is integrated here. Nor did the "
        "authors' notebooks take the logarithm that mmd and cd have here. The paper states neither the "
        "kernel weights nor the root of its mmd: compare the ratios to the positive control."
    ),
    "groundgan2024": (
        "Published: Zinati et al. 2024, doi:10.1038/s41467-024-48516-6, Table 1. Its control is one half of "
        "the test cells against the other, at 500 cells a side where models are compared at 1000 (here all "
        "have the same number); the rf_auc of that control is the ideal value, not a measurement. Its "
        "generators were trained on the 1000 genes that are compared, those here on all."
    ),
}


class Published(NamedTuple):
    """A figure that a paper printed (``published_sd`` is NaN where none was) beside the run's.

    The quantity ``mmd / real`` is the ratio of a model's mmd to that of the control ``real``.
    """

    quantity: str
    model: str
    measured: float
    published: float
    published_sd: float


def published(view: RunView) -> list[Published]:
    """Return a paper's figures for this data set beside the run's; nothing if the paper has none.

    A data set is known by the declared source that its cells are certain to come from, which its own facts
    say (``declared``): never by its name, which a file's name makes.

    Scores stand only beside those of the paper's own protocol. Training times depend on no protocol and
    stand with ACTIVA's. `NOTES` has under the protocol what to print below.
    """
    rows = []
    for quantity, by_model in _printed(view.protocol, view.run.dataset.declared).items():
        measured = (
            _augmentation(view) if quantity == "augmentation_f1" else means(results(view).rows, quantity)
        )
        for model, (mean, *deviation) in by_model.items():
            deviations = deviation[0] if deviation else math.nan
            rows.append(Published(quantity, model, measured.get(model, math.nan), mean, deviations))
    return rows + _ratios_to_control(rows)


def _printed(protocol: str, declared: str | None) -> dict[str, dict[str, list[float]]]:
    if declared is None:
        return {}
    path = Path(__file__).with_name("published.toml")
    printed = tomllib.loads(path.read_text(encoding="utf-8"))
    facts: dict[str, dict[str, list[float]]] = printed.get(protocol, {}).get(declared, {})
    return facts


def _augmentation(view: RunView) -> dict[str, float]:
    """Return the F1 of each augmenter, at each fraction: ``none at 0.5 %``."""
    return {
        f"{row.augmenter} at {100 * row.fraction:g} %": row.summary("augmentation_f1").mean
        for row in augmentation(view)
    }


def _ratios_to_control(rows: list[Published]) -> list[Published]:
    mmd = {row.model: row for row in rows if row.quantity == "mmd"}
    control = mmd.pop("real", None)
    return [
        row._replace(
            quantity="mmd / real",
            measured=row.measured / (control.measured or math.nan),
            published=row.published / control.published,
        )
        for row in mmd.values()
        if control is not None
    ]
