"""Two generators side by side, metric by metric: effect, interval, verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pandas as pd

from reports.judge import Effect, Verdict, aimed_at, judge, paired_effect
from reports.table import results, score_values
from reports.view import MetricFacts, RunView, Score


class Side(NamedTuple):
    """A generator in a run, and what it is called in the table."""

    view: RunView
    model: str
    label: str

    def under(self, protocol: str) -> Side:
        """Return the same side as seen under a protocol."""
        return self._replace(view=self.view.under(protocol))


class Compared(NamedTuple):
    """Two generators in one metric under one protocol.

    Attributes
    ----------
    a, b
        Labels.
    ideal
        The metric's ideal; if it declares ``judged_by``, what real cells score (NaN where not known).
    value_a, value_b
        Means over the common seeds.
    n_seeds
        Common ones.
    effect, low, high
        How much farther from the ideal B is, and the uncorrected 95 % interval (see `reports.judge.Effect`).
    p_value, verdict
        Outcome of the paired t test, with Holm's correction over all rows.
    """

    a: str
    b: str
    protocol: str
    metric: str
    ideal: float
    value_a: float
    value_b: float
    n_seeds: int
    effect: float
    low: float
    high: float
    p_value: float
    verdict: Verdict


def comparison(pairs: Iterable[tuple[Side, Side]]) -> list[Compared]:
    """Compare pairs of generators in every metric that both were scored with, under each protocol.

    Parameters
    ----------
    pairs
        A and B; every pair's two runs must have used the same cells, and scored as many of them, under a
        protocol, by the same code.

    Raises
    ------
    ValueError
        If two runs do not compare; the message says why.
    """
    rows, effects = [], []
    for left, right in pairs:
        keys = [side.view.run.dataset_key for side in (left, right)]
        if keys[0] != keys[1]:
            raise ValueError(f"the runs do not compare: prepared cells {keys[0]} and {keys[1]}")
        for protocol, metric in _common_metrics(left.view, right.view):
            a, b = left.under(protocol), right.under(protocol)
            of_a, of_b = (values_by_seed(side, metric) for side in (a, b))
            seeds = sorted(of_a.keys() & of_b.keys())
            if not seeds:
                continue
            _require_alike(a, b, metric)
            aim = aimed_at(metric.ideal, metric.judged_by, scores_of_real((a, b), metric))
            effects.append(effect_of(a, b, metric, aim=aim))
            mean_a, mean_b = (sum(map(of_side.__getitem__, seeds)) / len(seeds) for of_side in (of_a, of_b))
            rows.append((a.label, b.label, protocol, metric.name, aim, mean_a, mean_b))
    return [
        Compared(*row, effect.n_seeds, effect.mean, effect.low, effect.high, p_value, verdict)
        for row, effect, (verdict, p_value) in zip(rows, effects, judge(effects), strict=True)
    ]


def comparison_frame(pairs: Iterable[tuple[Side, Side]]) -> pd.DataFrame:
    """Return `comparison` as a table, a column for each of the attributes of `Compared`."""
    return pd.DataFrame(comparison(pairs), columns=list(Compared._fields))


def effect_of(a: Side, b: Side, metric: MetricFacts, *, aim: float) -> Effect:
    """Compare two generators in one metric that both were scored with.

    Parameters
    ----------
    a, b
        The generators, seen under one protocol.
    metric
        The metric's declaration.
    aim
        Value that is aimed at, from `reports.judge.aimed_at`.
    """
    n_cells = min(score.n_cells for side in (a, b) for score in _scores(side, metric))
    of_a, of_b = (values_by_seed(side, metric) for side in (a, b))
    return paired_effect(of_a, of_b, aim=aim, resolution=1 / n_cells)


def scores_of_real(sides: Iterable[Side], metric: MetricFacts) -> list[float]:
    """Return what real cells score by a metric that declares ``judged_by``; nothing for other metrics.

    Parameters
    ----------
    sides
        Generators in whose runs the control is sought, or a value beside whose scores.
    metric
        The metric's declaration.
    """
    source = metric.judged_by
    if source is None:
        return []
    return [
        value
        for side in sides
        for values in (
            values_by_seed(side._replace(model=source), metric),
            values_by_seed(side, metric.but(name=source)),
        )
        for value in values.values()
    ]


def _require_alike(a: Side, b: Side, metric: MetricFacts) -> None:
    # Scores of earlier versions do not say what code made them.
    of_sides = [list(_scores(side, metric)) for side in (a, b)]
    for what, facts in (
        ("cells a side", [{str(score.n_cells) for score in scores} for scores in of_sides]),
        ("metric code", [{score.code for score in scores} for scores in of_sides]),
    ):
        if len(facts[0] | facts[1]) > 1:
            said = (", ".join(sorted(of_side)) for of_side in facts)
            raise ValueError(
                f"{metric.name} under {a.view.protocol} does not compare: {what} {' and '.join(said)}; "
                "score both runs anew with bench score"
            )


def _common_metrics(a: RunView, b: RunView) -> list[tuple[str, MetricFacts]]:
    """Return protocol and declaration of what both runs scored, in A's order."""
    common = []
    for protocol in a.run.protocols:
        if protocol in b.run.protocols:
            also = {metric.name for metric in results(b.under(protocol)).metrics}
            scored = results(a.under(protocol)).metrics
            common += [(protocol, metric) for metric in scored if metric.name in also]
    return common


def values_by_seed(side: Side, metric: MetricFacts) -> dict[int, float]:
    """Return a metric's values by training seed, or by subsampling seed in the augmentation experiment."""
    found = {seed: score_values(scores) for seed, scores in _scored_jobs(side, metric)}
    return {seed: values[metric.name] for seed, values in found.items() if metric.name in values}


def _scores(side: Side, metric: MetricFacts) -> Iterator[Score]:
    """Yield the scores that `values_by_seed` averages."""
    for _, scores in _scored_jobs(side, metric):
        yield from (score for score in scores if metric.name in score.values)


def _scored_jobs(side: Side, metric: MetricFacts) -> Iterator[tuple[int, list[Score]]]:
    """Yield the seed and the scores of each of the generator's Jobs that a metric scores."""
    view = side.view
    augmentation = metric.experiment == "augmentation"
    fraction = view.headline_fraction if augmentation else None
    for record in view.records_of(metric.experiment):
        job = record.job
        if job.model == side.model and job.experiment.fraction == fraction:
            yield job.experiment.reduced.subsample_seed if augmentation else job.seed, view.scores_of(record)
