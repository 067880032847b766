"""The tables beside those of the metrics: augmentation, intervals over cells, published figures, failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple, cast

from rich.text import Text

from reports.augmentation import Augmented, augmentation
from reports.donors import ATTACKS, attacked, finds_what_it_should
from reports.fitted_table import Column, FittedTable, Footnotes
from reports.intervals import intervals
from reports.main_table import mean_cell, status_text
from reports.papers import papers
from reports.published import NOT_MEASURED, Claim, published
from reports.ranks import in_words, places
from reports.rows import MISSING, Summary
from reports.table import results
from reports.view import NOT_RUN, OK, RunView
from reports.words import DASH, count, figure, interval_in_words, job_in_words, short

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


def augmentation_table(view: RunView) -> FittedTable | None:
    """Return the augmentation experiment, a row an augmenter; None if it did not run."""
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
    return _table(headers, cells, first, left=("kept", "added cells", "status"))


def intervals_table(view: RunView) -> FittedTable | None:
    """Return how sure the test cells make one sample's scores: another question than that over seeds."""
    rows = intervals(view)
    first = _starts([row.model for row in rows])
    cells = [
        (
            Text(row.model if starts else ""),
            Text(row.metric),
            Text(figure(row.value)),
            Text(interval_in_words(row.low, row.high) or DASH),
            Text(DASH if math.isnan(row.p_value) else f"{row.p_value:.2g}"),
        )
        for row, starts in zip(rows, first, strict=True)
    ]
    headers = ("model", "metric", "value", "95 % over test cells", "p")
    return _table(headers, cells, first, left=("model", "metric"))


def places_table(view: RunView) -> FittedTable | None:
    """Return the places of generators by headline metrics; None where fewer than two have one."""
    rows = places(view)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    models = [row.model for row in results(view).rows if any(row.model == one.model for one in rows)]
    found = {(row.model, row.metric): in_words(row) for row in rows}
    cells = [[Text(model), *(Text(found.get((model, m), DASH)) for m in metrics)] for model in models]
    return _table(("generator", *metrics), cells, [False] * len(cells), left=("generator",))


def donors_table(view: RunView) -> FittedTable | None:
    """Return what the attack on donors came to, a row a generator; None if it did not run."""
    rows = attacked(view)
    if not rows:
        return None
    cells = []
    for row in rows:
        aucs = [mean_cell(row.auc.get(attack, MISSING)) for attack in ATTACKS]
        told = Text(row.verdict) if row.verdict else status_text(row.status.replace(OK, "not scored"))
        cells.append((Text(row.model), *aucs, Text(figure(row.found)), Text(str(row.n_splits)), told))
    headers = ("cells of", "likelihood\nAUC → 0.5", "density\nAUC → 0.5", "found", "n", "verdict")
    return _table(headers, cells, [False] * len(cells), left=("cells of", "verdict"))


def donors_remarks(view: RunView) -> list[str]:
    """Return what a reader of `donors_table` must know; nothing without one."""
    rows = attacked(view)
    reasons = list(dict.fromkeys(f"{row.model}: {row.reason}" for row in rows if row.reason))
    n_donors = max((row.n_donors for row in rows), default=0)
    if not n_donors:
        return reasons
    known = next((r.job.experiment.reference_donors for r in view.records_of("donors")), ())
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


class PaperTable(NamedTuple):
    """A paper's figures beside the run's: title, table, and what to print below it."""

    title: str
    table: FittedTable
    remarks: list[str]


def published_tables(view: RunView) -> list[PaperTable]:
    """Return a table for each paper that has figures to stand beside the run's."""
    by_paper: dict[str, list[Claim]] = {}
    for claim in published(view):
        by_paper.setdefault(claim.paper, []).append(claim)
    return [_paper_table(name, claims) for name, claims in by_paper.items()]


