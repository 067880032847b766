"""The augmentation experiment as a table: cheap augmenters beside the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from reports import RunView
from reports.table import outcome, records_of, score_values, scores_of, summary_columns

COLUMNS = ("cell_type", "fraction", "kept_cells", "augmenter", "augmentation_f1", "average_precision")


class _Row(NamedTuple):
    """What identifies a row of the table."""

    cell_type: str
    fraction: float
    augmenter: str


def augmentation_frame(view: RunView) -> pd.DataFrame:
    """Return the augmentation experiment, one row per type, kept fraction and source of the added cells.

    Parameters
    ----------
    view
        The run (see `reports`).

    Returns
    -------
    pandas.DataFrame
        ``cell_type``, ``fraction``, ``kept_cells``, ``augmenter`` (cheap ones first, then models); the values
        (``augmentation_f1``, ``average_precision``) averaged over subsampling seeds, from three on with their
        t interval; ``status``, ``reason``, ``n_subsamples`` (subsampling seeds that the means rest on).
    """
    grouped: dict[_Row, list[Mapping[str, Any]]] = {}
    for row, entry in _entries(view):
        grouped.setdefault(row, []).append(entry)
    kept = {
        (experiment["cell_type"], experiment["fraction"]): experiment["kept_cells"]
        for experiment in (record["job"]["experiment"] for record in records_of(view, "augmentation"))
    }
    rows = []
    for row, entries in grouped.items():
        status, reason = outcome(entries)
        values: dict[str, list[float]] = {}
        for name, value in (item for entry in entries for item in entry["values"].items()):
            values.setdefault(name, []).append(value)
        rows.append(
            row._asdict()
            | {"kept_cells": kept.get((row.cell_type, row.fraction))}
            | summary_columns(values)
            | {"status": status, "reason": reason}
            | {"n_subsamples": sum(bool(entry["values"]) for entry in entries)}
        )
    # A stable sort: within a fraction the cheap augmenters stay before the models.
    rows.sort(key=lambda row: (row["cell_type"], -row["fraction"]))
    frame = pd.DataFrame(rows)
    return frame if frame.empty else frame.reindex(columns=list(dict.fromkeys([*COLUMNS, *frame])))


def _entries(view: RunView) -> Iterator[tuple[_Row, Mapping[str, Any]]]:
    for baseline in view["augmentation_baselines"]:
        row = _Row(baseline["cell_type"], baseline["fraction"], baseline["augmenter"])
        yield row, {"status": "ok", "reason": "", "values": baseline["values"]}
    for record in records_of(view, "augmentation"):
        job, values = record["job"], score_values(scores_of(view, record))
        row = _Row(job["experiment"]["cell_type"], job["experiment"]["fraction"], job["model"])
        yield row, {"status": record["status"], "reason": record["reason"], "values": values}
