"""The tables of one run, or of several that compare: what generators cost and how good their cells are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from textwrap import fill
from typing import Final, NamedTuple

from rich.text import Text

from reports.fitted_table import Column, FittedTable, Footnotes
from reports.remarks import remarks
from reports.rows import Row, Summary, summarise
from reports.suspicion import TRAINED_ROLES
from reports.table import ROLES, not_timed, results
from reports.view import NOT_RUN, MetricFacts, NamedRun, Record, RunView, grouped
from reports.words import DASH, count, figure, hardware_in_words, interval_in_words, place_in_words

METRIC_LABELS: Final = {"augmentation_f1": "augm. F1"}
MAIN: Final = "main"
"""The table of the default metrics; the others stand in those of their groups."""
GROUP_TITLES: Final = {
    "headline": "More on the headline",
    "memorisation": "Memorisation: does it copy its training cells?",
    "coverage": "Coverage: are all kinds of real cells there, and no others?",
    "marginals": "Marginals: has each gene, and each cell, the counts it should have?",
    "dependence": "Dependence: do genes, and cells, go together as they should?",
    "biology": "Biology: would the same genes be found?",
    "use": "Use: does what is learnt from synthetic cells hold for real ones?",
}
COSTS_TITLE: Final = "What it cost"
COSTS: Final = "costs"
COST_HEADERS: Final = {
    "training_seconds": "training\nseconds",
    "steps_per_second": "steps/s",
    "sample_seconds": "sampling\n{}\ncells, s",
    "sample_density": "non-zero",
    "peak_rss_gib": "peak\nGiB",
    "peak_device_gib": "device\nGiB",
}
TIMES_APART: Final = "times and memory do not compare"
# Their places are 0 % and 100 % by definition, or nearly.
SCALE_ROLES: Final = ("ceiling", "floor")

NAME_WIDTH: Final = 15
HEADER_WIDTH: Final = 7


class Entry(NamedTuple):
    """A generator in a run: what makes a row of the tables."""

    run: NamedRun
    row: Row


def entries(runs: Sequence[NamedRun]) -> list[Entry]:
    """Return the generators of runs by role, those of the same name below one another."""
    found = [Entry(run, row) for run in runs for row in results(run.view).rows]
    models = list(dict.fromkeys(entry.row.model for entry in found))
    return sorted(found, key=lambda entry: (ROLES.index(entry.row.role), models.index(entry.row.model)))


def quality_table(runs: Sequence[NamedRun], shows: str, notes: Footnotes, *, named: bool) -> FittedTable:
    """Return the metrics of the default set with the seconds that it took, or of one group.

    Parameters
    ----------
    runs
        Whose scores compare, seen under one protocol. Costs are told under a run's first protocol.
    shows
        `MAIN`, or the name of a group.
    notes
        Gets what models warned of and metrics noted, and why a metric has no value.
    named
        Whether rows carry the name of their run.
    """
    every = entries(runs)
    metrics = {metric.name: metric for run in runs for metric in metrics_in(run.view, shows)}
    names = _name_column(every, notes, set(metrics), warnings=shows == MAIN, named=named)
    timed = [run for run in runs if run.view.is_first] if shows == MAIN else []
    costs = cost_columns(every, timed, ("training_seconds", "sample_seconds"), notes)
    return FittedTable(names, [*costs, *_metric_columns(every, runs, metrics, notes)], _sections(every))


def costs_table(runs: Sequence[NamedRun], notes: Footnotes, *, named: bool) -> FittedTable:
    """Return what else generators cost: budget, steps a second, memory, and how dense their cells are."""
    every = entries(runs)
    labels = _labels(runs, notes, named=named)
    names = [_bold_if_model(row.model, row).append_text(labels[run.name]) for run, row in every]
    budgets = Column("budget", [Text(row.budget or DASH) for _, row in every], left=True)
    wanted = ("steps_per_second", "sample_density", "peak_rss_gib", "peak_device_gib")
    return FittedTable(
        Column("model", names, left=True),
        [budgets, *cost_columns(every, runs, wanted, notes)],
        _sections(every),
    )


def scored_groups(view: RunView) -> list[str]:
    """Return the groups of which the run scored a metric that does not stand in the main table."""
    return [group for group in GROUP_TITLES if metrics_in(view, group)]


def metrics_in(view: RunView, table: str) -> list[MetricFacts]:
    """Return the declarations of the scored metrics that stand in a table: `MAIN`, or that of a group."""
    groups = list(GROUP_TITLES)
    found = [m for m in results(view).metrics if table == (MAIN if m.default else m.group)]
    return sorted(found, key=lambda metric: groups.index(metric.group))


def _sections(every: Sequence[Entry]) -> list[bool]:
    """Draw a line after the models and one after the baselines."""
    roles = [*(entry.row.role for entry in every), None]
    return [role in TRAINED_ROLES and role != after for role, after in pairwise(roles)]


def _name_column(
    every: Sequence[Entry], notes: Footnotes, metrics: Collection[str], *, warnings: bool, named: bool
) -> Column:
    """Return the column that names the generators."""
    noting = metrics if notes.everything else ()
    runs = {run.name: run for run, _ in every}
    said = {name: remarks(run.view, metrics=noting, warnings=warnings) for name, run in runs.items()}
    marks = [
        notes.mark(text for text, models in said[run.name].items() if row.model in models)
        for run, row in every
    ]
    labels = _labels(list(runs.values()), notes, named=named)
    cells, narrow = (
        [
            _with_n(_name(row, mark, width=width), row.n_seeds, usual=results(run.view).n_seeds).append_text(
                labels[run.name]
            )
            for (run, row), mark in zip(every, marks, strict=True)
        ]
        for width in (10 * NAME_WIDTH, NAME_WIDTH)
    )
    # Where room is short the protocol stands here, else above every score.
    protocol = next((run.view.protocol for run in runs.values()), "")
    short = "\n+".join(protocol.split("+")) + "\nmodel"
    return Column("model", cells, left=True, narrow_header=short, narrow_cells=narrow)


def _labels(runs: Sequence[NamedRun], notes: Footnotes, *, named: bool) -> dict[str, Text]:
    """Return what stands below a generator's name: its run, with a mark where that had another machine."""
    if not named:
        return {run.name: Text() for run in runs}
    first, labels = {machine.fingerprint for machine in runs[0].view.machines}, {}
    for run in runs:
        others = [machine for machine in run.view.machines if machine.fingerprint not in first]
        words = "; ".join(f"{hardware_in_words(one)} ({one.fingerprint})" for one in others)
        mark = notes.mark([f"{run.name}: other hardware, {words}: {TIMES_APART}"] if others else [])
        labels[run.name] = Text(f"\n{run.name}{mark}", style="not bold dim")
    return labels


