"""What is logged of a Job, under which names.

Names sort: whoever reads one of MLflow's alphabetical lists from the top meets ``headline/`` first.

=====================  ==================================================================================
``headline/``          the metrics of the paper's table; seconds to train and to sample; peak memory
``scores/``            every other score, types and spreads among them
``seconds/``           of every phase
``speed/``             steps a second; how many cells were sampled to time it, and how dense they were
``steps/``             of every phase
``system/``            memory and load, a point a second, not thinned; peaks, of the whole and of every phase
``training/``          curves, thinned; ``training_final/``, ``training_lowest/`` and ``training_highest/``
                       are of the whole curve
=====================  ==================================================================================
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from reports.curves import Curve
from reports.rows import Row
from reports.table import COST_COLUMNS, GIB, cost_values, not_timed, score_values
from reports.view import JobFacts, MetricFacts, Record, RunView, Score
from reports.words import hardware_in_words

HEADLINE_COSTS = ("training_seconds", "sample_seconds", "peak_rss_gib")
VALUE_LENGTH = 500


def run_name(job: JobFacts) -> str:
    """Return a Job's name in MLflow's lists: ``activa · zheng · seed 0``."""
    name = f"{job.model} · {job.dataset} · seed {job.seed}"
    if job.experiment.kind == "main":
        return name
    if job.experiment.kind == "donors":
        return f"{name} · donors, split {job.experiment.subsample_seed}"
    part = job.experiment.reduced
    return f"{name} · {100 * part.fraction:g} % {part.cell_type} · subsample {part.subsample_seed}"


def scalars(record: Record, scores: Iterable[Score], view: RunView) -> dict[str, float]:
    """Return the figures of the results table, then seconds, steps and peak memory of every phase."""
    values = score_values(scores) | cost_values(record)
    named = {(_group(name, view), name): value for name, value in values.items()}
    if not record.beside:
        named |= {("seconds", phase): float(seconds) for phase, seconds in record.phases.items()}
    named |= {("steps", phase): float(steps) for phase, steps in record.steps.items()}
    by_phase = record.memory.by_phase
    # Not another "/", and behind `rss_gib`: sections and charts stand in alphabetical order.
    named |= {("system", f"rss_gib_peak:{k.replace('/', ':')}"): v / GIB for k, v in by_phase.items()}
    # In order, because the page of a single run lists metrics as they came.
    return dict(sorted((allowed(f"{group}/{name}"), value) for (group, name), value in named.items()))


def score_name(metric: MetricFacts) -> str:
    """Return the name under which a metric's value itself is logged, such as ``headline/rf_auc``."""
    return allowed(f"{'headline' if metric.group == 'headline' else 'scores'}/{metric.name}")


def summary_scalars(row: Row, view: RunView) -> dict[str, float]:
    """Return the mean of each column over seeds, and the ends of its interval as ``…_low`` and ``…_high``."""
    named: dict[str, float] = {}
    for name, summary in row.summaries.items():
        column = f"{_group(name, view)}/{name}"
        parts = {"": summary.mean, "_low": summary.low, "_high": summary.high}
        named |= {f"{column}{end}": value for end, value in parts.items() if math.isfinite(value)}
    return dict(sorted((allowed(name), value) for name, value in named.items()))


def _group(name: str, view: RunView) -> str:
    if name in (*HEADLINE_COSTS, *(metric.name for metric in view.metrics if metric.group == "headline")):
        return "headline"
    if name not in COST_COLUMNS:
        return "scores"
    return "system" if name == "peak_device_gib" else "speed"


def curve_scalars(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Return the last, the lowest and the highest value of each curve: which is best, its name tells."""
    named: dict[str, float] = {}
    for name, curve in curves.items():
        values = [value for _, value in curve]
        ends = {"final": values[-1], "lowest": min(values), "highest": max(values)}
        named |= {allowed(f"training_{which}/{name}"): value for which, value in ends.items()}
    return named


def params(record: Record, view: RunView) -> dict[str, Any]:
    """Return what was chosen for a Job: whatever differs between two Jobs that one would compare."""
    job = record.job
    names = ("model", "framework", "space", "dataset", "seed", "sample_seeds", "budget", "device", "threads")
    experiment = {name: value for name, value in dict(job.experiment).items() if value not in (None, ())}
    experiment["experiment"] = experiment.pop("kind")
    circumstances = {"profile": view.run.profile, "protocol": view.protocol, "n_cells": job.n_cells}
    circumstances["hardware"] = hardware_in_words(view.machine_of(record) or view.run.hardware)
    return job.hyperparameters | {name: getattr(job, name) for name in names} | experiment | circumstances


def tags(record: Record) -> dict[str, str]:
    """Return how a Job ended, where it ran, and its role."""
    ending = {"status": record.status, "reason": record.reason, "failed_phase": record.failed_phase or ""}
    ending["not_timed"] = not_timed([record])
    told = {name: words for name, words in ending.items() if words}
    return told | origin_tags(record) | {"role": record.job.role}


def origin_tags(record: Record) -> dict[str, str]:
    """Return where a Record comes from: commit, machine, versions."""
    origin = {"hardware.fingerprint": record.machine.fingerprint}
    if record.git_commit:
        # The first is what MLflow's pages show as the version of the source.
        origin |= {"mlflow.source.git.commit": record.git_commit, "git_commit": record.git_commit}
    return origin | {f"version.{name}": version for name, version in record.versions.items()}


def allowed(name: str) -> str:
    """Replace what MLflow does not allow in a name (``CD14+ Monocyte`` → ``CD14_ Monocyte``)."""
    return re.sub(r"[^\w.\- :/]", "_", name)


def model_name(name: str) -> str:
    """Replace what MLflow does not allow in the name of a model (``gan.v2`` → ``gan_v2``)."""
    return re.sub(r"[/:.%\"']", "_", name)


def text(value: Any) -> str:
    """Return a value as MLflow stores it: JSON, cut where it is too long."""
    words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return words if len(words) <= VALUE_LENGTH else words[: VALUE_LENGTH - 1] + "…"


def digest(content: Any) -> str:
    """Return a short hash of plain data, by which an upload is known to be done."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
