"""The quality tier: a run's scores against those of its baseline, judged as `bench compare` judges two runs.

What is aimed at, the distances from it, the paired test over common training seeds and the verdict are those
of `reports.judge`; "A better", where A is the baseline, is a regression. All scores of a build are judged
together: 5 % of builds in which nothing changed get a verdict, half of these a regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bench.errors import RequestError
from bench.gate.findings import Finding, Outcome, Status
from bench.results.run_folder import RunFolder
from reports import judge
from reports.comparison import Side, scores_of_real
from reports.view import MetricFacts, Record, Score

TIER: Final = "quality"
ACCEPT: Final = "accept scores of today's code with bench gate --accept --reason '…' --current RUN"
_SAME: Final = {"dataset_key": "data set", "protocol": "protocol", "budget": "budget", "n_cells": "n_cells"}


def quality_of(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the scores of a run's models and baselines by training seed, and what they rest on.

    Returns
    -------
    dict
        By ``"model · protocol"``: ``dataset``, ``dataset_key``, ``protocol``, ``budget``, ``n_cells``, and
        ``metrics``: by name ``better``, ``ideal``, ``judged_by``, ``real`` (what real cells score, for a
        metric that is judged by that), ``code`` (hashes of the code that made the values, one but for a run
        that was scored in parts), ``values`` by seed (the mean over sample seeds), and ``lost``: by seed why
        it has no value.
    """
    found: dict[str, dict[str, Any]] = {}
    for view in folder.view().each_protocol:
        for record in view.records_of("main"):
            job = record.job
            if job.role not in ("model", "baseline"):
                continue
            facts = {name: getattr(job, name) for name in ("dataset", "dataset_key", "budget")}
            facts |= {"protocol": view.protocol, "n_cells": view.run.protocol_facts[view.protocol].n_cells}
            entry = found.setdefault(f"{job.model} · {view.protocol}", facts | {"metrics": {}})
            side = Side(view, job.model, job.model)
            for declared in view.metrics:
                metric = entry["metrics"].setdefault(declared.name, _declared(side, declared))
                _add_seed(metric, declared.name, record, view.scores_of(record))
    return found


def _declared(side: Side, declared: MetricFacts) -> dict[str, Any]:
    facts = {"better": declared.better, "ideal": declared.ideal, "judged_by": declared.judged_by}
    return facts | {"real": scores_of_real([side], declared), "code": [], "values": {}, "lost": {}}


def _add_seed(metric: dict[str, Any], name: str, record: Record, scores: Sequence[Score]) -> None:
    seed, drawn = str(record.job.seed), [score for score in scores if score.metric == name]
    if drawn and all(name in score.values for score in drawn):
        metric["values"][seed] = float(np.mean([score.values[name] for score in drawn]))
        metric["code"] = sorted({*metric["code"], *(score.code for score in drawn)})
    else:
        # Its scores' own words, else what became of its Job.
        errors = [score.error for score in drawn if score.error]
        metric["lost"][seed] = errors[0] if errors else record.reason or "it has no score"


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


def compare_quality(stored: Mapping[str, Any], found: Mapping[str, Any], *, remedy: str = ACCEPT) -> Outcome:
    """Compare scores, both as `quality_of` returns them.

    Parameters
    ----------
    stored, found
        Scores of the baseline and of the run.
    remedy
        Command that helps where other code made the baseline's scores.

    Raises
    ------
    RequestError
        If nothing is common, or a data set, protocol, budget, number of cells or a metric's code differs.
    """
    common = [title for title in stored if title in found]
    if not common:
        raise RequestError(
            f"--current has scores of {', '.join(found) or 'nothing'}, the baseline of "
            f"{', '.join(stored) or 'nothing'}: give runs of the same model under the same protocol"
        )
    for title in common:
        _require_alike(title, stored[title], found[title], remedy=remedy)
    rows = [
        (title, name, metric, found[title]["metrics"].get(name))
        for title in common
        for name, metric in stored[title]["metrics"].items()
        if metric["values"]
    ]
    note = "the run has no scores of it; the baseline has"
    findings = [Finding(TIER, title, "", "failed", note=note) for title in stored if title not in found]
    findings += [lost for row in rows if (lost := _lost(*row)) is not None]
    judged = [(title, name, metric, now) for title, name, metric, now in rows if now and not now["lost"]]
    effects = [_effect(metric, now, n_cells=found[title]["n_cells"]) for title, _, metric, now in judged]
    for row, effect, judgement in zip(judged, effects, judge.judge(effects), strict=True):
        findings.append(_finding(*row, effect, *judgement))
    n_tested = sum(not math.isnan(effect.p_value) for effect in effects)
    shares = f"{1 - judge.CONFIDENCE:.0%} of false verdicts shared by {n_tested} scores"
    return Outcome(findings, [f"quality: {shares if n_tested else 'no score was judged'}"])