def _n_subsamples(view: RunView) -> int:
    parts = [record.job.experiment.reduced for record in view.records_of("augmentation")]
    return len({part.subsample_seed for part in parts if part.fraction == view.headline_fraction})


def _with_n(cell: Text, n: int, *, usual: int) -> Text:
    """Say below a cell how many values it rests on, where that is not what the reader expects."""
    return cell if n in (0, usual) else cell.append(f"\nn={n}", style="dim")


def _name(row: Row, marks: str, *, width: int) -> Text:
    """Name a generator; on lines of their own say its role, and how it ended, where that is not well."""
    lines = [_bold_if_model(_broken(row.model + marks, width), row)]
    if row.role != "model":
        lines.append(Text(f"  {row.role}", style="not bold italic dim"))
    if row.status != "ok":
        lines += [Text("  ").append(line) for line in status_text(row.status, width=width - 2).split("\n")]
    return Text("\n").join(lines)


def _bold_if_model(name: str, row: Row) -> Text:
    return Text(name, style="bold" if row.role == "model" else "")


def _broken(name: str, width: int) -> str:
    """Return a name in lines, broken behind underscores alone."""
    return fill(name.replace("_", "_ "), width=width, break_long_words=False).replace("_ ", "_")


def status_text(status: str, *, width: int = 10) -> Text:
    """Return how a Job ended, in the colour it deserves."""
    style = {"ok": "green", "skipped": "yellow", NOT_RUN: "yellow"}.get(status, "bold red")
    return Text(fill(status.replace("_", " "), width=width), style=style)


