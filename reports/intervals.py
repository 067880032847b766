"""How sure the test cells make a score: bootstrap intervals and p-values of one sample.

They say nothing of another training of the same model; that is what seeds are for (`reports.judge`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from reports.table import ROLES, results
from reports.view import RunView


class Interval(NamedTuple):
    """A score of one sample: its 95 % bootstrap interval over the test cells and p-value, NaN where none."""

    model: str
    metric: str
    value: float
    low: float
    high: float
    p_value: float


def intervals(view: RunView) -> list[Interval]:
    """Return headline scores of the first sample of each generator's first seed that have either."""
    metrics = {metric.name for metric in results(view).headline}
    rows: dict[tuple[str, str], Interval] = {}
    for record in sorted(view.records_of("main"), key=lambda record: ROLES.index(record.job.role)):
        for score in view.scores_of(record):
            if score.metric in metrics and not (score.interval is None and score.p_value is None):
                low, high = score.interval or (math.nan, math.nan)
                p_value = math.nan if score.p_value is None else score.p_value
                model, value = record.job.model, score.values[score.metric]
                found = Interval(model, score.metric, value, low, high, p_value)
                rows.setdefault((model, score.metric), found)
    return list(rows.values())
