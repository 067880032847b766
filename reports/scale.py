"""What a metric's value is worth: where it lies between the floors and the ceiling of the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.judge import mean_distance

if TYPE_CHECKING:
    import pandas as pd

CEILING = "real"


def held_out_distance(frame: pd.DataFrame, metric: Mapping[str, Any]) -> float:
    """Return how far held-out real cells lie from the ideal of a metric that does not score the ceiling.

    Parameters
    ----------
    frame
        The results.
    metric
        Its declaration; where ``judged_by`` is a column, that holds what the test cells score. Else they
        stand at the ideal.
    """
    source = metric.get("judged_by")
    return abs(float(frame[source].mean()) - metric["ideal"]) if source in frame else 0.0


def positions(
    frame: pd.DataFrame, metric: Mapping[str, Any], values: Mapping[str, Mapping[str, Sequence[float]]]
) -> pd.Series | None:
    """Return where each generator lies between the best declared floor (0) and the ceiling (1).

    Distances are measured from the metric's ideal, seed by seed, so that a value beyond the ideal counts as
    one before it, and does not make up for it.
    A metric that does not score the ceiling, because copies of training cells are what it looks for, has that
    of held-out real cells. A generator that is worse than the best floor lies below 0; one that is nearer to
    the ideal than real cells happened to be lies above 1.

    Parameters
    ----------
    frame
        The results, with the column ``model``.
    metric
        Its declaration: ``name``, ``ideal``, ``floors``, ``exempt``, ``judged_by``.
    values
        Model → column → one value per Job.

    Returns
    -------
    pandas.Series or None
        One number for each row of `frame`; None where the ceiling or every declared floor is missing, or
        where a floor is no worse than the ceiling, so that there is no scale (such a run is suspect).
    """
    name, ideal = metric["name"], metric["ideal"]
    distances = frame["model"].map(lambda model: mean_distance(values[model].get(name, ()), ideal))
    scored = distances.set_axis(frame["model"]).dropna()
    floors = scored[scored.index.isin(metric["floors"])]
    if CEILING in metric["exempt"]:
        scored[CEILING] = held_out_distance(frame, metric)
    if floors.empty or CEILING not in scored:
        return None
    best, ceiling = floors.min(), scored[CEILING]
    return (best - distances) / (best - ceiling) if best > ceiling else None
