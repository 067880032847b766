"""Numbers, machines and Jobs in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from reports.facts import Hardware
from reports.rows import Summary
from reports.table import GIB
from reports.view import DataFacts, JobFacts, RunFacts, RunView

DASH = "–"
MOST_SIGNS = 32
LEAST_PLACE = -9.99


def short(name: object, *, most: int = MOST_SIGNS) -> str:
    """Return a name of at most so many characters, in one line: of a longer one its beginning and its end."""
    text = " ".join(str(name).split())
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def count(number: float) -> str:
    """Write a whole number, thousands apart."""
    return f"{number:,.0f}".replace(",", " ")


def figure(value: float | None) -> str:
    """Write a number with three significant digits, thousands apart; a dash for what is missing."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0 or abs(value) >= 100:
        return count(value)
    decimals = 2 - math.floor(math.log10(abs(float(f"{value:.3g}"))))
    return f"{value:.{decimals}f}" if decimals <= 5 else f"{value:.1e}"


def interval_in_words(low: float, high: float) -> str:
    """Write an interval; empty where there is none."""
    return f"[{figure(low)}, {figure(high)}]" if math.isfinite(low) else ""


def summary_in_words(summary: Summary) -> str:
    """Write a mean and, where there is one, its interval."""
    interval = interval_in_words(summary.low, summary.high)
    return " ".join(filter(None, [figure(summary.mean), interval]))


def p_in_words(value: float) -> str:
    """Write a p-value with two significant digits; a dash for what is missing."""
    return DASH if math.isnan(value) else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return seconds in words: ``35 s``, ``4 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def job_in_words(job: JobFacts) -> str:
    """Return which Job it is: model, and seed or part of an experiment."""
    return f"{job.model} · {part_in_words(job, ' · ')}"


def part_in_words(job: JobFacts, between: str) -> str:
    """Return which Job of its generator it is: seed or part of an experiment."""
    if job.experiment.kind == "main":
        return f"seed {job.seed}"
    if job.experiment.kind == "donors":
        return f"donors, split {job.experiment.subsample_seed}"
    part = job.experiment.reduced
    return f"{100 * part.fraction:g} % of {part.cell_type}{between}subsample {part.subsample_seed}"


def percent(share: float) -> str:
    """Return a share in whole per cent; what rounds to nothing has no sign."""
    return f"{round(100 * share)} %".replace("-", "−")


def place_in_words(place: float) -> str:
    """Return a place in whole per cent, unless it lies so far below the floor that its size says nothing."""
    return percent(place) if place > LEAST_PLACE else "≪ 0 %"


def hardware_in_words(hardware: Hardware) -> str:
    """Return a machine in one line: processor, cores, memory, GPUs."""
    facts = [
        hardware.cpu_model,
        f"{hardware.physical_cores} cores ({hardware.logical_cores} threads)",
        f"{hardware.memory_bytes / GIB:.0f} GiB",
    ]
    gpus = Counter((gpu.model, round(gpu.memory_bytes / GIB)) for gpu in hardware.gpus)
    facts += [f"{count} × {model} with {memory} GiB" for (model, memory), count in gpus.items()]
    return " · ".join(facts if gpus else [*facts, "no GPU"])


def machines_in_words(view: RunView) -> str:
    """Return the machine of a run in one line, or all of one that was made on several."""
    return "; ".join(map(hardware_in_words, view.machines))


def without_folder(words: str) -> str:
    """Return the last part of what begins as an absolute path, anything else as it is.

    A report goes to others: where a file lies on this machine is none of their concern.
    """
    return Path(words).name if Path(words).is_absolute() else words


def source_in_words(dataset: DataFacts) -> str:
    """Return where a data set came from: its addresses, or the names of its files."""
    return "; ".join(map(without_folder, dataset.source.split("; ")))


def shape_in_words(run: RunFacts) -> str:
    """Return the size of a run's data set: training and test cells, genes."""
    n_train, n_genes = run.train_shape
    return f"{count(n_train)} training and {count(run.n_test)} test cells × {count(n_genes)} genes"


def sizes_in_words(view: RunView) -> str:
    """Return how many cells a side were compared under the view's protocol; empty if nothing was scored."""
    scores = [score for record in view.records for score in view.scores_of(record)]
    sizes = sorted({score.n_cells for score in scores if score.metric != "augmentation_f1"})
    return f"{' or '.join(count(size) for size in sizes)} cells a side" if sizes else ""


def told(facts: Mapping[str, Iterable[str]]) -> list[tuple[str, list[str]]]:
    """Return named lines without empty ones, and without names of which nothing is left."""
    lines = ((name, list(filter(None, said))) for name, said in facts.items())
    return [(name, said) for name, said in lines if said]


def budgets_in_words(view: RunView) -> str:
    """Name the budget that each trained generator got: nobody shall mistake a quick run for the paper's."""
    budgets = {record.job.model: record.job.budget for record in view.records}
    named = ", ".join(f"{model} {budget}" for model, budget in budgets.items() if budget is not None)
    published = view.run.profile == "paper" and not view.run.own_budgets
    return "" if not named else f"budgets: {named}" + ("" if published else " · not the paper's")
