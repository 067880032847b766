"""One run, or several side by side: tables that never mix what does not compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from reports.console import failure_lines, titled, warnings
from reports.fitted_table import Column, FittedTable, Footnotes
from reports.main_table import (
    COSTS,
    COSTS_TITLE,
    GROUP_TITLES,
    MAIN,
    TIMES_APART,
    costs_table,
    key,
    quality_table,
    scored_groups,
)
from reports.table import whole_frame
from reports.view import NamedRun
from reports.words import budgets_in_words, hardware_in_words, shape_in_words, sizes_in_words

OWN_TABLES: Final = "scores stand in tables of their own"


class Block(NamedTuple):
    """A table with everything that a reader must know to read it.

    Attributes
    ----------
    title, shows
        What it shows in words, and the name of the table: see `reports.main_table.metrics_in`; `COSTS` for
        costs.
    runs
        Whose rows it has; each seen under the protocol.
    table, remarks
        The table, and the lines that stand below it.
    """

    title: str
    shows: str
    runs: list[NamedRun]
    table: FittedTable
    remarks: list[str]


def comparable(runs: Sequence[NamedRun]) -> list[list[NamedRun]]:
    """Return the runs, each under one protocol, grouped so that scores within a group compare.

    They do where protocol, prepared cells and number of cells a side are the same.
    """
    groups: dict[tuple[str, str, int], list[NamedRun]] = {}
    for protocol in dict.fromkeys(name for run in runs for name in run.view.run.protocols):
        for run in runs:
            facts = run.view.run
            if protocol in facts.protocols:
                same = (protocol, facts.dataset_key, facts.n_cells)
                groups.setdefault(same, []).append(run._replace(view=run.view.under(protocol)))
    return list(groups.values())


def blocks(runs: Sequence[NamedRun], *, everything: bool) -> Iterator[Block]:
    """Yield the main table, those of the further groups of metrics and that of costs, of all that compares.

    Of several runs, each row carries the name of its run, and runs on unlike hardware a footnote.

    Parameters
    ----------
    runs
        The runs to show, one or several.
    everything
        Whether the remarks tell all that was noted (see `reports.fitted_table.Footnotes`).
    """
    named = len(runs) > 1
    for members in comparable(runs):
        view = members[0].view
        facts = [f"protocol {view.protocol}", sizes_in_words(view)]
        if named:
            facts += [view.run.dataset.name, ", ".join(run.name for run in members)]
        words = " · ".join(filter(None, facts))
        shown = {MAIN: members}
        shown |= {
            group: [run for run in members if group in scored_groups(run.view)] for group in GROUP_TITLES
        }
        for shows, some in shown.items():
            if some:
                notes = Footnotes(everything)
                table = quality_table(some, shows, notes, named=named)
                keys = [key(run.view, table) if shows == MAIN else [] for run in some]
                remarks = [*_said(some, keys), *notes.lines()]
                title = GROUP_TITLES.get(shows, "Headline")
                yield Block(f"{title} · {words}", shows, some, table, remarks)
        if first := [run for run in members if run.view.is_first]:
            notes = Footnotes(everything)
            table = costs_table(first, notes, named=named)
            yield Block(f"{COSTS_TITLE} · {words}", COSTS, first, table, notes.lines())


def differences_table(runs: Sequence[NamedRun]) -> FittedTable | None:
    """Return in what the runs differ and what follows from it; None where they differ in nothing."""
    of_runs = [_facts(run) for run in runs]
    unlike = [fact for fact in of_runs[0] if len({facts[fact] for facts in of_runs}) > 1]
    if not unlike:
        return None
    columns = [
        Column(run.name, [Text(facts[fact]) for fact in unlike], left=True)
        for run, facts in zip(runs, of_runs, strict=True)
    ]
    meaning = Column("so", [Text(consequence) for _, consequence in unlike], left=True)
    names = Column("differs in", [Text(what) for what, _ in unlike], left=True)
    return FittedTable(names, [*columns, meaning], [False] * len(unlike))


def side_by_side(runs: Sequence[NamedRun]) -> RenderableType:
    """Return runs side by side as one Rich renderable: differences, warnings, tables, failures."""
    parts = list[RenderableType]()
    if (table := differences_table(runs)) is not None:
        parts += [Text("The runs differ", style="bold yellow"), table]
    for members in comparable(runs):
        for run in members:
            if found := list(warnings(run.view)):
                parts += [Text(), Text(f"{run.name} · protocol {run.view.protocol}"), *found]
    for block in blocks(runs, everything=False):
        parts += titled(block.title, block.table, block.remarks)
    for run in runs:
        if lines := failure_lines(run.view):
            parts += [Text(), Text(run.name, style="bold"), *lines[1:]]
    return Group(*parts)


def runs_frame(runs: Sequence[NamedRun]) -> pd.DataFrame:
    """Return the results of all runs under all their protocols, each row with all that it must share.

    The columns are those of `reports.table.whole_frame`, after ``run``, ``dataset``, ``dataset_key``,
    ``n_cells`` (a side) and ``hardware`` (fingerprints of the machines): rows in which the middle three
    and ``protocol`` agree compare in their scores, those in which ``hardware`` does in their costs.
    """
    frames = []
    for run in runs:
        frame, facts = whole_frame(run.view), run.view.run
        machines: dict[str, dict[str, None]] = {}
        for record in run.view.records:
            machines.setdefault(record.job.model, {})[record.machine.fingerprint] = None
        marks: dict[str, Any] = {
            "run": run.name,
            "dataset": facts.dataset.name,
            "dataset_key": facts.dataset_key,
            "n_cells": facts.n_cells,
            "hardware": [" ".join(filter(None, machines.get(model, ()))) for model in frame["model"]],
        }
        for place, (name, value) in enumerate(marks.items()):
            frame.insert(place, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _facts(run: NamedRun) -> dict[tuple[str, str], str]:
    """Return what runs may differ in, with its consequence → what it is in this one."""
    about = run.view.run
    machines = "; ".join(f"{hardware_in_words(one)} ({one.fingerprint})" for one in run.view.machines)
    seeds = dict.fromkeys(str(record.job.seed) for record in run.view.records)
    return {
        ("data set", OWN_TABLES): f"{about.dataset.name}: {shape_in_words(about)}",
        ("prepared cells", OWN_TABLES): about.dataset_key,
        ("cells a side", OWN_TABLES): str(about.n_cells),
        ("protocols", OWN_TABLES): ", ".join(about.protocols),
        ("hardware", TIMES_APART): machines,
        ("libraries", TIMES_APART): ", ".join(f"{name} {number}" for name, number in about.versions.items()),
        ("budgets", "not the same training"): budgets_in_words(run.view).removeprefix("budgets: "),
        ("training seeds", "more seeds, narrower intervals"): ", ".join(seeds),
        ("scgenbench", "see its changelog"): f"{about.bench_version} ({about.git_commit or 'no commit'})",
    }


def _said(runs: list[NamedRun], lines: list[list[str]]) -> list[str]:
    """Return what holds of all runs once, and what holds of some with their names."""
    every = dict.fromkeys(line for of_run in lines for line in of_run)
    said = []
    for line in every:
        of = [run.name for run, of_run in zip(runs, lines, strict=True) if line in of_run]
        said.append(line if len(of) == len(runs) else f"{', '.join(of)}: {line}")
    return said