def _paper_table(name: str, claims: Sequence[Claim]) -> PaperTable:
    paper, notes = papers()[name], Footnotes()
    first = _starts([(claim.dataset, claim.quantity, claim.protocol, claim.where) for claim in claims])
    cells = [
        (
            Text(f"{claim.quantity}\n{claim.dataset}, {claim.protocol}\n{claim.where}" if starts else ""),
            Text(claim.published_model),
            Text(
                f"{claim.sign}{figure(claim.published)}{_deviation(claim.published_sd)}"
                + notes.mark([SECOND_HAND] if claim.second_hand else [])
            ),
            mean_cell(Summary(claim.measured, claim.low, claim.high)),
            Text(figure(claim.floor)),
            Text(figure(claim.ceiling)),
            Text(f"{claim.verdict} {notes.mark(claim.why)}".strip()),
        )
        for claim, starts in zip(claims, first, strict=True)
    ]
    headers = ("quantity", "model", "printed", "here", "floor", "real", "verdict")
    table = _table(headers, cells, first, left=("quantity", "model", "verdict"))
    verdicts = Counter(claim.verdict for claim in claims)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    remarks = [f"{len(claims)} figures: {counted}.", *(line.plain for line in notes.lines())]
    unmeasured = dict.fromkeys(claim.dataset for claim in claims if claim.verdict == NOT_MEASURED)
    commands = [
        f"bench paper {name} --dataset {data} --budget paper" for data in paper.sources if data in unmeasured
    ]
    remarks += [
        f"What would measure them, but for models and hardware that are not here: {'; '.join(commands)}"
    ] * bool(commands)
    if other := [data for data in unmeasured if data not in paper.sources]:
        remarks.append(
            f"No source of these cells is declared here, so nothing can measure them: {', '.join(other)}."
        )
    if paper.second_hand:
        remarks.append(f"Printed by {paper.second_hand}.")
    title = f"{PUBLISHED_TITLE}: {paper.title}"
    return PaperTable(title, cast("FittedTable", table), [*remarks, paper.note])


class Failure(NamedTuple):
    """What did not end well: a Job, or a score (``score failed``).

    Attributes
    ----------
    job
        In words.
    phase
        Of a Job; empty where unknown.
    metric, protocol
        Of a score.
    seconds
        To a Job's failure; NaN where unknown.
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
    found = []
    for record in view.records:
        if record.status not in (OK, NOT_RUN):
            seconds = math.nan if record.seconds_to_failure is None else record.seconds_to_failure
            phase, job = record.failed_phase or "", job_in_words(record.job)
            found.append(Failure(job, record.status, phase, "", "", seconds, record.reason))
    broken = [
        (job_in_words(record.job), score)
        for record in view.records
        for score in view.scores.get(record.key, ())
        if score.failed
    ]
    alike = dict.fromkeys((job, score.metric, score.protocol, score.error or "") for job, score in broken)
    return found + [
        Failure(job, "score failed", "", metric, protocol, math.nan, error)
        for job, metric, protocol, error in alike
    ]


def _kept(row: Augmented) -> str:
    cells = "" if row.kept_cells is None else f", {count(row.kept_cells)} cells"
    return f"{100 * row.fraction:g} % of {short(row.cell_type)}{cells}"


def _deviation(value: float) -> str:
    return "" if math.isnan(value) else f" ±{value:g}"


def _starts(groups: Sequence[object]) -> list[bool]:
    """Tell of each row whether it is the first of its group."""
    return [True, *(before != after for before, after in pairwise(groups))] if groups else []


def _table(
    headers: tuple[str, ...], rows: Sequence[Sequence[Text]], first: list[bool], *, left: tuple[str, ...]
) -> FittedTable | None:
    if not rows:
        return None
    columns = [
        Column(header, list(cells), left=header in left)
        for header, cells in zip(headers, zip(*rows, strict=True), strict=True)
    ]
    return FittedTable(columns[0], columns[1:], [*first[1:], False])
