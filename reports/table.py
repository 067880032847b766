"""The results as a table: one row per generator, the same column names as in MLflow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from reports.rows import Row, summarise
from reports.scale import positions
from reports.suspicion import copying, suspects
from reports.view import OK, MetricFacts, Record, RunView, Score, grouped, once

ROLES = ("model", "baseline", "ceiling", "null", "floor", "cheat")
COST_COLUMNS = (
    "training_seconds",
    "steps_per_second",
    "sample_cells",
    "sample_seconds",
    "sample_density",
    "peak_rss_gib",
    "peak_device_gib",
)
GIB = 2**30


@dataclass(frozen=True)
class Results:
    """What a run came to under one protocol.

    Attributes
    ----------
    rows
        One a generator: models, baselines, then ceiling, floors and cheat. What failed is a row, too.
    metrics
        Declarations of those that it scored, or tried to, in declared order.
    suspect, copying
        What `reports.suspicion` found.
    """

    rows: list[Row]
    metrics: list[MetricFacts]
    suspect: list[str]
    copying: list[str]

    def of(self, roles: Iterable[str]) -> list[Row]:
        """Return the rows of generators with one of these roles."""
        return [row for row in self.rows if row.role in roles]

    @property
    def headline(self) -> list[MetricFacts]:
        """Those of the metrics that make the headline."""
        return [metric for metric in self.metrics if metric.group == "headline"]

    @property
    def n_seeds(self) -> int:
        """Training seeds of the generator that has the most."""
        return max((row.n_seeds for row in self.rows), default=0)


def cost_values(record: Record) -> dict[str, float]:
    """Return what one Job cost, under the names of `COST_COLUMNS`; what was not measured is absent.

    ``sample_seconds`` is the median over the repeats, for ``sample_cells`` cells; ``sample_density`` the
    share of non-zero values among what was sampled then.
    """
    measured: list[float | None] = [None] * 5
    if (training := record.training) is not None:
        measured[:2] = [training.seconds, training.steps_per_second]
    if (timing := record.timing) is not None:
        measured[2:] = [timing.n_cells, timing.median_seconds, timing.density]
    for n_bytes in (record.memory.peak_rss_bytes, record.memory.peak_device_bytes):
        measured.append(None if n_bytes is None else n_bytes / GIB)
    named = zip(COST_COLUMNS, measured, strict=True)
    return {name: float(value) for name, value in named if value is not None}


def not_timed(records: Iterable[Record]) -> str:
    """Say why times of some Jobs are not told: others were at work beside them; empty if none were."""
    most = max((record.beside for record in records), default=0)
    return f"carried out beside {most} other Job{'s' * (most > 1)} on one machine: not timed" if most else ""


def score_values(scores: Iterable[Score]) -> dict[str, float]:
    """Return the metrics' values of one Job, averaged over sample seeds; failed scores are left out."""
    collected = grouped(item for score in scores if score.error is None for item in score.values.items())
    means = {name: float(np.mean(values)) for name, values in collected.items()}
    return {name: value for name, value in means.items() if math.isfinite(value)}


def scores_of_retraining(view: RunView, record: Record) -> list[Score]:
    """Return a retraining's scores: under the view's protocol, else under that of its experiment."""
    if under := view.scores_of(record):
        return under
    return list({(one.metric, one.sample_seed): one for one in view.scores.get(record.key, ())}.values())


def has_results(view: RunView, record: Record) -> bool:
    """Tell whether a Job ended well, or failed only after cells were stored that could be scored."""
    return record.status == OK or bool(score_values(view.scores_of(record)))


def outcome(records: Iterable[Record]) -> tuple[str, str]:
    """Return status and reason of some Jobs.

    One word if all ended alike (``ok``, ``killed``), else counts: ``2 ok, 1 killed``; the reasons, each once,
    joined by semicolons.
    """
    every = list(records)
    statuses = Counter(record.status for record in every)
    reasons = dict.fromkeys(record.reason for record in every if record.reason)
    ordered = sorted(statuses, key=lambda status: (status != OK, status))
    words = ordered if len(ordered) == 1 else [f"{statuses[status]} {status}" for status in ordered]
    return ", ".join(words), "; ".join(reasons)


@once
def results(view: RunView) -> Results:
    """Return what a run came to under the view's protocol."""
    by_model = grouped((record.job.model, record) for record in view.records_of("main"))
    values = _values_by_model(view)
    scored = {score.metric for record in view.records for score in view.scores_of(record)}
    metrics = [m for m in view.metrics if m.name in scored and m.experiment != "donors"]
    bounds = {metric.name: metric.bounds for metric in metrics}
    rows = [_row(view, records, values[model], bounds) for model, records in by_model.items()]
    rows.sort(key=lambda row: ROLES.index(row.role))
    places = {metric.name: positions(rows, metric) for metric in metrics}
    rows = [
        replace(row, places={name: of_models[row.model] for name, of_models in places.items() if of_models})
        for row in rows
    ]
    return Results(rows, metrics, suspects(rows, metrics), copying(rows, metrics))


