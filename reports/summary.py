"""A run in two sentences: what was compared, and what can be said."""

from __future__ import annotations

from reports.best import Best, best
from reports.judge import LEAST_SEEDS
from reports.rows import Summary
from reports.suspicion import TRAINED_ROLES
from reports.table import results
from reports.view import NOT_RUN, OK, RunView
from reports.words import shape_in_words, sizes_in_words, summary_in_words


def summary(view: RunView) -> tuple[str, str]:
    """Return two sentences: data set, models and seeds; the best generator by each headline metric.

    Parameters
    ----------
    view
        The run, under one protocol.
    """
    return _what_ran(view), _what_can_be_said(view)


def marks(view: RunView, where: str = "") -> dict[str, list[str]]:
    """Return why not to trust a run: contradicted by its controls, near-copies, synthetic data.

    Parameters
    ----------
    view
        The run, under one protocol.
    where
        Goes into the titles of what holds under that protocol alone.

    Returns
    -------
    dict
        Title → lines.
    """
    found = results(view)
    said = {
        f"Suspect{where}: the controls do not bear out every metric": found.suspect,
        f"Copies of training cells{where}: the other scores of these say nothing": found.copying,
    }
    said = {title: lines for title, lines in said.items() if lines}
    if view.run.dataset.name.startswith("synthetic"):
        said["Synthetic data: for speed and scale, never for quality claims"] = []
    return said


def _what_ran(view: RunView) -> str:
    run, records = view.run, view.records_of("main")
    roles = {record.job.model: record.job.role for record in records}
    kinds = [list(roles.values()).count(role) for role in ("model", "baseline")]
    controls = len(roles) - sum(kinds)
    words = [_counted(kinds[0], "model"), *([_counted(kinds[1], "baseline")] if kinds[1] else [])]
    seeds = _counted(len({record.job.seed for record in records}), "training seed")
    sentence = (
        f"On {run.dataset.name} ({shape_in_words(run)}), {' and '.join(words)} ran beside "
        f"{_counted(controls, 'control')} with {run.profile} budgets and {seeds}"
    )
    trained = [name for name, role in roles.items() if role in TRAINED_ROLES]
    unfinished = {record.job.model for record in records if record.status not in (OK, NOT_RUN)}
    if failed := [name for name in trained if name in unfinished]:
        sentence += f"; of {', '.join(failed)} not every training finished"
    if waiting := sum(record.status == NOT_RUN for record in view.records):
        sentence += f"; {_counted(waiting, 'Job')} of {len(view.records)} did not run yet"
    return f"{sentence}."


def _what_can_be_said(view: RunView) -> str:
    rows = best(view)
    if not rows:
        return "No model or baseline has a headline score that counts."
    clauses = "; ".join(map(_clause, rows))
    sizes = f" ({sizes})" if (sizes := sizes_in_words(view)) else ""
    few = 0 < max(row.n_seeds for row in rows) < LEAST_SEEDS
    caution = f"; nothing is resolved below {LEAST_SEEDS} seeds" if few else ""
    return f"Best under protocol {view.protocol}{sizes} is {clauses}{caution}."


def _clause(row: Best) -> str:
    passed_over = [f"{', '.join(models)} ({why})" for why, models in row.passed_over.items()]
    by = f"by {row.metric} (ideal {row.ideal:g})"
    if row.model is None:
        named, remarks = f"{by} none: {', '.join(passed_over)}", []
    else:
        named = f"{by} {row.model} with {summary_in_words(Summary(row.value, row.low, row.high))}"
        remarks = [_resolution(row), *(f"passing over {words}" for words in passed_over)]
    if row.suspect:
        remarks.append("though the controls contradict this metric")
    return ", ".join([named, *remarks])


def _resolution(row: Best) -> str:
    unresolved = row.unresolved
    if not row.others:
        return "the only one that counts"
    if not unresolved:
        return "better than the other" if row.others == 1 else f"better than all {row.others} others"
    if len(unresolved) == row.others > 1:
        return "not resolved from any other"
    return f"not resolved from {', '.join(unresolved)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
