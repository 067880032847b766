"""What papers printed, to stand beside what was measured under their protocols."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, Final

import pandas as pd

from reports import RunView
from reports.augmentation import augmentation_frame
from reports.table import results_frame

NOTES: Final = {
    "activa2022": (
        "Published: Heydari et al. 2022, doi:10.1093/bioinformatics/btac095, on its own hardware and "
        "budgets. Its scores were taken after real and synthetic cells had been integrated together, which "
        "removes the very difference that the metrics look for; nothing is integrated here. Nor did the "
        "authors' notebooks take the logarithm that mmd and cd have here. The paper states neither the "
        "kernel weights nor the root of its mmd: compare the ratios to the positive control."
    ),
    "groundgan2024": (
        "Published: Zinati et al. 2024, doi:10.1038/s41467-024-48516-6, Table 1. Its control is one half of "
        "the test cells against the other, at 500 cells a side where models are compared at 1000 (here all "
        "have the same number); the rf_auc of that control is the ideal value, not a measurement. Its "
        "generators were trained on the 1000 genes that are compared, those here on all."
    ),
}


def published_frame(view: RunView) -> pd.DataFrame:
    """Return a paper's figures for this data set beside the run's; no rows if the paper has none.

    A data set is known by the declared source that its cells are certain to come from, which its own facts
    say (``declared``): never by its name, which a file's name makes.

    Scores stand only beside those of the paper's own protocol. Training times depend on no protocol and
    stand with ACTIVA's.

    Parameters
    ----------
    view
        The run, under one protocol.

    Returns
    -------
    pandas.DataFrame
        ``quantity``, ``model``, ``measured``, ``published``, ``published_sd`` (NaN where none was printed).
        The quantity ``mmd / real`` is the ratio of a model's mmd to that of the control ``real``.
        ``attrs["source"]`` is the key of `NOTES` to print below.
    """
    protocol = view["run"]["protocol"]
    facts = _printed(protocol, view["run"]["dataset"].get("declared"))
    measured: dict[Any, Any] = results_frame(view).set_index("model").to_dict()
    measured["augmentation_f1"] = _augmentation(view)
    rows = []
    for quantity, by_model in facts.items():
        for model, (mean, *deviation) in by_model.items():
            value = measured.get(quantity, {}).get(model, math.nan)
            rows.append((quantity, model, value, mean, deviation[0] if deviation else math.nan))
    frame = pd.DataFrame(rows, columns=["quantity", "model", "measured", "published", "published_sd"])
    frame = pd.concat([frame, _ratios_to_control(frame)], ignore_index=True)
    frame.attrs["source"] = protocol
    return frame


def _printed(protocol: str, declared: str | None) -> dict[str, dict[str, list[float]]]:
    if declared is None:
        return {}
    path = Path(__file__).with_name("published.toml")
    printed = tomllib.loads(path.read_text(encoding="utf-8"))
    facts: dict[str, dict[str, list[float]]] = printed.get(protocol, {}).get(declared, {})
    return facts


def _augmentation(view: RunView) -> dict[str, float]:
    """Return the F1 of each augmenter, at each fraction: ``none at 0.5 %``."""
    frame = augmentation_frame(view)
    if frame.empty:
        return {}
    places = [f"{a} at {100 * f:g} %" for a, f in zip(frame["augmenter"], frame["fraction"], strict=True)]
    return dict(zip(places, frame["augmentation_f1"], strict=True))


def _ratios_to_control(frame: pd.DataFrame) -> pd.DataFrame:
    mmd = frame[frame["quantity"] == "mmd"]
    control = mmd[mmd["model"] == "real"]
    ratios = mmd[mmd["model"] != "real"].copy()
    if not ratios.empty:
        ratios["quantity"] = "mmd / real"
        for column in ("measured", "published"):
            ratios[column] = ratios[column] / control[column].iloc[0]
    return ratios
