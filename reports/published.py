"""What papers printed, beside what was measured here.

A figure is ``reproduced`` if it lies within the 95 % prediction interval of one more training, which is t ·
s · √(1 + 1/n) around the mean of n ≥ 3 seeds, give or take half a unit of its last printed digit. It is
``explained`` if that holds under another protocol, which differs by what is named. Where anything else
differs from what the paper did (data, model, budget, hardware), it is ``not measured here``, with each
reason; what was measured stands beside it all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple, Self

from reports.augmentation import augmentation
from reports.donors import METRIC as DONOR_ATTACK
from reports.donors import attacked
from reports.judge import LEAST_SEEDS
from reports.papers import Paper, Printed, papers
from reports.rows import MISSING, Summary, summarise
from reports.scale import ends
from reports.table import COST_COLUMNS, not_timed, results
from reports.view import OK, Record, RunView, once
from reports.words import duration
from reports.words import figure as figure_in_words

REPRODUCED: Final = "reproduced"
EXPLAINED: Final = "explained"
NOT_REPRODUCED: Final = "not reproduced"
NOT_MEASURED: Final = "not measured here"
RATIO: Final = "mmd / real"
SPEED_UP: Final = "training speed-up over scgan"


class Measured(NamedTuple):
    """What was measured here.

    Attributes
    ----------
    summary, n
        Mean and 95 % t interval of so many values.
    margin
        Half the width of the interval in which one more value lies with 95 %; NaN below three values.
    why_none
        Why there is no value.
    """

    summary: Summary = MISSING
    n: int = 0
    margin: float = math.nan
    why_none: str = ""

    @classmethod
    def of(cls, summary: Summary, n: int, *, shown: Summary | None = None) -> Self:
        """Return what a mean and its t interval come to; `shown` is that within a metric's bounds."""
        return cls(shown or summary, n, (summary.high - summary.mean) * math.sqrt(n + 1))

    def scaled(self, factor: float) -> Measured:
        """Return the same in another unit."""
        summary = Summary(*(value * factor for value in self.summary))
        return self._replace(summary=summary, margin=self.margin * factor)


class Claim(NamedTuple):
    """A figure that a paper printed (``published_sd`` is NaN where none was) beside the run's.

    Attributes
    ----------
    paper, where, dataset, quantity, protocol
        What it is of. The quantity ``mmd / real`` is the ratio to the control ``real``, of both sides.
    published_model, model
        What the paper calls it; the generator here that stands beside it.
    second_hand, sign
        Whether others made the model; ``<`` or ``≈`` where no more was printed.
    measured, low, high, n_seeds
        Mean over seeds and its 95 % t interval, NaN where there is none.
    floor, ceiling
        What the metric's best floor, and real cells, score in the run; NaN where there is none.
    verdict, why
        See the module; the reasons, none where it is reproduced.
    """

    paper: str
    where: str
    dataset: str
    quantity: str
    protocol: str
    published_model: str
    second_hand: bool
    sign: str
    published: float
    published_sd: float
    model: str
    measured: float
    low: float
    high: float
    n_seeds: int
    floor: float
    ceiling: float
    verdict: str
    why: list[str]


@once
def published(view: RunView) -> list[Claim]:
    """Return papers' figures beside the run's.

    Of the papers that the run was made for, all; of others those of its data set and of a protocol that it
    was scored under. A data set is known by the declared source that its cells are certain to come from,
    which its own facts say (``declared``): never by its name, which a file's name makes.
    """
    return [
        claim
        for name, paper in papers().items()
        for figure in paper.figures
        if name in view.run.papers
        or (figure.dataset == view.run.dataset.declared and paper.protocol_of(figure) in view.run.protocols)
        for claim in _claims(view, name, paper, figure)
    ]


def _claims(view: RunView, name: str, paper: Paper, figure: Printed) -> Iterator[Claim]:
    for model, (mean, *deviation) in figure.printed.items():
        yield _claim(view, name, paper, figure, model, mean, *deviation)
    control = figure.printed.get("real")
    if figure.quantity == "mmd" and control is not None and control[0]:
        ratio = figure.but(quantity=RATIO)
        for model, (mean, *_) in figure.printed.items():
            if model != "real":
                yield _claim(view, name, paper, ratio, model, mean / control[0])


