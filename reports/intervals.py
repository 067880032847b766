"""How sure the test cells make a score: bootstrap intervals and p-values of one sample.

They say nothing of another training of the same model; that is what seeds are for (`reports.judge`).
"""

from __future__ import annotations

import math

import pandas as pd

from reports import RunView
from reports.table import ROLES, records_of, scored_metrics, scores_of

COLUMNS = ("model", "metric", "value", "low", "high", "p_value")


def intervals_frame(view: RunView, *, group: str | None = "headline") -> pd.DataFrame:
    """Return interval and p-value of every score of the first sample of each generator's first seed.

    Parameters
    ----------
    view
        The run, under one protocol.
    group
        Only metrics of this group; None for all.

    Returns
    -------
    pandas.DataFrame
        ``model``, ``metric``, ``value``, ``low``, ``high`` (95 % bootstrap interval over the test cells) and
        ``p_value``; NaN where a metric has none; no row where it has neither.
    """
    metrics = {metric["name"] for metric in scored_metrics(view) if group in (None, metric["group"])}
    rows: dict[tuple[str, str], tuple[float, float, float, float]] = {}
    for record in sorted(records_of(view, "main"), key=lambda record: ROLES.index(record["job"]["role"])):
        for score in scores_of(view, record):
            interval, p_value = score["interval"], score["p_value"]
            if score["metric"] in metrics and not (interval is None and p_value is None):
                low, high = interval or (math.nan, math.nan)
                value = score["values"][score["metric"]]
                p = math.nan if p_value is None else p_value
                rows.setdefault((record["job"]["model"], score["metric"]), (value, low, high, p))
    return pd.DataFrame([(*key, *values) for key, values in rows.items()], columns=list(COLUMNS))
