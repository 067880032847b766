"""What the ACTIVA paper printed, to stand beside what was measured."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pandas as pd

from reports import RunView
from reports.table import results_frame

NOTE = (
    "Published: Heydari et al. 2022, doi:10.1093/bioinformatics/btac095, on its own hardware and budgets. "
    "Its scores were taken after real and synthetic cells had been integrated together, which removes the "
    "very difference that the metrics look for; nothing is integrated here. The paper states neither the "
    "kernel weights nor the root of its mmd: compare the ratios to the positive control."
)


def published_frame(view: RunView) -> pd.DataFrame:
    """Return the paper's figures for this data set beside the run's; no rows if the paper has none.

    Returns
    -------
    pandas.DataFrame
        ``quantity``, ``model``, ``measured``, ``published``, ``published_sd`` (NaN where none was printed).
        The quantity ``mmd / real`` is the ratio of a model's mmd to that of the control ``real``.
    """
    path = Path(__file__).with_name("published.toml")
    facts = tomllib.loads(path.read_text(encoding="utf-8")).get(view["run"]["dataset"]["name"], {})
    measured = results_frame(view).set_index("model").to_dict()
    rows = []
    for quantity, by_model in facts.items():
        for model, (mean, *deviation) in by_model.items():
            value = measured.get(quantity, {}).get(model, math.nan)
            rows.append((quantity, model, value, mean, deviation[0] if deviation else math.nan))
    frame = pd.DataFrame(rows, columns=["quantity", "model", "measured", "published", "published_sd"])
    return pd.concat([frame, _ratios_to_control(frame)], ignore_index=True)


def _ratios_to_control(frame: pd.DataFrame) -> pd.DataFrame:
    mmd = frame[frame["quantity"] == "mmd"]
    control = mmd[mmd["model"] == "real"]
    ratios = mmd[mmd["model"] != "real"].copy()
    if not ratios.empty:
        ratios["quantity"] = "mmd / real"
        for column in ("measured", "published"):
            ratios[column] = ratios[column] / control[column].iloc[0]
    return ratios