def _values_by_model(view: RunView) -> dict[str, dict[str, list[float]]]:
    """Return model → column → one value per Job that has results."""
    fraction = view.headline_fraction
    collected: dict[str, dict[str, list[float]]] = {}
    # The attacks on donors have a table of their own.
    for record in view.records_of("main") + view.records_of("augmentation"):
        columns = collected.setdefault(record.job.model, {})
        experiment = record.job.experiment
        if not has_results(view, record) or experiment.fraction not in (None, fraction):
            continue
        # What a retraining of the augmentation experiment costs is no part of the model's row.
        costs = cost_values(record) if experiment.kind == "main" else {}
        for name, value in (costs | score_values(view.scores_of(record))).items():
            columns.setdefault(name, []).append(value)
    return collected


def _row(
    view: RunView,
    records: Sequence[Record],
    values: Mapping[str, Sequence[float]],
    bounds: Mapping[str, tuple[float, float]],
) -> Row:
    job, (status, reason) = records[0].job, outcome(records)
    summaries = {
        name: summarise(group).within(bounds.get(name, (-math.inf, math.inf)))
        for name, group in values.items()
    }
    n_seeds = sum(has_results(view, record) for record in records)
    return Row(
        job.model,
        job.role,
        job.budget,
        values,
        status,
        reason,
        n_seeds,
        summaries,
        not_timed=not_timed(records),
    )


@once
def results_frame(view: RunView) -> pd.DataFrame:
    """Return the results as a table, one row per generator; always the same object: copy before you change.

    Returns
    -------
    pandas.DataFrame
        ``model``, ``role``, ``budget``; `COST_COLUMNS` and the metrics' values, averaged over seeds and
        sample seeds (``peak_device_gib`` only where a device was used); ``status``, ``reason``, ``n_seeds``
        (training seeds that have results). A column with three values or more has its 95 % t interval in
        ``NAME_low`` and ``NAME_high``, a metric's within its bounds; one that rests on another number of
        values than ``n_seeds`` has that in ``NAME_n`` (subsampling seeds, for the augmentation experiment). A
        metric that declares floors has its place between the best of them (0) and the ceiling (1) in
        ``NAME_position`` (see `reports.scale`). ``not_timed``, where there is any, says why times are missing
        or are those of fewer seeds. What failed is a row with its status and reason.
    """
    found, rows = results(view), results(view).rows
    filled = dict.fromkeys(name for row in rows for name in row.values)
    costs = [name for name in COST_COLUMNS if name != "peak_device_gib" or name in filled]
    headlines = [metric.name for metric in found.metrics]
    secondary = [name for name in filled if name not in COST_COLUMNS and name not in headlines]
    measured = [*costs, *headlines, *secondary]
    n_values = {name: [len(row.values.get(name, ())) for row in rows] for name in measured}
    columns: dict[str, list[Any]] = {
        **{name: [getattr(row, name) for row in rows] for name in ("model", "role", "budget")},
        **{name: [row.mean(name) for row in rows] for name in measured},
        **{name: [getattr(row, name) for row in rows] for name in ("status", "reason", "n_seeds")},
    }
    for name, lengths in n_values.items():
        if max(lengths, default=0) >= 3:
            columns[f"{name}_low"] = [row.summary(name).low for row in rows]
            columns[f"{name}_high"] = [row.summary(name).high for row in rows]
    for name, lengths in n_values.items():
        if any(n not in (0, row.n_seeds) for n, row in zip(lengths, rows, strict=True)):
            columns[f"{name}_n"] = [n or None for n in lengths]
    placed = [name for name in headlines if any(name in row.places for row in rows)]
    columns |= {f"{name}_position": [row.place(name) for row in rows] for name in placed}
    if any(row.not_timed for row in rows):
        columns["not_timed"] = [row.not_timed for row in rows]
    return pd.DataFrame(columns)


def whole_frame(view: RunView) -> pd.DataFrame:
    """Return the results under every protocol of the run, those of each in rows of their own.

    The columns are those of `results_frame`, after ``protocol``.
    """
    frames = [results_frame(seen).copy() for seen in view.each_protocol]
    for name, frame in zip(view.run.protocols, frames, strict=True):
        frame.insert(0, "protocol", name)
    return pd.concat(frames, ignore_index=True)
