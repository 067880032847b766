"""Two generators side by side, metric by metric: effect, interval, verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from reports import RunView
from reports.table import (
    headline_fraction,
    records_of,
    score_values,
    scored_metrics,
    scores_of,
    under_protocol,
)
from reports.verdicts import holm, paired_effect, verdict

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
        A and B; every pair's two runs must have used the same cells and the same number of them.

    Returns
    -------
    pandas.DataFrame
        A row for each pair, protocol and metric: ``a``, ``b`` (labels), ``protocol``, ``metric``, ``ideal``,
        ``value_a``, ``value_b`` (means over the common seeds), ``n_seeds`` (common ones), ``effect`` with its
        95 % interval ``low`` to ``high`` (how much farther from the ideal B is, see
        `reports.verdicts.Effect`), ``p_value`` (paired t test, Holm's correction over all rows), ``verdict``.

    Raises
    ------
    ValueError
        If two runs do not compare; the message says why.
    """
    rows, effects = [], []
    for a, b in pairs:
        _require_same_cells(a.view, b.view)
        for protocol, metric in _common_metrics(a.view, b.view):
            of_a, of_b = (values_by_seed(side, protocol, metric) for side in (a, b))
            seeds = sorted(of_a.keys() & of_b.keys())
            if not seeds:
                continue
            effect = paired_effect(of_a, of_b, ideal=metric["ideal"])
            effects.append(effect)
            means = [sum(values[seed] for seed in seeds) / len(seeds) for values in (of_a, of_b)]
            facts = (a.label, b.label, protocol, metric["name"], metric["ideal"], *means)
            rows.append((*facts, effect.n_seeds, effect.mean, effect.low, effect.high))
    adjusted = holm([effect.p_value for effect in effects])
    verdicts = [verdict(effect, p) for effect, p in zip(effects, adjusted, strict=True)]
    complete = [(*row, p, word) for row, p, word in zip(rows, adjusted, verdicts, strict=True)]
    return pd.DataFrame(complete, columns=list(COLUMNS))


def _require_same_cells(a: RunView, b: RunView) -> None:
    for name, what in (("dataset_key", "prepared cells"), ("n_cells", "number of cells a side")):
        left, right = a["run"].get(name), b["run"].get(name)
        if left != right:
            raise ValueError(f"the runs do not compare: {what} {left} and {right}")


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
    view = under_protocol(side.view, protocol)
    augmentation = metric["experiment"] == "augmentation"
    fraction = headline_fraction(view) if augmentation else None
    values = {}
    for record in records_of(view, metric["experiment"]):
        job, experiment = record["job"], record["job"]["experiment"]
        if job["model"] == side.model and experiment.get("fraction") == fraction:
            found = score_values(scores_of(view, record)).get(metric["name"])
            if found is not None:
                values[experiment["subsample_seed"] if augmentation else job["seed"]] = found
    return values
