"""Does the run contradict itself? A broken metric shows in the order of its controls."""

from __future__ import annotations

import math

from reports import RunView
from reports.table import results_frame, scored_metrics

CEILING = "real"


def suspects(view: RunView) -> list[str]:
    """Return one line for each declared order that does not hold.

    Every floor that a metric declares must lie farther from the metric's ideal than the control ``real``;
    a tie is broken order too. Controls that were not run or not scored are passed over.

    Parameters
    ----------
    view
        The run (see `reports`).
    """
    frame = results_frame(view).set_index("model")
    broken = []
    for metric in scored_metrics(view):
        name, ideal = metric["name"], metric["ideal"]
        values = frame[name].to_dict()
        ceiling = values.get(CEILING, math.nan)
        for floor in metric["floors"]:
            value = values.get(floor, math.nan)
            # A comparison with NaN is False: what is missing breaks no order.
            if abs(value - ideal) <= abs(ceiling - ideal):
                broken.append(
                    f"{name} (ideal {ideal:g}): {floor} {value:.3g} is not worse than {CEILING} {ceiling:.3g}"
                )
    return broken
