"""The tables beside those of the metrics: augmentation, intervals over cells, published figures, failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import pandas as pd
from rich.text import Text

from reports import RunView
from reports.augmentation import augmentation_frame
from reports.fitted_table import Column, FittedTable
from reports.intervals import intervals_frame
from reports.main_table import mean_cell, status_text
from reports.published import published_frame
from reports.table import NOT_RUN, rows_of
from reports.words import DASH, count, figure, job_in_words, short

AUGMENTATION_TITLE: Final = "Augmentation experiment, n subsampling seeds"
INTERVALS_TITLE: Final = (
    "One sample: bootstrap of the test cells; p: synthetic and test cells from one distribution"
)
PUBLISHED_TITLE: Final = "Beside the paper"
AUGMENTER_LABELS: Final = {
    "class_weights": "class weights",
    "smote": "SMOTE-like",
    "poisson_jitter": "Poisson jitter",
}


def augmentation_table(view: RunView) -> FittedTable | None:
    """Return the augmentation experiment, a row an augmenter; None if it did not run."""
    rows = rows_of(augmentation_frame(view))
    if not rows:
        return None
    first = _starts(rows, "cell_type", "fraction")
    cells = [
        (
            Text(_kept(row) if starts else ""),
            Text(AUGMENTER_LABELS.get(row["augmenter"], row["augmenter"])),
            mean_cell("augmentation_f1", row),
            mean_cell("average_precision", row),
            Text(str(row["n_subsamples"])),
            status_text(row["status"]),
        )
        for row, starts in zip(rows, first, strict=True)
    ]
    headers = ("kept", "added cells", "F1\n→ 1", "average\nprecision", "n", "status")
    return _table(headers, cells, first, left=("kept", "added cells", "status"))


def intervals_table(view: RunView) -> FittedTable | None:
    """Return how sure the test cells make one sample's scores: another question than that over seeds."""
    rows = rows_of(intervals_frame(view))
    if not rows:
        return None
    first = _starts(rows, "model")
    cells = [
        (
            Text(row["model"] if starts else ""),
            Text(row["metric"]),
            Text(figure(row["value"])),
            Text(DASH if math.isnan(row["low"]) else f"[{figure(row['low'])}, {figure(row['high'])}]"),
            Text(DASH if math.isnan(row["p_value"]) else f"{row['p_value']:.2g}"),
        )
        for row, starts in zip(rows, first, strict=True)
    ]
    return _table(
        ("model", "metric", "value", "95 % over test cells", "p"), cells, first, left=("model", "metric")
    )


def published_table(view: RunView) -> FittedTable | None:
    """Return a paper's figures beside the run's; None where it has none for this data set and protocol."""
    rows = rows_of(published_frame(view))
    if not rows:
        return None
    cells = [
        (
            Text(row["quantity"]),
            Text(row["model"]),
            Text(figure(row["measured"])),
            Text(figure(row["published"]) + _deviation(row["published_sd"])),
        )
        for row in rows
    ]
    headers = ("quantity", "model", "here", "published")
    return _table(headers, cells, [False] * len(cells), left=("quantity", "model"))


def failures_frame(view: RunView) -> pd.DataFrame:
    """Return what did not end well and why: a row per Job, then a row per score.

    Returns
    -------
    pandas.DataFrame
        ``job`` (in words), ``status`` (``score failed`` of a score), ``phase`` (empty where unknown),
        ``metric`` and ``protocol`` (empty of a Job), ``seconds`` (to the failure; NaN where unknown),
        ``reason``.
    """
    jobs = [
        (
            job_in_words(record["job"]),
            record["status"],
            record["failed_phase"] or "",
            "",
            "",
            math.nan if record["seconds_to_failure"] is None else record["seconds_to_failure"],
            record["reason"],
        )
        for record in view["records"]
        if record["status"] not in ("ok", NOT_RUN)
    ]
    columns = ["job", "status", "phase", "metric", "protocol", "seconds", "reason"]
    return pd.DataFrame([*jobs, *_failed_scores(view)], columns=columns)


def place_of(failure: Mapping[str, Any]) -> str:
    """Return in what it failed: a Job's phase (empty where unknown), or a score's metric and protocol."""
    return str(failure["phase"]) or ", ".join(filter(None, (failure["metric"], failure["protocol"])))


def _failed_scores(view: RunView) -> list[tuple[Any, ...]]:
    """Return the scores that broke, alike ones of several samples once; one that does not apply is none."""
    found = {
        (job_in_words(record["job"]), score["metric"], score["protocol"], score["error"]): None
        for record in view["records"]
        for score in view["scores"].get(record["key"], [])
        if score.get("failed")
    }
    return [
        (job, "score failed", "", metric, protocol, math.nan, error) for job, metric, protocol, error in found
    ]


def _kept(row: dict[str, Any]) -> str:
    cells = "" if math.isnan(row["kept_cells"]) else f", {count(row['kept_cells'])} cells"
    return f"{100 * row['fraction']:g} % of {short(row['cell_type'])}{cells}"


def _deviation(value: float) -> str:
    return "" if math.isnan(value) else f" ±{value:g}"


def _starts(rows: list[dict[str, Any]], *names: str) -> list[bool]:
    """Tell of each row whether it is the first of its group."""
    groups = (list(group) for _, group in groupby(rows, key=lambda row: tuple(row[name] for name in names)))
    return [number == 0 for group in groups for number in range(len(group))]


def _table(
    headers: tuple[str, ...], rows: Sequence[Sequence[Text]], first: list[bool], *, left: tuple[str, ...]
) -> FittedTable:
    columns = [
        Column(header, list(cells), left=header in left)
        for header, cells in zip(headers, zip(*rows, strict=True), strict=True)
    ]
    return FittedTable(columns[0], columns[1:], [*first[1:], False])
