"""The details of scores that figures are drawn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from reports.table import ROLES
from reports.view import Record, RunView, Score

GENERATORS = ("model", "baseline")


def main_records(view: RunView, roles: Collection[str]) -> Iterator[Record]:
    """Yield the Records of the main experiment: models, then baselines, then controls."""
    records = (record for record in view.records_of("main") if record.job.role in roles)
    yield from sorted(records, key=lambda record: ROLES.index(record.job.role))


def first_scores(
    view: RunView, metric: str, *, needs: Collection[str], roles: Collection[str] = ROLES
) -> dict[str, Score]:
    """Return model → the first of its scores that kept what a figure needs.

    Parameters
    ----------
    view
        The run, under one protocol.
    metric
        Name of the metric.
    needs
        What the score's ``details`` must hold.
    roles
        Roles of the generators that are wanted.
    """
    found: dict[str, Score] = {}
    for record in main_records(view, roles):
        for score in view.scores_of(record):
            if score.metric == metric and set(needs) <= set(score.details):
                found.setdefault(record.job.model, score)
    return found


def cells_of(scores: Iterable[Score]) -> int | None:
    """Return the cells a side that all of some scores rest on; None where they differ."""
    sizes = {score.n_cells for score in scores}
    return sizes.pop() if len(sizes) == 1 else None
