"""Does the run contradict itself? A broken metric shows in the order of its controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CEILING = "real"


def suspects(frame: pd.DataFrame, metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line for each declared order that does not hold, or that lacks its ceiling.

    Every floor that a metric declares must lie farther from the metric's ideal than the control ``real``;
    a tie is broken order too. Floors that were not run or not scored are passed over.

    Parameters
    ----------
    frame
        The results (see `reports.table.results_frame`, which carries these lines in its ``attrs``).
    metrics
        Declarations of the metrics: ``name``, ``ideal``, ``floors``.
    """
    by_model = frame.set_index("model")
    broken = []
    for metric in metrics:
        name, ideal = metric["name"], metric["ideal"]
        values = by_model[name].dropna().to_dict()
        floors = {floor: values[floor] for floor in metric["floors"] if floor in values}
        if floors and CEILING not in values:
            broken.append(f"no ceiling: {CEILING} has no {name}")
            continue
        for floor, value in floors.items():
            if abs(value - ideal) <= abs(values[CEILING] - ideal):
                pair = f"{floor} {value:.3g} is not worse than {CEILING} {values[CEILING]:.3g}"
                broken.append(f"{name} (ideal {ideal:g}): {pair}")
    return broken
