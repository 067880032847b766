"""What MLflow's page of an experiment shows first: every Job, with its model, scores and times.

The page's own start is one folded row a run. What it should show instead is a tag of the experiment, in the
form of MLflow's shared views, and named in the page's address. A list that is sorted by anything but time
is not folded.
"""

from __future__ import annotations

import json
from typing import Final

from bench.tracking import naming
from reports.main_table import MAIN, metrics_in
from reports.view import RunView

SHARE_KEY: Final = "bench"
TAG: Final = f"mlflow.sharedViewState.{SHARE_KEY}"
PIXELS: Final = {"attributes.`Run Name`": 120, "params.`model`": 120, "params.`seed`": 60}
PIXELS_A_LETTER: Final = 7
PIXELS_AROUND: Final = 24


def start_view(view: RunView) -> str:
    """Return the state of MLflow's page that shows a run's table: model, seed, scores, seconds.

    Parameters
    ----------
    view
        The run; what stands in its main table makes the columns.

    Returns
    -------
    str
        JSON for the tag `TAG` of the experiment; the main table's few columns keep it far below the 5 000
        characters that MLflow takes.
    """
    shown = metrics_in(view, MAIN)
    scores = [naming.score_name(metric) for metric in shown if metric.experiment == "main"]
    augmentation = [naming.score_name(metric) for metric in shown if metric.experiment != "main"]
    costs = [f"headline/{name}" for name in naming.HEADLINE_COSTS]
    # As a table has them, but that what every Job has stands before what most have not.
    first = [name for name in scores if name.startswith("headline/")] + costs[:2]
    names = dict.fromkeys([*first, *scores, *augmentation, *costs])
    measured = {f"metrics.`{name}`": PIXELS_AROUND + PIXELS_A_LETTER * len(name) for name in names}
    order = ["attributes.`Run Name`", "params.`model`", "params.`seed`", *measured]
    state = {
        "searchFilter": "",
        "orderByKey": "params.`model`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": order[1:],
        "columnOrder": [*order, "runDateAndNestInfo", "duration"],
        "columnWidths": measured | PIXELS,
    }
    return json.dumps(state)
