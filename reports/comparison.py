"""Two generators side by side, metric by metric: effect, interval, verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from reports import RunView
from reports.judge import Effect, aimed_at, judge, paired_effect
from reports.table import (
    headline_fraction,
    records_of,
    score_values,
    scored_metrics,
    scores_of,
    under_protocol,
)

COLUMNS = (
    "a",
    "b",
    "protocol",
    "metric",
    "ideal",
    "value_a",
    "value_b",
    "n_seeds",
    "effect",
    "low",
    "high",
    "p_value",
    "verdict",
)


class Side(NamedTuple):
    """A generator in a run, and what it is called in the table."""

    view: RunView
    model: str
    label: str


def comparison_frame(pairs: Iterable[tuple[Side, Side]]) -> pd.DataFrame:
    """Compare pairs of generators in every metric that both were scored with, under each protocol.

    Parameters
    ----------
    pairs
        A and B; every pair's two runs must have used the same cells, and scored as many of them, under a
        protocol, by the same code.

    Returns
    -------
    pandas.DataFrame
        A row for each pair, protocol and metric: ``a``, ``b`` (labels), ``protocol``, ``metric``, ``ideal``
        (for a metric that declares ``judged_by``: what real cells score; NaN where that is not known),
        ``value_a``, ``value_b`` (means over the common seeds), ``n_seeds`` (common ones), ``effect`` with its
        uncorrected 95 % interval ``low`` to ``high`` (how much farther from the ideal B is, see
        `reports.judge.Effect`), ``p_value`` (paired t test, Holm's correction over all rows), ``verdict``.

    Raises
    ------
    ValueError
        If two runs do not compare; the message says why.
    """
    rows, effects = [], []
    for a, b in pairs:
        left, right = (side.view["run"].get("dataset_key") for side in (a, b))
        if left != right:
            raise ValueError(f"the runs do not compare: prepared cells {left} and {right}")
        for protocol, metric in _common_metrics(a.view, b.view):
            of_a, of_b = (values_by_seed(side, protocol, metric) for side in (a, b))
            seeds = sorted(of_a.keys() & of_b.keys())
            if not seeds:
                continue
            _require_alike(a, b, protocol, metric)
            aim = aimed_at(metric, scores_of_real((a, b), protocol, metric))
            effect = effect_of(a, b, protocol, metric, aim=aim)
            effects.append(effect)
            means = [sum(values[seed] for seed in seeds) / len(seeds) for values in (of_a, of_b)]
            facts = (a.label, b.label, protocol, metric["name"], aim, *means)
            rows.append((*facts, effect.n_seeds, effect.mean, effect.low, effect.high))
    complete = [(*row, p, verdict) for row, (verdict, p) in zip(rows, judge(effects), strict=True)]
    return pd.DataFrame(complete, columns=list(COLUMNS))


def effect_of(a: Side, b: Side, protocol: str, metric: Mapping[str, Any], *, aim: float) -> Effect:
    """Compare two generators in one metric that both were scored with.

    Parameters
    ----------
    a, b
        The generators.
    protocol, metric
        Under which protocol; the metric's declaration.
    aim
        From `reports.judge.aimed_at`.
    """
    n_cells = min(_facts(a, protocol, metric, "n_cells") | _facts(b, protocol, metric, "n_cells"))
    of_a, of_b = (values_by_seed(side, protocol, metric) for side in (a, b))
    return paired_effect(of_a, of_b, aim=aim, resolution=1 / n_cells)


def scores_of_real(sides: Iterable[Side], protocol: str, metric: Mapping[str, Any]) -> list[float]:
    """Return what real cells score by a metric that declares ``judged_by``; nothing for other metrics.

    Parameters
    ----------
    sides
        Generators in whose runs the control is sought, or a value beside whose scores.
    protocol, metric
        Under which protocol; the metric's declaration.
    """
    source = metric.get("judged_by")
    if source is None:
        return []
    return [
        value
        for side in sides
        for values in (
            values_by_seed(side._replace(model=source), protocol, metric),
            values_by_seed(side, protocol, {**metric, "name": source}),
        )
        for value in values.values()
    ]


def _require_alike(a: Side, b: Side, protocol: str, metric: Mapping[str, Any]) -> None:
    # Scores of earlier versions do not say what code made them.
    for name, what in (("n_cells", "cells a side"), ("code", "metric code")):
        left, right = (_facts(side, protocol, metric, name) for side in (a, b))
        if len(left | right) > 1:
            said = (", ".join(sorted(map(str, facts))) for facts in (left, right))
            raise ValueError(
                f"{metric['name']} under {protocol} does not compare: {what} {' and '.join(said)}; "
                "score both runs anew with bench score"
            )


def _facts(side: Side, protocol: str, metric: Mapping[str, Any], name: str) -> set[Any]:
    """Return what the scores that `values_by_seed` averages say of one thing."""
    jobs = _scored_jobs(side, protocol, metric)
    return {score.get(name) for _, scores in jobs for score in scores if metric["name"] in score["values"]}


def _common_metrics(a: RunView, b: RunView) -> list[tuple[str, Mapping[str, Any]]]:
    """Return protocol and declaration of what both runs scored, in A's order."""
    common = []
    for protocol in a["run"]["protocols"]:
        if protocol in b["run"]["protocols"]:
            also = {metric["name"] for metric in scored_metrics(under_protocol(b, protocol))}
            scored = scored_metrics(under_protocol(a, protocol))
            common += [(protocol, metric) for metric in scored if metric["name"] in also]
    return common


def values_by_seed(side: Side, protocol: str, metric: Mapping[str, Any]) -> dict[int, float]:
    """Return a metric's values by training seed, or by subsampling seed in the augmentation experiment."""
    values = {}
    for seed, scores in _scored_jobs(side, protocol, metric):
        found = score_values(scores).get(metric["name"])
        if found is not None:
            values[seed] = found
    return values


def _scored_jobs(
    side: Side, protocol: str, metric: Mapping[str, Any]
) -> Iterator[tuple[int, list[Mapping[str, Any]]]]:
    """Yield the seed and the scores of each of the generator's Jobs that a metric scores."""
    view = under_protocol(side.view, protocol)
    augmentation = metric["experiment"] == "augmentation"
    fraction = headline_fraction(view) if augmentation else None
    for record in records_of(view, metric["experiment"]):
        job, experiment = record["job"], record["job"]["experiment"]
        if job["model"] == side.model and experiment.get("fraction") == fraction:
            yield experiment["subsample_seed"] if augmentation else job["seed"], scores_of(view, record)
