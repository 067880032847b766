"""The results as a table: one row per generator, the same column names as in MLflow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from scipy import stats

from reports import RunView
from reports.scale import positions
from reports.suspicion import copying, suspects

NOT_RUN = "not run"
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
MINIMUM_KEPT_CELLS = 10


class Snapshot(dict[str, Any]):
    """A run view that nobody changes any more: under each protocol its results are computed once.

    A page and its figures ask for them dozens of times; functions that take a run view take this one.

    Parameters
    ----------
    view
        The run.
    """

    def __init__(self, view: RunView) -> None:
        super().__init__(view)
        self._under = {self["run"].get("protocol"): self}

    def under(self, protocol: str) -> Snapshot:
        """Return the same run as seen under one of its protocols."""
        if protocol not in self._under:
            seen = Snapshot({**self, "run": {**self["run"], "protocol": protocol}})
            seen._under = self._under
            self._under[protocol] = seen
        return self._under[protocol]

    @cached_property
    def results(self) -> pd.DataFrame:
        """What `results_frame` returns."""
        return _computed_results(self)

    @cached_property
    def values_by_model(self) -> dict[str, dict[str, list[float]]]:
        """What `values_by_model` returns."""
        return _computed_values(self)

    @cached_property
    def scored_metrics(self) -> list[Mapping[str, Any]]:
        """What `scored_metrics` returns."""
        return _computed_metrics(self)


def snapshot(view: RunView) -> Snapshot:
    """Return a run view for readers who ask it often; it must not be changed from now on."""
    return view if isinstance(view, Snapshot) else Snapshot(view)


class Summary(NamedTuple):
    """Mean of some values and, where there are three or more, the 95 % t interval of the mean (else NaN)."""

    mean: float
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Return the mean and its 95 % t interval of at least one value."""
    mean, n = float(np.mean(values)), len(values)
    if n < 3:
        return Summary(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Summary(mean, mean - half, mean + half)


def cost_values(record: Mapping[str, Any]) -> dict[str, float]:
    """Return what one Job cost, under the names of `COST_COLUMNS`; what was not measured is absent.

    ``sample_seconds`` is the median over the repeats, for ``sample_cells`` cells; ``sample_density`` the
    share of non-zero values among what was sampled then.
    """
    training, timing = record.get("training") or {}, record.get("timing") or {}
    memory = record.get("memory") or {}
    measured = (
        training.get("seconds"),
        training.get("steps_per_second"),
        timing.get("n_cells"),
        timing.get("median_seconds"),
        timing.get("density"),
        _gib(memory.get("peak_rss_bytes")),
        _gib(memory.get("peak_device_bytes")),
    )
    named = zip(COST_COLUMNS, measured, strict=True)
    return {name: float(value) for name, value in named if value is not None}


def score_values(scores: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics' values of one Job, averaged over sample seeds; failed scores are left out."""
    collected: dict[str, list[float]] = {}
    for score in scores:
        if score.get("error") is None:
            for name, value in score["values"].items():
                collected.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in collected.items()}
    return {name: value for name, value in means.items() if math.isfinite(value)}


def scores_of(view: RunView, record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a Job's scores under the run's protocol; those of other protocols never share its columns."""
    scores = view["scores"].get(record["key"], [])
    return [score for score in scores if score["protocol"] == view["run"]["protocol"]]


def under_protocol(view: RunView, protocol: str) -> Snapshot:
    """Return the same run as seen under one of its protocols: every table and figure is of one."""
    return snapshot(view).under(protocol)


def has_results(view: RunView, record: Mapping[str, Any]) -> bool:
    """Tell whether a Job ended well, or failed only after cells were stored that could be scored."""
    return record["status"] == "ok" or bool(score_values(scores_of(view, record)))


def records_of(view: RunView, kind: str) -> list[Mapping[str, Any]]:
    """Return the Records of the ``main`` or of the ``augmentation`` experiment."""
    return [record for record in view["records"] if record["job"]["experiment"]["kind"] == kind]


def scored_metrics(view: RunView) -> list[Mapping[str, Any]]:
    """Return the declarations of the metrics that this run scored, or tried to, in declared order."""
    return snapshot(view).scored_metrics


def _computed_metrics(view: RunView) -> list[Mapping[str, Any]]:
    scored = {score["metric"] for record in view["records"] for score in scores_of(view, record)}
    return [metric for metric in view["metrics"] if metric["name"] in scored]


def headline_fraction(view: RunView) -> float | None:
    """Return the kept fraction whose augmentation scores stand in the main table.

    The smallest that leaves at least ten cells of the type (else the largest); None where the experiment did
    not run.
    """
    experiments = [record["job"]["experiment"] for record in records_of(view, "augmentation")]
    enough = [e["fraction"] for e in experiments if e["kept_cells"] >= MINIMUM_KEPT_CELLS]
    return min(enough) if enough else max((e["fraction"] for e in experiments), default=None)


def values_by_model(view: RunView) -> dict[str, dict[str, list[float]]]:
    """Return model → column → one value per Job that has results.

    There is one Job per training seed, and for the columns of the augmentation experiment one per
    subsampling seed at the headline fraction.
    """
    return snapshot(view).values_by_model


def _computed_values(view: RunView) -> dict[str, dict[str, list[float]]]:
    fraction = headline_fraction(view)
    collected: dict[str, dict[str, list[float]]] = {}
    for record in view["records"]:
        columns = collected.setdefault(record["job"]["model"], {})
        experiment = record["job"]["experiment"]
        if not has_results(view, record) or experiment.get("fraction") not in (None, fraction):
            continue
        # What a retraining of the augmentation experiment costs is no part of the model's row.
        costs = cost_values(record) if experiment["kind"] == "main" else {}
        for name, value in (costs | score_values(scores_of(view, record))).items():
            columns.setdefault(name, []).append(value)
    return collected


def outcome(records: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """Return status and reason of some Jobs.

    One word if all ended alike (``ok``, ``killed``), else counts: ``2 ok, 1 killed``; the reasons, each once,
    joined by semicolons.
    """
    statuses = Counter(record["status"] for record in records)
    reasons = dict.fromkeys(record["reason"] for record in records if record.get("reason"))
    ordered = sorted(statuses, key=lambda status: (status != "ok", status))
    words = ordered if len(ordered) == 1 else [f"{statuses[status]} {status}" for status in ordered]
    return ", ".join(words), "; ".join(reasons)


def results_frame(view: RunView) -> pd.DataFrame:
    """Return the results, one row per generator: models, then ceiling, floors and cheat.

    Parameters
    ----------
    view
        The run (see `reports`).

    Returns
    -------
    pandas.DataFrame
        ``model``, ``role``, ``budget``; `COST_COLUMNS` and the metrics' values, averaged over seeds and
        sample seeds (``peak_device_gib`` only where a device was used); ``status``, ``reason``, ``n_seeds``
        (training seeds that have results). A column with three values or more has its 95 % t interval in
        ``NAME_low`` and ``NAME_high``, a metric's within its bounds; one that rests on another number of
        values than ``n_seeds`` has that in ``NAME_n`` (subsampling seeds, for the augmentation experiment). A
        metric that declares floors has its place between the best of them (0) and the ceiling (1) in
        ``NAME_position`` (see `reports.scale`). What failed is a row with its status and reason.
        ``attrs["suspect"]`` and ``attrs["copying"]`` list what `reports.suspicion` found. Of a `Snapshot`
        it is always the same object: copy it before you change it.
    """
    return snapshot(view).results


def _computed_results(view: RunView) -> pd.DataFrame:
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for record in records_of(view, "main"):
        by_model.setdefault(record["job"]["model"], []).append(record)
    values = values_by_model(view)
    rows = []
    for model, records in by_model.items():
        job, (status, reason) = records[0]["job"], outcome(records)
        rows.append(
            {"model": model, "role": job["role"], "budget": job["budget"]}
            | summary_columns(values[model])
            | {f"{name}_n": len(group) for name, group in values[model].items()}
            | {"status": status, "reason": reason, "n_seeds": sum(has_results(view, r) for r in records)}
        )
    rows.sort(key=lambda row: ROLES.index(row["role"]))
    frame = pd.DataFrame(rows).reindex(columns=_result_columns(view, values, rows))
    metrics = scored_metrics(view)
    places = {f"{metric['name']}_position": positions(frame, metric, values) for metric in metrics}
    frame = frame.assign(**{name: place for name, place in places.items() if place is not None})
    frame = frame.assign(**_ends_within_bounds(frame, metrics))
    frame.attrs |= {"suspect": suspects(frame, metrics), "copying": copying(frame, metrics)}
    return frame


def whole_frame(view: RunView) -> pd.DataFrame:
    """Return the results under every protocol of the run, those of each in rows of their own.

    The columns are those of `results_frame`, after ``protocol``.
    """
    frames = {name: results_frame(under_protocol(view, name)).copy() for name in view["run"]["protocols"]}
    for name, frame in frames.items():
        frame.insert(0, "protocol", name)
        frame.attrs.clear()
    return pd.concat(frames.values(), ignore_index=True)


def summary_columns(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return mean, and ``NAME_low`` and ``NAME_high`` where there are three values, of every column."""
    columns: dict[str, float] = {}
    for name, group in values.items():
        summary = summarise(group)
        columns[name] = summary.mean
        if len(group) >= 3:
            columns |= {f"{name}_low": summary.low, f"{name}_high": summary.high}
    return columns


def _ends_within_bounds(frame: pd.DataFrame, metrics: Sequence[Mapping[str, Any]]) -> dict[str, pd.Series]:
    """Cut intervals off where no value can lie: a t interval knows nothing of a metric's bounds."""
    return {
        end: frame[end].clip(*metric["bounds"])
        for metric in metrics
        for end in (f"{metric['name']}_low", f"{metric['name']}_high")
        if end in frame
    }


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return cast("list[dict[str, Any]]", frame.to_dict("records"))


def _result_columns(
    view: RunView, values: Mapping[str, Mapping[str, Sequence[float]]], rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    found = {name: len(group) for columns in values.values() for name, group in columns.items()}
    longest = {name: max(len(columns.get(name, ())) for columns in values.values()) for name in found}
    headlines = [metric["name"] for metric in scored_metrics(view)]
    costs = [name for name in COST_COLUMNS if name != "peak_device_gib" or name in found]
    secondary = [name for name in found if name not in COST_COLUMNS and name not in headlines]
    measured = [*costs, *headlines, *secondary]
    intervals = [f"{name}_{end}" for name in measured if longest.get(name, 0) >= 3 for end in ("low", "high")]
    uneven = [
        f"{name}_n"
        for name in measured
        if any(row.get(f"{name}_n", row["n_seeds"]) != row["n_seeds"] for row in rows)
    ]
    return ["model", "role", "budget", *measured, "status", "reason", "n_seeds", *intervals, *uneven]


def _gib(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else n_bytes / GIB
