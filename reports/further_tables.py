"""The tables beside those of the metrics: augmentation, intervals over cells, published figures, failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from rich.text import Text

from reports.augmentation import Augmented, augmentation
from reports.donors import ATTACKS, attacked, finds_what_it_should
from reports.fitted_table import Column, FittedTable, Footnotes
from reports.intervals import intervals
from reports.main_table import mean_cell, status_text
from reports.papers import papers
from reports.published import NOT_MEASURED, Claim, published
from reports.ranks import in_words, places, ties_in_words
from reports.rows import MISSING, Summary
from reports.table import results
from reports.view import NOT_RUN, OK, RunView, grouped
from reports.words import DASH, count, figure, interval_in_words, job_in_words, p_in_words, short

AUGMENTATION_TITLE: Final = "Augmentation experiment, n subsampling seeds"
INTERVALS_TITLE: Final = (
    "One sample: bootstrap of the test cells; p: synthetic and test cells from one distribution"
)
PLACES_TITLE: Final = "Places, with 95 % for all generators of a metric at once"
DONORS_TITLE: Final = "Are donors found? Attack on who was trained on"
PUBLISHED_TITLE: Final = "Beside the paper"
AUGMENTER_LABELS: Final = {
    "class_weights": "class weights",
    "smote": "SMOTE-like",
    "poisson_jitter": "Poisson jitter",
}


class Titled(NamedTuple):
    """A table, its title, and what to print below it."""

    title: str
    table: FittedTable
    remarks: Sequence[str] = ()


def augmentation_tables(view: RunView) -> list[Titled]:
    """Return the augmentation experiment, a row an augmenter; nothing if it did not run."""
    rows = augmentation(view)
    first = _starts([(row.cell_type, row.fraction) for row in rows])
    cells = [
        (
            Text(_kept(row) if starts else ""),
            Text(AUGMENTER_LABELS.get(row.augmenter, row.augmenter)),
            mean_cell(row.summary("augmentation_f1")),
            mean_cell(row.summary("average_precision")),
            Text(str(row.n_subsamples)),
            status_text(row.status),
        )
        for row, starts in zip(rows, first, strict=True)
    ]
    headers = ("kept", "added cells", "F1\n→ 1", "average\nprecision", "n", "status")
    return _table(AUGMENTATION_TITLE, headers, cells, first, left=("kept", "added cells", "status"))


def intervals_tables(view: RunView) -> list[Titled]:
    """Return how sure the test cells make one sample's scores: another question than that over seeds."""
    rows = intervals(view)
    first = _starts([row.model for row in rows])
    cells = [
        (
            Text(row.model if starts else ""),
            Text(row.metric),
            Text(figure(row.value)),
            Text(interval_in_words(row.low, row.high) or DASH),
            Text(p_in_words(row.p_value)),
        )
        for row, starts in zip(rows, first, strict=True)
    ]
    headers = ("model", "metric", "value", "95 % over test cells", "p")
    return _table(INTERVALS_TITLE, headers, cells, first, left=("model", "metric"))


def places_tables(view: RunView) -> list[Titled]:
    """Return the places of generators by headline metrics, and who is tied; nothing for fewer than two."""
    rows = places(view)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    models = [row.model for row in results(view).rows if any(row.model == one.model for one in rows)]
    found = {(row.model, row.metric): in_words(row) for row in rows}
    cells = [[Text(model), *(Text(found.get((model, m), DASH)) for m in metrics)] for model in models]
    headers = ("generator", *metrics)
    return _table(PLACES_TITLE, headers, cells, left=("generator",), remarks=ties_in_words(view))


def donors_tables(view: RunView) -> list[Titled]:
    """Return what the attack on donors came to, a row a generator; nothing if it did not run."""
    cells = []
    for row in attacked(view):
        aucs = [mean_cell(row.auc.get(attack, MISSING)) for attack in ATTACKS]
        told = Text(row.verdict) if row.verdict else status_text(row.status.replace(OK, "not scored"))
        cells.append((Text(row.model), *aucs, Text(figure(row.found)), Text(str(row.n_splits)), told))
    headers = ("cells of", "likelihood\nAUC → 0.5", "density\nAUC → 0.5", "found", "n", "verdict")
    left = ("cells of", "verdict")
    return _table(DONORS_TITLE, headers, cells, left=left, remarks=donors_remarks(view))


def donors_remarks(view: RunView) -> list[str]:
    """Return what a reader of the table of the attack on donors must know; nothing without one."""
    rows = attacked(view)
    reasons = list(dict.fromkeys(f"{row.model}: {row.reason}" for row in rows if row.reason))
    n_donors = max((row.n_donors for row in rows), default=0)
    if not n_donors:
        return reasons
    known = view.records_of("donors")[0].job.experiment.reference_donors
    remarks = [
        f"Threat model: whoever attacks sees the synthetic cells and all cells of {len(known)} other donors, "
        f"and asks of {n_donors} donors, half of whom were trained on. n splits, of the same few people, so "
        "that intervals are too narrow if anything. found: share of the trained donors that the stronger "
        "attack tells without a false one.",
        "Not resolved is not private: with so few donors the attack may miss what a better one finds.",
    ]
    works = finds_what_it_should(view)
    if works is None:
        remarks.append("No generator that copies was attacked: nothing tells whether the attack works here.")
    elif not works:
        remarks.append(
            "The attack does not even find donors whose cells were copied: this run resolves nothing."
        )
    return [*remarks, *reasons]


