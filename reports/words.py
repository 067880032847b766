"""Numbers, machines and Jobs in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from reports.table import GIB

DASH = "–"


def count(number: float) -> str:
    """Write a whole number, thousands apart."""
    return f"{number:,.0f}".replace(",", " ")


def figure(value: float | None) -> str:
    """Write a number with three significant digits, thousands apart; a dash for what is missing."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0 or abs(value) >= 100:
        return count(value)
    decimals = 2 - math.floor(math.log10(abs(float(f"{value:.3g}"))))
    return f"{value:.{decimals}f}" if decimals <= 5 else f"{value:.1e}"


def job_in_words(job: Mapping[str, Any]) -> str:
    """Return which Job it is: model, and seed or part of the augmentation experiment."""
    experiment = job["experiment"]
    if experiment["kind"] == "main":
        return f"{job['model']} · seed {job['seed']}"
    share = f"{100 * experiment['fraction']:g} % of {experiment['cell_type']}"
    return f"{job['model']} · {share} · subsample {experiment['subsample_seed']}"


def hardware_in_words(hardware: Mapping[str, Any]) -> str:
    """Return a machine in one line: processor, cores, memory, GPUs."""
    facts = [
        str(hardware["cpu_model"]),
        f"{hardware['physical_cores']} cores ({hardware['logical_cores']} threads)",
        f"{hardware['memory_bytes'] / GIB:.0f} GiB",
    ]
    gpus = Counter((gpu["model"], round(gpu["memory_bytes"] / GIB)) for gpu in hardware["gpus"])
    facts += [f"{count} × {model} with {memory} GiB" for (model, memory), count in gpus.items()]
    return " · ".join(facts if gpus else [*facts, "no GPU"])