def _claim(
    view: RunView, name: str, paper: Paper, figure: Printed, model: str, mean: float, sd: float = math.nan
) -> Claim:
    protocol, here = paper.protocol_of(figure), paper.here(model)
    measured = measure(view, figure, here, protocol=protocol, paper=paper)
    reasons = list(_unlike(view, paper, figure, model, measured))
    verdict, why = (NOT_MEASURED, reasons) if reasons else judged(view, paper, figure, model, mean, measured)
    floor, ceiling = _ends(view, figure.quantity, protocol)
    return Claim(
        paper=name,
        where=figure.where,
        dataset=figure.dataset,
        quantity=figure.named,
        protocol=protocol,
        published_model=model,
        second_hand=paper.is_second_hand(model),
        sign=figure.sign,
        published=mean,
        published_sd=sd,
        model=here,
        measured=measured.summary.mean,
        low=measured.summary.low,
        high=measured.summary.high,
        n_seeds=measured.n,
        floor=floor,
        ceiling=ceiling,
        verdict=verdict,
        why=why,
    )


def measure(view: RunView, figure: Printed, model: str, *, protocol: str, paper: Paper) -> Measured:
    """Return what a run measured of a printed quantity, for one of its generators.

    Parameters
    ----------
    view
        The run.
    figure, paper
        What was printed, and by whom: a speed-up is that at the paper's budgets.
    model
        The generator of the run.
    protocol
        Protocol of the scores.
    """
    if figure.fraction is not None:
        return _augmented(view, figure, model)
    if all(row.model != model for row in results(view).rows):
        return _absent(model)
    if figure.quantity == DONOR_ATTACK:
        return _of_donors(view, model)
    if figure.quantity == SPEED_UP:
        return _speed_up(view, paper, model)
    if figure.quantity not in COST_COLUMNS:
        if protocol not in view.run.protocols:
            return Measured(why_none=f"not scored under {protocol}")
        view = view.under(protocol)
    if figure.quantity != RATIO:
        return _of_row(view, model, figure.quantity)
    control = _of_row(view, "real", "mmd")
    if not control.summary.mean > 0:
        return Measured(why_none="the control real has no mmd")
    return _of_row(view, model, "mmd").scaled(1 / control.summary.mean)


def _of_row(view: RunView, model: str, quantity: str) -> Measured:
    row = next((row for row in results(view).rows if row.model == model), None)
    if row is None:
        return _absent(model)
    if not row.n_seeds:
        return Measured(why_none=f"{row.status.replace('_', ' ')}: {row.reason}")
    values = row.values.get(quantity)
    if not values:
        records = (record for record in view.records_of("main") if record.job.model == model)
        scores = (score for record in records for score in view.scores_of(record))
        why = dict.fromkeys(score.error for score in scores if score.metric == quantity and score.error)
        return Measured(why_none=": ".join([f"no {quantity}", *why]))
    return Measured.of(summarise(values), len(values), shown=row.summary(quantity))


def _absent(model: str) -> Measured:
    return Measured(why_none=f"{model} is not in this run")


def _augmented(view: RunView, figure: Printed, model: str) -> Measured:
    """Return a quantity of the augmentation experiment, of a model or of a cheap augmenter."""
    rows = [row for row in augmentation(view) if row.fraction == figure.fraction]
    if not rows:
        return Measured(why_none=f"{100 * (figure.fraction or 0):g} % was not kept of any type in this run")
    row = next((row for row in rows if row.augmenter == model), None)
    if row is None or figure.quantity not in row.values:
        return Measured(why_none=f"{model} has no {figure.quantity} in this run")
    return Measured.of(row.summary(figure.quantity), row.n_subsamples)


def _of_donors(view: RunView, model: str) -> Measured:
    """Return the AUC of the stronger attack on a generator's donors."""
    row = next((row for row in attacked(view) if row.model == model), None)
    if row is None:
        return Measured(why_none="the attack on donors did not run: it takes --donor-key")
    if not row.auc:
        ended = "not attacked" if row.status == OK else row.status.replace("_", " ")
        return Measured(why_none=": ".join(filter(None, [ended, row.reason])))
    return Measured(row.auc[row.stronger], row.n_splits)


def _speed_up(view: RunView, paper: Paper, model: str) -> Measured:
    """Return how much longer scGAN's training takes, at the paper's budgets and the rates seen here."""
    if len(view.machines) > 1:
        return Measured(why_none="made on unlike machines: seconds do not compare")
    of_both = [record for record in view.records_of("main") if record.job.model in ("scgan", model)]
    if untimed := not_timed(of_both):
        return Measured(why_none=untimed)
    slow, fast = (_seconds_at(view, name, paper.budgets.get(name)) for name in ("scgan", model))
    if slow is None or fast is None:
        return Measured(why_none="the rate of one of the two is not known")
    return Measured(Summary((slow or math.nan) / (fast or math.nan), math.nan, math.nan), 1)


def _trained(view: RunView, model: str) -> Record | None:
    """Return a Record of a generator that was trained on a budget."""
    found = (record for record in view.records_of("main") if record.job.model == model)
    return next((r for r in found if r.status == OK and r.training is not None and r.job.budget), None)


