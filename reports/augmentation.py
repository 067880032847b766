"""The augmentation experiment as a table: cheap augmenters beside the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from reports.rows import MISSING, Summary, summarise
from reports.table import outcome, score_values, scores_of_retraining
from reports.view import OK, Record, RunView, grouped, once

_Place = tuple[str, float, str]
"""Type, kept fraction, augmenter."""
QUANTITIES = ("augmentation_f1", "average_precision")


class Augmented(NamedTuple):
    """What one augmenter came to at one kept fraction of one type.

    Attributes
    ----------
    cell_type, fraction, kept_cells
        The type, the share of its cells that was kept, and how many these are (None where unknown).
    augmenter
        A cheap one, or a model.
    values
        Quantity → mean over subsampling seeds, from three on with its t interval.
    status, reason
        How its Jobs ended, and why.
    n_subsamples
        Subsampling seeds that the means rest on.
    """

    cell_type: str
    fraction: float
    kept_cells: int | None
    augmenter: str
    values: Mapping[str, Summary]
    status: str
    reason: str
    n_subsamples: int

    def summary(self, name: str) -> Summary:
        """Return mean and interval of a quantity, NaN where it has no value."""
        return self.values.get(name, MISSING)


@once
def augmentation(view: RunView) -> list[Augmented]:
    """Return the augmentation experiment, one row per type, kept fraction and source of the added cells."""
    parts = [record.job.experiment.reduced for record in view.records_of("augmentation")]
    kept = {(part.cell_type, part.fraction): part.kept_cells for part in parts}
    rows = []
    for (cell_type, fraction, augmenter), entries in grouped(_entries(view)).items():
        records = [record for _, record in entries if record is not None]
        status, reason = outcome(records) if records else (OK, "")
        values = grouped(item for of_seed, _ in entries for item in of_seed.items())
        summaries = {name: summarise(group) for name, group in values.items()}
        n_subsamples = sum(bool(of_seed) for of_seed, _ in entries)
        n_kept = kept.get((cell_type, fraction))
        rows.append(
            Augmented(cell_type, fraction, n_kept, augmenter, summaries, status, reason, n_subsamples)
        )
    # A stable sort: within a fraction the cheap augmenters stay before the models.
    return sorted(rows, key=lambda row: (row.cell_type, -row.fraction))


def augmentation_frame(view: RunView) -> pd.DataFrame:
    """Return `augmentation` as a table, with ``NAME_low`` and ``NAME_high`` of what has an interval."""
    rows = augmentation(view)
    names = dict.fromkeys([*QUANTITIES, *(name for row in rows for name in row.values)])
    frame = pd.DataFrame([row._asdict() for row in rows]).drop(columns="values", errors="ignore")
    for place, name in enumerate(names if rows else ()):
        frame.insert(4 + place, name, [row.summary(name).mean for row in rows])
    for name in names:
        if any(row.summary(name).low == row.summary(name).low for row in rows):
            frame[f"{name}_low"] = [row.summary(name).low for row in rows]
            frame[f"{name}_high"] = [row.summary(name).high for row in rows]
    return frame


def _entries(view: RunView) -> Iterator[tuple[_Place, tuple[Mapping[str, float], Record | None]]]:
    """Yield place, values and Record of each subsampling seed; of a cheap augmenter there is no Record."""
    for baseline in view.baselines:
        yield (baseline.cell_type, baseline.fraction, baseline.augmenter), (baseline.values, None)
    for record in view.records_of("augmentation"):
        part, values = record.job.experiment.reduced, score_values(scores_of_retraining(view, record))
        yield (part.cell_type, part.fraction, record.job.model), (values, record)
