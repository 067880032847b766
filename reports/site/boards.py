"""What a board shows first: places between floor and real, ranks with ties, what nobody can do yet."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from reports.best import best, copying_models
from reports.main_table import unlike_machines, untimed
from reports.ranks import Place, in_words, places, ties_in_words
from reports.rows import Row
from reports.summary import marks, summary
from reports.suspicion import TRAINED_ROLES, contradictions
from reports.table import results
from reports.view import MetricFacts, RunView
from reports.words import DASH, figure, percent, place_in_words, summary_in_words

STEPS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where the colours of the heat map change; below the first a generator is worse than a floor."""
HALF_WAY: Final = 0.5


class Heat(NamedTuple):
    """A cell of the heat map.

    Attributes
    ----------
    words
        The place in per cent, or a dash.
    level
        Class of its colour: ``none``, ``worse``, or ``step1`` to ``step5``.
    metric
        Name of the metric.
    title
        The value with its interval, for whoever points at it.
    """

    words: str
    level: str
    metric: str
    title: str


class Bracket(NamedTuple):
    """Between which places a generator is by one metric; ends are per cent of the axis.

    Attributes
    ----------
    words
        Such as ``2nd to 4th``.
    left, width, dot
        Left end and width of the bracket, place of the dot; None where there is no interval.
    """

    words: str
    left: float | None
    width: float | None
    dot: float | None


class Line(NamedTuple):
    """A generator's line of the first screen; `said` is what a reader must know of it."""

    model: str
    role: str
    said: list[str]
    heat: list[Heat]
    brackets: list[Bracket]


class Board(NamedTuple):
    """A run under one protocol.

    Attributes
    ----------
    view
        The run as seen.
    summary
        What ran, what can be said, and where it ran if on unlike machines, what was not timed.
    metrics, suspect
        Headline metrics: the columns; names of those that the controls contradict.
    lines
        Models and baselines, the nearest to real cells first; then controls.
    ties
        A sentence for each metric: who shares the first places.
    marks
        Why not to trust it, title → lines: contradicted by its controls, near-copies, synthetic data.
    open_questions
        What no generator can do yet, in sentences.
    """

    view: RunView
    summary: list[str]
    metrics: list[MetricFacts]
    suspect: set[str]
    lines: list[Line]
    ties: list[str]
    marks: dict[str, list[str]]
    open_questions: list[str]


def board_of(view: RunView) -> Board:
    """Return the board of a run under the view's protocol."""
    found = results(view)
    metrics = found.headline
    ranks = {(one.model, one.metric): one for one in places(view)}
    rows = sorted(found.of(TRAINED_ROLES), key=lambda row: _order(row, metrics))
    controls = [row for row in found.rows if row.role not in TRAINED_ROLES]
    copying = copying_models(view)
    lines = [
        Line(
            row.model,
            row.role,
            said_of(view, row),
            [_heat(row, metric) for metric in metrics],
            [_bracket(ranks.get((row.model, metric.name))) for metric in metrics],
        )
        for row in [*rows, *controls]
    ]
    return Board(
        view=view,
        summary=[*summary(view), *unlike_machines(view), *untimed(view)],
        metrics=metrics,
        suspect={metric.name for metric in metrics if contradictions(found.rows, metric)},
        lines=lines,
        ties=ties_in_words(view),
        marks=marks(view),
        open_questions=_open_questions(view, rows, metrics, copying),
    )


def said_of(view: RunView, row: Row) -> list[str]:
    """Return in words what a reader of a generator's numbers must know: copies, seeds that are missing."""
    n_trained = sum(record.job.model == row.model for record in view.records_of("main"))
    said = []
    if row.model in copying_models(view):
        said.append("of training cells")
    if row.n_seeds < n_trained:
        said.append(f"{row.n_seeds} of {n_trained} seeds: {row.status}")
    return said


def _order(row: Row, metrics: Sequence[MetricFacts]) -> tuple[int, float]:
    """Return what lines are ordered by, which is no verdict: how many places are missing, then their mean.

    Each is cut to between a floor and real cells.
    """
    known = [row.place(metric.name) for metric in metrics if math.isfinite(row.place(metric.name))]
    return -len(known), -sum(min(max(place, 0.0), 1.0) for place in known) / max(1, len(known))


def _heat(row: Row, metric: MetricFacts) -> Heat:
    place, summary = row.place(metric.name), row.summary(metric.name)
    title = f"{metric.name} of {row.model}: {summary_in_words(summary)}" if metric.name in row.values else ""
    if not math.isfinite(place):
        missing = DASH if row.n_seeds else row.why_empty
        words = figure(summary.mean) if metric.name in row.values else missing
        return Heat(words, "none", metric.name, title)
    level = sum(place >= step for step in STEPS)
    return Heat(place_in_words(place), f"step{level}" if level else "worse", metric.name, title)


def _bracket(place: Place | None) -> Bracket:
    if place is None:
        return Bracket(DASH, None, None, None)
    if place.low is None or place.high is None:
        return Bracket(in_words(place), None, None, None)
    width = 100 / place.of
    return Bracket(
        in_words(place),
        round(width * (place.low - 1), 2),
        round(width * (place.high - place.low + 1), 2),
        round(width * (place.place - 0.5), 2),
    )


def _open_questions(
    view: RunView, rows: Sequence[Row], metrics: Sequence[MetricFacts], copying: Collection[str]
) -> list[str]:
    """Say of each metric with a scale by how much the best generator misses real cells."""
    said = []
    winners = {one.metric: one.model for one in best(view)}
    for metric in metrics:
        known = {
            row.model: row.place(metric.name)
            for row in rows
            if row.model not in copying and math.isfinite(row.place(metric.name))
        }
        if not known:
            continue
        first = max(known, key=lambda model: known[model])
        place = known[first]
        if place <= 0:
            said.append(f"{metric.name}: no generator is better than the best floor.")
        elif place < HALF_WAY:
            said.append(
                f"{metric.name}: the best, {first}, is {percent(place)} of the way from floor to real."
            )
        elif winners.get(metric.name) is None:
            said.append(f"{metric.name}: nobody can be named best.")
    return said


def neighbours(view: RunView, metric: str) -> list[str]:
    """Return the verdicts between generators that follow one another by a metric, in sentences.

    Parameters
    ----------
    view
        The run, under one protocol.
    metric
        Name of a headline metric.
    """
    ordered = [place for place in places(view) if place.metric == metric]
    said = []
    for first, second in pairwise(ordered):
        if first.tied is None:
            said.append(f"{first.model}, {second.model}: not resolved below three seeds")
        elif second.model in first.tied:
            said.append(f"{first.model} and {second.model} are tied")
        else:
            said.append(f"{first.model} is better than {second.model}")
    return said
