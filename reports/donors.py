"""The attack on donors as a table: whose training donors can be told from others.

Intervals are bootstrapped over splits and, within each, over donors that were trained on and others: the
same few people stand in all splits, so that they are, if anything, too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from reports.rows import MISSING, Summary
from reports.table import outcome, scores_of_retraining
from reports.view import RunView, grouped, once

METRIC: Final = "donor_attack"
ATTACKS: Final = ("likelihood", "density")
CONTROL: Final = "known donors' cells"
RESAMPLES: Final = 2000
FOUND, NOT_RESOLVED = "donors are found", "not resolved"


class Attacked(NamedTuple):
    """What the attack came to on one generator.

    Attributes
    ----------
    model, role
        Name and role; the control's cells are real ones of donors that nobody asks about.
    auc
        Attack → mean over splits of the AUC of telling donors, with its interval.
    stronger
        The attack with the higher mean: chosen after the fact, and so a little too good.
    found
        Mean share of the trained donors that the stronger attack finds without taking anybody else for one.
    n_splits, n_donors
        Number of splits that the means rest on; number of donors in question in each.
    verdict
        ``donors are found`` where the stronger attack's interval lies above 0.5; ``not resolved`` else, which
        is no proof of privacy.
    status, reason
        How the generator's Jobs ended, or why there is no score.
    """

    model: str
    role: str
    auc: Mapping[str, Summary]
    stronger: str
    found: float
    n_splits: int
    n_donors: int
    verdict: str
    status: str
    reason: str


Found: TypeAlias = tuple[Mapping[str, Mapping[str, float]], Sequence[str]]
"""Scores of donors by attack, and the donors that were trained on, of one split."""


@once
def attacked(view: RunView) -> list[Attacked]:
    """Return the control, then a row a generator; nothing where the experiment did not run."""
    by_model = grouped((record.job.model, record) for record in view.records_of("donors"))
    rows, splits = [], dict[tuple[str, ...], Found]()
    for model, records in by_model.items():
        every = (score for record in records for score in scores_of_retraining(view, record))
        scores = [score for score in every if score.metric == METRIC]
        good = [score for score in scores if score.error is None]
        splits |= {
            tuple(score.details["trained"]): (score.details["control"], score.details["trained"])
            for score in good
        }
        status, reason = outcome(records)
        reason = "; ".join(dict.fromkeys(filter(None, [reason, *(score.error for score in scores)])))
        found = [(score.details["scores"], score.details["trained"]) for score in good]
        rows.append(_row(model, records[0].job.role, found, status, reason))
    if not splits:
        return rows
    return [_row(CONTROL, "control", list(splits.values()), "ok", ""), *rows]


def finds_what_it_should(view: RunView) -> bool | None:
    """Tell whether the attack finds the donors of a generator that hands out its training cells.

    None where it was not tried on any.
    """
    copies = {record.job.model for record in view.records_of("donors") if record.job.draws_from != "model"}
    tried = [row.verdict == FOUND for row in attacked(view) if row.model in copies and row.auc]
    return any(tried) if tried else None


def _row(
    model: str,
    role: str,
    found: Sequence[Found],
    status: str,
    reason: str,
) -> Attacked:
    if not found:
        return Attacked(model, role, {}, "", float("nan"), 0, 0, "", status, reason)
    by_attack = {name: [_parted(scores[name], trained) for scores, trained in found] for name in ATTACKS}
    auc = {attack: _interval(splits) for attack, splits in by_attack.items()}
    stronger = max(ATTACKS, key=lambda attack: auc[attack].mean)
    caught = float(np.mean([np.mean(inside > outside.max()) for inside, outside in by_attack[stronger]]))
    verdict = FOUND if auc[stronger].low > 0.5 else NOT_RESOLVED
    n_donors = sum(map(len, by_attack[stronger][0]))
    return Attacked(model, role, auc, stronger, caught, len(found), n_donors, verdict, status, reason)


def _parted(scores: Mapping[str, float], trained: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of donors that were trained on, and of the others."""
    inside = np.array([score for donor, score in scores.items() if donor in trained])
    return inside, np.array([score for donor, score in scores.items() if donor not in trained])


def _auc(inside: np.ndarray, outside: np.ndarray) -> float:
    difference = inside[:, None] - outside[None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def _interval(splits: Sequence[tuple[np.ndarray, np.ndarray]]) -> Summary:
    """Return the mean AUC over splits and its 95 % percentile interval; none below three splits."""
    mean = float(np.mean([_auc(*split) for split in splits]))
    if len(splits) < 3:
        return MISSING._replace(mean=mean)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = (splits[index] for index in rng.integers(len(splits), size=len(splits)))
        resampled = ([rng.choice(side, size=side.size) for side in split] for split in chosen)
        drawn.append(np.mean([_auc(*sides) for sides in resampled]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Summary(mean, float(low), float(high))
