"""What a metric's value is worth: where it lies between the floors and the ceiling of the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CEILING = "real"


def positions(frame: pd.DataFrame, metric: Mapping[str, Any]) -> pd.Series | None:
    """Return where each generator lies between the best declared floor (0) and the ceiling (1).

    Distances are measured from the metric's ideal, so that a value beyond the ideal counts as one before it.
    A generator that is worse than the best floor lies below 0; one that is nearer to the ideal than real
    cells happened to be lies above 1.

    Parameters
    ----------
    frame
        The results, with the columns ``model`` and the metric's name.
    metric
        Its declaration: ``name``, ``ideal``, ``floors``.

    Returns
    -------
    pandas.Series or None
        One number for each row of `frame`; None where the ceiling or every declared floor is missing, or
        where a floor is no worse than the ceiling, so that there is no scale (such a run is suspect).
    """
    distances = (frame[metric["name"]] - metric["ideal"]).abs()
    scored = distances.set_axis(frame["model"]).dropna()
    floors = scored[scored.index.isin(metric["floors"])]
    if floors.empty or CEILING not in scored:
        return None
    best, ceiling = floors.min(), scored[CEILING]
    return (best - distances) / (best - ceiling) if best > ceiling else None