def _seconds_at(view: RunView, model: str, budget: str | None) -> float | None:
    """Return what a budget takes here, on these cells, at the rate of a Record; None where unknown."""
    record = _trained(view, model)
    if record is None or budget is None or record.training is None:
        return None
    (amount, unit), (own_amount, own_unit) = _parts(budget), _parts(record.job.budget or "")
    rate, batch = record.training.steps_per_second, record.job.hyperparameters.get("batch_size")
    if unit == own_unit and (rate is None or unit != "steps"):
        return record.training.seconds * amount / own_amount
    if rate is None:
        return None
    if unit == "epochs":
        if not isinstance(batch, int):
            return None
        amount *= math.ceil(view.run.train_shape[0] / batch)
    return amount / rate


def _parts(budget: str) -> tuple[float, str]:
    """Cut a budget as `models.base.Budget` writes it, ``500 epochs`` or ``120s``."""
    number = budget.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return float(number), budget[len(number) :].strip()


def _unlike(view: RunView, paper: Paper, figure: Printed, model: str, measured: Measured) -> Iterator[str]:
    """Yield what keeps a measured value from being the printed one measured again."""
    here, dataset = paper.here(model), view.run.dataset
    if measured.why_none:
        yield measured.why_none
    if here != model:
        yield f"{here} stands in the place of {model}, which is not here"
    if figure.dataset != dataset.declared:
        name = "a file of that name" if dataset.name == figure.dataset else dataset.name
        yield f"other data: {name} in the place of {figure.dataset}"
    if figure.hardware:
        yield f"other hardware: printed for {figure.hardware}"
    yield from _asked_otherwise(view, figure, here)
    record = _trained(view, here)
    if record is not None and (budget := record.job.budget) != (printed := paper.budgets.get(model)):
        yield _other_budget(record, str(budget), printed, _seconds_at(view, here, printed))
    if not measured.why_none and measured.n < LEAST_SEEDS:
        yield f"fewer than {LEAST_SEEDS} trainings: no interval"


def _asked_otherwise(view: RunView, figure: Printed, here: str) -> Iterator[str]:
    """Yield in what a run's request and experiments are not those of the paper."""
    if here in view.run.own_settings:
        yield f"other hyper-parameters: --set was given for {here}"
    if view.run.own_cells is not None and figure.quantity not in COST_COLUMNS:
        yield f"{view.run.own_cells} cells a side, as --cells asked"
    reduced = [record.job.experiment.reduced for record in view.records_of("augmentation")]
    if figure.fraction is not None and reduced:
        yield f"{reduced[0].cell_type} was made rare here, a type of the paper's own there"
    n_donors = max((row.n_donors for row in attacked(view)), default=0)
    if figure.donors is not None and n_donors not in (0, figure.donors):
        yield f"{n_donors} donors in question here, {figure.donors} there"


def _other_budget(record: Record, budget: str, printed: str | None, seconds: float | None) -> str:
    rate = record.training and record.training.steps_per_second
    trained = f"{budget} of training" + (f" at {figure_in_words(rate)} steps/s" if rate else "")
    if printed is None:
        return f"{trained}; the paper's budget is not known here"
    longer = "" if seconds is None else f", which would take about {duration(seconds)} here"
    return f"{trained} in the place of {printed}{longer}"


def judged(
    view: RunView, paper: Paper, figure: Printed, model: str, mean: float, measured: Measured
) -> tuple[str, list[str]]:
    """Return the verdict on a figure that was measured as it was printed, and what explains it.

    Parameters
    ----------
    view, measured
        The run, and what it measured under the figure's own protocol.
    paper, figure, model, mean
        What the figure is of, and its printed mean.
    """
    if _meets(measured, mean):
        return REPRODUCED, []
    for protocol, difference in paper.differences.items():
        if _meets(measure(view, figure, paper.here(model), protocol=protocol, paper=paper), mean):
            return EXPLAINED, [f"{difference}: met under {protocol}"]
    return NOT_REPRODUCED, []


def _meets(measured: Measured, mean: float) -> bool:
    """Tell whether a printed mean may be one more training; never where there is no interval."""
    rounding = 0.5 * 10.0 ** int(Decimal(repr(mean)).as_tuple().exponent)
    return abs(mean - measured.summary.mean) <= measured.margin + rounding


def _ends(view: RunView, quantity: str, protocol: str) -> tuple[float, float]:
    """Return what the best floor that a metric declares, and real cells, score under a protocol."""
    if protocol not in view.run.protocols:
        return math.nan, math.nan
    found = results(view.under(protocol))
    metric = next((metric for metric in found.metrics if metric.name == quantity), None)
    if metric is None or metric.experiment != "main":
        return math.nan, math.nan
    return ends(found.rows, metric)