def cost_columns(
    every: Sequence[Entry], runs: Sequence[NamedRun], wanted: Sequence[str], notes: Footnotes
) -> list[Column]:
    """Return the costs of these runs; of the others cells are empty. A run of unlike machines has a mark."""
    told, views = {run.name for run in runs}, [run.view for run in runs]
    rows = [row for view in views for row in results(view).rows]
    timed = max((row.mean("sample_cells") for row in rows if "sample_cells" in row.values), default=math.nan)
    # Nothing was timed in a run of the ceiling alone, or where everything failed.
    unknown = {"sample_seconds", "sample_density"} if math.isnan(timed) else set()
    if not any("peak_device_gib" in row.values for row in rows):
        unknown.add("peak_device_gib")
    columns = []
    for name in wanted:
        if runs and name not in unknown:
            mark = notes.mark(words for view in views for words in _apart(view, name))
            cells = [_cost_cell(name, row, timed) if run.name in told else Text() for run, row in every]
            columns.append(Column(COST_HEADERS[name].format(count(timed)) + mark, cells))
    return columns


def _apart(view: RunView, cost: str) -> Iterator[str]:
    """Say what keeps a column of costs from being compared, or from being whole."""
    if cost != "sample_density":
        yield from unlike_machines(view)
    if cost not in ("peak_rss_gib", "peak_device_gib"):
        yield from untimed(view)


def untimed(view: RunView) -> Iterator[str]:
    """Say of which generators times are not told, and why, unless all are."""
    disturbed = [record for record in view.records_of("main") if record.beside]
    if disturbed:
        yield f"{not_timed(disturbed)}: {_jobs_in_words(view, disturbed)}"


def unlike_machines(view: RunView) -> Iterator[str]:
    """Say what was trained where, unless all was on like machines."""
    if len(view.machines) < 2:
        return
    records, places = view.records_of("main"), []
    for machine in view.machines:
        here = [record for record in records if record.machine.fingerprint == machine.fingerprint]
        jobs = _jobs_in_words(view, here) or "other experiments"
        places.append(f"{hardware_in_words(machine)}, {machine.fingerprint} ({jobs})")
    yield f"made on unlike machines, {'; '.join(places)}: {TIMES_APART}"


def _jobs_in_words(view: RunView, records: Sequence[Record]) -> str:
    """Name Jobs by their seeds, where all generators have them, else by generator and seed."""
    n_models = len({record.job.model for record in view.records_of("main")})
    jobs = [record.job for record in records]
    by_seed = grouped((job.seed, job.model) for job in jobs)
    whole = [seed for seed, models in by_seed.items() if len(models) == n_models]
    seeds = [f"seeds {', '.join(map(str, whole))}"] if whole else []
    return ", ".join([*seeds, *(f"{job.model} · seed {job.seed}" for job in jobs if job.seed not in whole)])


def _cost_cell(name: str, row: Row, timed: float) -> Text:
    mean = row.mean(name)
    if name == "sample_density":
        cell = Text(DASH if math.isnan(mean) else f"{100 * mean:.{0 if mean >= 0.1 else 1}f} %")
    else:
        other_size = name == "sample_seconds" and row.mean("sample_cells") < timed
        cell = Text(figure(mean) + (f"\n({count(row.mean('sample_cells'))})" if other_size else ""))
    return _with_n(cell, len(row.values.get(name, ())), usual=row.n_seeds)


def _metric_columns(
    every: Sequence[Entry], runs: Sequence[NamedRun], metrics: dict[str, MetricFacts], notes: Footnotes
) -> list[Column]:
    reasons = {run.name: _reasons(run.view, metrics, everything=notes.everything) for run in runs}
    asked = {run.name: {metric.name for metric in results(run.view).metrics} for run in runs}
    subsamples = {run.name: _n_subsamples(run.view) for run in runs}
    columns = []
    for name, metric in metrics.items():
        cells, narrow = list[Text](), list[Text]()
        for run, row in every:
            if name not in asked[run.name]:
                cells.append(Text())
                narrow.append(Text())
                continue
            mark = Text(notes.mark(reasons[run.name].get((row.model, name), ())), style="dim")
            usual = row.n_seeds if metric.experiment == "main" else subsamples[run.name]
            n_values = len(row.values.get(name, ()))
            for column, cell in ((cells, _metric_cell(name, row)), (narrow, _narrow_cell(name, row))):
                first, *rest = cell.split("\n")
                whole = Text("\n").join([first.append_text(mark), *rest])
                whole = _with_n(whole.append(_place(name, row), style="dim"), n_values, usual=usual)
                column.append(whole)
        label, ideal = METRIC_LABELS.get(name, name), f"\n→ {metric.ideal:g}"
        header, short = f"{label}\n{runs[0].view.protocol}{ideal}", _broken(label, HEADER_WIDTH) + ideal
        columns.append(Column(header, cells, narrow_header=short, narrow_cells=narrow))
    return columns


