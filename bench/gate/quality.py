"""The quality tier: a run's scores against those of its baseline's training seeds.

The question is whether the mean over the run's seeds could be one more mean from where the baseline's seeds
came from, so the interval is that of Student's t for predicting a mean: mean + t · s · √(1/n + 1/m) for n
seeds of the baseline and m of the run. A confidence interval of the baseline's mean would forget the new
run's own scatter and raise false alarms; an interval for single values would forget that a mean scatters
less. It is one-sided, as a better score is no regression, and all scores judged together share an error of
5 %, as in `reports.verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy import stats

from bench.errors import RequestError
from bench.gate.findings import Finding, Outcome, Status
from bench.run_folder import RunFolder

TIER: Final = "quality"
ERROR: Final = 0.05
LEAST_SEEDS: Final = 3
_SAME: Final = {"dataset_key": "data set", "protocol": "protocol", "budget": "budget", "n_cells": "n_cells"}


def highest_mean(values: Sequence[float], n_new: int, *, error: float, resolution: float) -> float:
    """Return what the mean of `n_new` further values exceeds with probability `error` (normal values).

    Parameters
    ----------
    values
        At least two.
    n_new
        How many make the new mean.
    error
        One-sided.
    resolution
        Stands for the deviation of values that are all equal, as where no cell of any seed is a copy.
    """
    known = np.asarray(values, dtype=float)
    deviation = float(known.std(ddof=1)) if np.ptp(known) else resolution
    scatter = deviation * math.sqrt(1 / len(known) + 1 / n_new)
    return float(known.mean() + stats.t.isf(error, len(known) - 1) * scatter)


def quality_of(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the scores of a run's models and baselines by training seed, and what they rest on.

    Returns
    -------
    dict
        By ``"model · protocol"``: ``dataset``, ``dataset_key``, ``protocol``, ``budget``, ``n_cells``, and
        ``metrics``: by name ``better``, ``ideal``, ``values`` by seed (the mean over sample seeds), and
        ``lost``: by seed why it has no value.
    """
    view = folder.view()
    found: dict[str, dict[str, Any]] = {}
    for record in view["records"]:
        job = record["job"]
        if job["experiment"]["kind"] != "main" or job["role"] not in ("model", "baseline"):
            continue
        for protocol in view["run"]["protocols"]:
            facts = {"dataset": job["dataset"], "dataset_key": job["dataset_key"], "budget": job["budget"]}
            facts |= {"protocol": protocol, "n_cells": view["run"]["protocol_facts"][protocol]["n_cells"]}
            entry = found.setdefault(f"{job['model']} · {protocol}", facts | {"metrics": {}})
            scores = [score for score in view["scores"][record["key"]] if score["protocol"] == protocol]
            for declared in view["metrics"]:
                name = declared["name"]
                metric = entry["metrics"].setdefault(
                    name, {"better": declared["better"], "ideal": declared["ideal"], "values": {}, "lost": {}}
                )
                drawn = [score for score in scores if score["metric"] == name]
                if drawn and all(name in score["values"] for score in drawn):
                    values = [score["values"][name] for score in drawn]
                    metric["values"][str(job["seed"])] = float(np.mean(values))
                else:
                    metric["lost"][str(job["seed"])] = _reason(record, drawn)
    return found


def accepted_quality(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return what a baseline stores of a run: of `quality_of`, the metrics that every seed has a value of."""
    stored = {}
    for title, scores in quality_of(folder).items():
        kept = {
            name: {key: fact for key, fact in metric.items() if key != "lost"}
            for name, metric in scores["metrics"].items()
            if not metric["lost"]
        }
        if kept:
            stored[title] = scores | {"metrics": kept}
    return stored


def compare_quality(stored: Mapping[str, Any], found: Mapping[str, Any]) -> Outcome:
    """Compare scores, both as `quality_of` returns them.

    Raises
    ------
    RequestError
        If nothing is common, or a data set, protocol, budget or number of cells differs.
    """
    common = [title for title in stored if title in found]
    if not common:
        raise RequestError(
            f"--current has scores of {', '.join(found) or 'nothing'}, the baseline of "
            f"{', '.join(stored) or 'nothing'}: give runs of the same model under the same protocol"
        )
    for title in common:
        _require_alike(title, stored[title], found[title])
    rows = [
        (title, name, metric, found[title]["metrics"].get(name))
        for title in common
        for name, metric in stored[title]["metrics"].items()
        if metric["values"]
    ]
    judged = sum(
        len(metric["values"]) >= LEAST_SEEDS and now is not None and not now["lost"]
        for *_, metric, now in rows
    )
    findings = [
        Finding(TIER, title, "", "failed", note="the run has no scores of it; the baseline has")
        for title in stored
        if title not in found
    ]
    for title, name, metric, now in rows:
        limits = {"error": ERROR / max(1, judged), "resolution": 1 / stored[title]["n_cells"]}
        findings.append(judge_metric(title, name, metric, now, **limits))
    shares = f"{ERROR:.0%} of false alarms shared by {judged} scores" if judged else "no score was judged"
    return Outcome(findings, [f"quality: distances from the ideal; {shares}"])


def judge_metric(
    subject: str,
    name: str,
    metric: Mapping[str, Any],
    now: Mapping[str, Any] | None,
    *,
    error: float,
    resolution: float,
) -> Finding:
    """Judge a metric by its distance from the ideal, so that worse is always more.

    Parameters
    ----------
    subject, name
        For the finding.
    metric
        ``ideal``, ``better`` and the baseline's ``values`` by seed.
    now
        The run's ``values`` and ``lost``; None if it was not asked for the metric.
    error
        Of this one comparison.
    resolution
        What one cell makes in a share of the cells.
    """
    known = list(metric["values"].values())
    before = float(np.mean(known))
    if now is None:
        note = "the run was not asked for it"
        return Finding(TIER, subject, name, "not comparable", before, note=note)
    values = list(now["values"].values())
    if lost := now["lost"]:
        seed, reason = next(iter(lost.items()))
        note = f"{len(lost)} of {len(lost) + len(values)} seeds have no value; seed {seed}: {reason}"
        return Finding(TIER, subject, name, "failed", before, note=note)
    after = float(np.mean(values))
    if len(known) < LEAST_SEEDS:
        note = f"the baseline has {len(known)} seeds; {LEAST_SEEDS} at least make an interval"
        return Finding(TIER, subject, name, "undecided", before, after, note=note)
    ideal = metric["ideal"]
    distances = [abs(value - ideal) for value in known]
    limit = highest_mean(distances, len(values), error=error, resolution=resolution)
    distance = float(np.mean([abs(value - ideal) for value in values]))
    status: Status = "regression" if distance > limit else "no regression"
    allowed = f"within {limit:.4g} of {ideal:g}"
    note = f"{metric['better']} is better; {len(known)} seeds, now {len(values)}"
    return Finding(TIER, subject, name, status, before, after, allowed=allowed, note=note)


def _reason(record: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str:
    """Say why a seed has no value: its scores' own words, else what became of its Job."""
    errors = [score["error"] for score in scores if score["error"]]
    return str(errors[0] if errors else record["reason"] or "it has no score")


def _require_alike(title: str, stored: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for key, words in _SAME.items():
        if stored[key] != found[key]:
            was, now = (
                (f"{facts['dataset']} ({facts[key]})" if key == "dataset_key" else facts[key])
                for facts in (stored, found)
            )
            raise RequestError(
                f"--current: {title} has {words} {now}, its baseline {was}: such scores do not compare"
            )