SECOND_HAND: Final = "second-hand: printed by others than those who made the model"


def published_tables(view: RunView) -> list[Titled]:
    """Return a table for each paper that has figures to stand beside the run's."""
    by_paper = grouped((claim.paper, claim) for claim in published(view))
    return [one for name, claims in by_paper.items() for one in _paper_table(name, claims)]


def _paper_table(name: str, claims: Sequence[Claim]) -> list[Titled]:
    paper, notes = papers()[name], Footnotes()
    first = _starts([(claim.dataset, claim.quantity, claim.protocol, claim.where) for claim in claims])
    cells = [
        (
            Text(f"{claim.quantity}\n{claim.dataset}, {claim.protocol}\n{claim.where}" if starts else ""),
            Text(claim.published_model),
            Text(f"{claim.sign}{figure(claim.published)}{_deviation(claim.published_sd)}")
            + notes.mark([SECOND_HAND] * claim.second_hand),
            mean_cell(Summary(claim.measured, claim.low, claim.high)),
            Text(figure(claim.floor)),
            Text(figure(claim.ceiling)),
            Text(f"{claim.verdict} {notes.mark(claim.why)}".strip()),
        )
        for claim, starts in zip(claims, first, strict=True)
    ]
    headers = ("quantity", "model", "printed", "here", "floor", "real", "verdict")
    verdicts = Counter(claim.verdict for claim in claims)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    remarks = [f"{len(claims)} figures: {counted}.", *notes.lines()]
    unmeasured = dict.fromkeys(claim.dataset for claim in claims if claim.verdict == NOT_MEASURED)
    declared = [data for data in paper.sources if data in unmeasured]
    if commands := "; ".join(f"bench paper {name} --dataset {data} --budget paper" for data in declared):
        remarks.append(f"What would measure them, but for models and hardware that are not here: {commands}")
    if other := ", ".join(data for data in unmeasured if data not in paper.sources):
        remarks.append(f"No source of these cells is declared here, so nothing can measure them: {other}.")
    if paper.second_hand:
        remarks.append(f"Printed by {paper.second_hand}.")
    title, left = f"{PUBLISHED_TITLE}: {paper.title}", ("quantity", "model", "verdict")
    return _table(title, headers, cells, first, left=left, remarks=[*remarks, paper.note])


class Failure(NamedTuple):
    """What did not end well: a Job, or a score (``score failed``).

    Attributes
    ----------
    job
        What it is called.
    phase
        Phase in which a Job failed; empty where unknown.
    metric, protocol
        What a failed score is of.
    seconds
        Time to a Job's failure; NaN where unknown.
    """

    job: str
    status: str
    phase: str
    metric: str
    protocol: str
    seconds: float
    reason: str

    @property
    def place(self) -> str:
        """In what it failed: a Job's phase (empty where unknown), or a score's metric and protocol."""
        return self.phase or ", ".join(filter(None, (self.metric, self.protocol)))


def failures(view: RunView) -> list[Failure]:
    """Return the Jobs that did not end well, then the scores that broke: alike ones of samples once."""
    found, broken = list[Failure](), list[Failure]()
    for record in view.records:
        job = job_in_words(record.job)
        if record.status not in (OK, NOT_RUN):
            seconds = math.nan if record.seconds_to_failure is None else record.seconds_to_failure
            phase = record.failed_phase or ""
            found.append(Failure(job, record.status, phase, "", "", seconds, record.reason))
        broken += [
            Failure(job, "score failed", "", score.metric, score.protocol, math.nan, score.error or "")
            for score in view.scores.get(record.key, ())
            if score.failed
        ]
    # Two of them are equal although both hold NaN, since that is one and the same object.
    return [*found, *dict.fromkeys(broken)]


def _kept(row: Augmented) -> str:
    cells = "" if row.kept_cells is None else f", {count(row.kept_cells)} cells"
    return f"{100 * row.fraction:g} % of {short(row.cell_type)}{cells}"


def _deviation(value: float) -> str:
    return "" if math.isnan(value) else f" ±{value:g}"


def _starts(groups: Sequence[object]) -> list[bool]:
    """Tell of each row whether it is the first of its group."""
    return [True, *(before != after for before, after in pairwise(groups))] if groups else []


def _table(
    title: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[Text]],
    first: Sequence[bool] | None = None,
    *,
    left: Sequence[str],
    remarks: Sequence[str] = (),
) -> list[Titled]:
    """Return a table with a line before each row that is the `first` of a group; nothing without rows."""
    if not rows:
        return []
    columns = zip(headers, zip(*rows, strict=True), strict=True)
    name, *values = (Column(header, list(cells), left=header in left) for header, cells in columns)
    table = FittedTable(name, values, [*(first or [False] * len(rows))[1:], False])
    return [Titled(title, table, remarks)]