def _lost(title: str, name: str, metric: Mapping[str, Any], now: Mapping[str, Any] | None) -> Finding | None:
    """Return what is said of a metric that the run was not asked for, or lacks for a seed."""
    before = float(np.mean(list(metric["values"].values())))
    if now is None:
        return Finding(TIER, title, name, "not comparable", before, note="the run was not asked for it")
    if not now["lost"]:
        return None
    seed, reason = next(iter(now["lost"].items()))
    n_lost, n_seeds = len(now["lost"]), len(now["lost"]) + len(now["values"])
    note = f"{n_lost} of {n_seeds} seeds have no value; seed {seed}: {reason}"
    return Finding(TIER, title, name, "failed", before, note=note)


def _aim(metric: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    return judge.aimed_at(metric["ideal"], metric.get("judged_by"), [*metric["real"], *now["real"]])


def _effect(metric: Mapping[str, Any], now: Mapping[str, Any], *, n_cells: int) -> judge.Effect:
    before, after = ({int(seed): value for seed, value in side["values"].items()} for side in (metric, now))
    return judge.paired_effect(before, after, aim=_aim(metric, now), resolution=1 / n_cells)


def _finding(
    title: str,
    name: str,
    metric: Mapping[str, Any],
    now: Mapping[str, Any],
    effect: judge.Effect,
    verdict: judge.Verdict,
    p_value: float,
) -> Finding:
    known, values = list(metric["values"].values()), list(now["values"].values())
    before, after = float(np.mean(known)), float(np.mean(values))
    if verdict == judge.NEEDS_CONTROL:
        note = f"neither side says what real cells score ({metric['judged_by']})"
        return Finding(TIER, title, name, "undecided", before, after, note=note)
    if effect.n_seeds < judge.LEAST_SEEDS:
        note = f"{effect.n_seeds} seeds are common with the baseline; a verdict needs {judge.LEAST_SEEDS}"
        return Finding(TIER, title, name, "undecided", before, after, note=note)
    status: Status = "regression" if verdict == "A better" else "no regression"
    aim, aimed = _aim(metric, now), "real cells" if metric["judged_by"] else "ideal"
    was, is_now = (f"{judge.mean_distance(scores, aim):.3g}" for scores in (known, values))
    allowed = f"{was} from {aim:.4g} ({aimed}), now {is_now}"
    note = f"p {p_value:.2g} over {effect.n_seeds} common seeds"
    return Finding(TIER, title, name, status, before, after, allowed=allowed, note=note)


def _require_alike(title: str, stored: Mapping[str, Any], found: Mapping[str, Any], *, remedy: str) -> None:
    for key, words in _SAME.items():
        if stored[key] != found[key]:
            was, now = (
                (f"{facts['dataset']} ({facts[key]})" if key == "dataset_key" else facts[key])
                for facts in (stored, found)
            )
            raise RequestError(
                f"--current: {title} has {words} {now}, its baseline {was}: such scores do not compare"
            )
    for name, metric in stored["metrics"].items():
        now = found["metrics"].get(name)
        if now and metric["values"] and now["values"] and metric.get("code") != now["code"]:
            was, is_now = (", ".join(side.get("code") or ["unknown"]) for side in (metric, now))
            raise RequestError(
                f"--baseline: {name} of {title} was computed by other metric code ({was}) than --current "
                f"({is_now}): {remedy}"
            )