def _place(name: str, row: Row) -> str:
    """Say where a value lies between the best declared floor and the ceiling, on a line of its own."""
    place = row.place(name)
    if row.role in SCALE_ROLES or not math.isfinite(place):
        return ""
    return f"\n{place_in_words(place)}"


def _metric_cell(name: str, row: Row) -> Text:
    values = row.values.get(name, ())
    return Text("\n".join(map(figure, values))) if len(values) == 2 else mean_cell(row.summary(name))


def _narrow_cell(name: str, row: Row) -> Text:
    """Return what `_metric_cell` does, of an interval only its half, to the decimals of the mean."""
    values = row.values.get(name, ())
    if len(values) < 3:
        return _metric_cell(name, row)
    mean, _, high = summarise(values)
    shown = figure(mean)
    half = figure(high - mean) if "e" in shown else f"{high - mean:.{len(shown.partition('.')[2])}f}"
    return Text(shown).append(f"\n±{half}", style="dim")


def mean_cell(summary: Summary) -> Text:
    """Return a mean and, below it, its interval where there is one."""
    cell, interval = Text(figure(summary.mean)), interval_in_words(summary.low, summary.high)
    return cell.append(f"\n{interval}", style="dim") if interval else cell


def _reasons(view: RunView, wanted: Collection[str], *, everything: bool) -> dict[tuple[str, str], list[str]]:
    """Return why metrics have no value, by model and metric, each reason once; of controls if asked for."""
    failed = {
        (record.job.model, score.metric, score.error): None
        for record in view.records
        if everything or record.job.role in TRAINED_ROLES
        for score in view.scores_of(record)
        if score.error and score.metric in wanted
    }
    metrics = grouped((error, metric) for _, metric, error in failed)
    # What keeps several metrics from a value needs one footnote, not one for each.
    return grouped(
        ((model, metric), f"{metric}: {error}" if len(set(metrics[error])) == 1 else error)
        for model, metric, error in failed
    )


def key(view: RunView, table: FittedTable) -> list[str]:
    """Say what the figures of the main table are, and which seeds their n counts."""
    n_seeds = results(view).n_seeds
    lines = [f"n = {_seeds(n_seeds)}"] if n_seeds else []
    shown = [cell.plain for column in table.columns for cell in column.cells]
    if any(" %" in cell.partition("\n")[2] for cell in shown):
        lines.append(
            "% below a score: its place between the best of the metric's floors (0 %) and real (100 %)"
        )
    if any("\nn=" in cell for cell in shown):
        lines.append(
            "n=… below a name or a figure: it rests on so many values; two of a metric are both shown"
        )
    fraction = view.headline_fraction
    if fraction is not None and any(m.experiment == "augmentation" for m in metrics_in(view, MAIN)):
        seeds = _seeds(_n_subsamples(view), "subsampling ")
        lines.append(f"augm. F1 (augmentation_f1): over {seeds}, {100 * fraction:g} % of the type kept")
    drawn = [r.job for r in view.records if r.job.role in TRAINED_ROLES and r.job.draws_from != "model"]
    if drawn:
        names = ", ".join(dict.fromkeys(job.model for job in drawn))
        lines.append(f"made of single training cells, so never called best: {names}")
    return lines + _settled(view)


def _settled(view: RunView) -> list[str]:
    """Say what models left to the machine, and why it was settled so."""
    said = grouped(
        (f"{name} {job.hyperparameters[name]}: {reason}", job.model)
        for job in (record.job for record in view.records)
        for name, reason in job.settled.items()
    )
    return [f"{', '.join(dict.fromkeys(models))}: {text}" for text, models in said.items()]


def _seeds(n: int, kind: str = "") -> str:
    shown = {1: "", 2: ", both values of a metric, the mean of the rest"}
    intervals = ", mean and its 95 % t interval, [low, high] or ± half of it"
    return f"{n} {kind}seed{'s' * (n > 1)}" + shown.get(n, intervals)
