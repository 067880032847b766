"""One run, or several side by side: tables that never mix what does not compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from reports import RunView
from reports.console import failures, warnings
from reports.fitted_table import Column, FittedTable, Footnotes
from reports.main_table import (
    COSTS_TITLE,
    GROUP_TITLES,
    MAIN,
    costs_table,
    group_table,
    key,
    main_table,
    scored_groups,
    sections,
)
from reports.table import ROLES, results_frame, rows_of, snapshot, under_protocol, whole_frame
from reports.words import budgets_in_words, hardware_in_words, shape_in_words, sizes_in_words

OWN_TABLES: Final = "scores stand in tables of their own"
TIMES_APART: Final = "times and memory do not compare"
COSTS: Final = "costs"


class NamedRun(NamedTuple):
    """A run and what it is called beside others.

    Attributes
    ----------
    name
        Of its folder; unique among the runs that stand side by side.
    view
        See `reports`.
    command
        The command that makes the run again; empty where there is none.
    """

    name: str
    view: RunView
    command: str = ""


def settled(runs: Sequence[NamedRun]) -> list[NamedRun]:
    """Return runs that are asked for their results often (see `reports.table.Snapshot`)."""
    return [run._replace(view=snapshot(run.view)) for run in runs]


class Block(NamedTuple):
    """A table with everything that a reader must know to read it.

    Attributes
    ----------
    title, protocol, shows
        What it shows in words, under which protocol, and the name of the table: see
        `reports.main_table.metrics_in`; `COSTS` for costs.
    runs
        Whose rows it has; each seen under the protocol.
    table, remarks
        The table, and the lines that stand below it.
    """

    title: str
    protocol: str
    shows: str
    runs: list[NamedRun]
    table: FittedTable
    remarks: list[str]


def comparable(runs: Sequence[NamedRun]) -> list[list[NamedRun]]:
    """Return the runs, each under one protocol, grouped so that scores within a group compare.

    They do where protocol, prepared cells and number of cells a side are the same.
    """
    groups: dict[tuple[str, str, int], list[NamedRun]] = {}
    for protocol in dict.fromkeys(name for run in runs for name in run.view["run"]["protocols"]):
        for run in runs:
            facts = run.view["run"]
            if protocol in facts["protocols"]:
                same = (protocol, facts["dataset_key"], facts["n_cells"])
                groups.setdefault(same, []).append(run._replace(view=under_protocol(run.view, protocol)))
    return list(groups.values())


def blocks(runs: Sequence[NamedRun], *, everything: bool) -> Iterator[Block]:
    """Yield the main table, those of the further groups of metrics and that of costs, of all that compares.

    Of several runs, each row carries the name of its run, and runs on unlike hardware a footnote.

    Parameters
    ----------
    runs
        One, or several.
    everything
        Whether the remarks tell all that was noted (see `reports.fitted_table.Footnotes`).
    """
    for members in comparable(runs):
        view = members[0].view
        facts = [f"protocol {view['run']['protocol']}", sizes_in_words(view)]
        if len(runs) > 1:
            facts += [str(view["run"]["dataset"]["name"]), ", ".join(run.name for run in members)]
        words = " · ".join(filter(None, facts))
        named = len(runs) > 1
        yield _block(f"Headline · {words}", MAIN, members, named=named, everything=everything)
        for group in GROUP_TITLES:
            scored = [run for run in members if group in scored_groups(run.view)]
            if scored:
                title = f"{GROUP_TITLES[group]} · {words}"
                yield _block(title, group, scored, named=named, everything=everything)
        first = [run for run in members if _is_first(run)]
        if first:
            yield _block(f"{COSTS_TITLE} · {words}", COSTS, first, named=named, everything=everything)


def _is_first(run: NamedRun) -> bool:
    """Tell whether a run is seen under its first protocol: costs are the same under all."""
    return bool(run.view["run"]["protocol"] == run.view["run"]["protocols"][0])


def differences_table(runs: Sequence[NamedRun]) -> FittedTable | None:
    """Return in what the runs differ and what follows from it; None where they differ in nothing."""
    rows = [
        (what, values, consequence)
        for (what, consequence), values in _facts(runs).items()
        if len(set(values)) > 1
    ]
    if not rows:
        return None
    values = zip(*(values for _, values, _ in rows), strict=True)
    named = zip(runs, values, strict=True)
    columns = [Column(run.name, [Text(value) for value in of_run], left=True) for run, of_run in named]
    meaning = Column("so", [Text(consequence) for *_, consequence in rows], left=True)
    return FittedTable(
        Column("differs in", [Text(what) for what, *_ in rows], left=True),
        [*columns, meaning],
        [False] * len(rows),
    )


def side_by_side(runs: Sequence[NamedRun]) -> RenderableType:
    """Return runs side by side as one Rich renderable: differences, warnings, tables, failures."""
    runs, parts = settled(runs), list[RenderableType]()
    if (table := differences_table(runs)) is not None:
        parts += [Text("The runs differ", style="bold yellow"), table]
    for members in comparable(runs):
        for run in members:
            if found := list(warnings(run.view)):
                parts += [Text(), Text(f"{run.name} · protocol {run.view['run']['protocol']}"), *found]
    for block in blocks(runs, everything=False):
        parts += [Text(), Text(block.title, style="bold"), block.table]
        parts += [Text(line, style="dim") for line in block.remarks]
    for run in runs:
        if lines := failures(run.view):
            parts += [Text(), Text(run.name, style="bold"), *lines[1:]]
    return Group(*parts)


def runs_frame(runs: Sequence[NamedRun]) -> pd.DataFrame:
    """Return the results of all runs under all their protocols, each row with all that it must share.

    The columns are those of `reports.table.whole_frame`, after ``run``, ``dataset``, ``dataset_key``,
    ``n_cells`` (a side) and ``hardware`` (its fingerprint): rows in which the middle three and ``protocol``
    agree compare in their scores, those in which ``hardware`` does in their costs.
    """
    frames = []
    for run in runs:
        frame, facts = whole_frame(run.view), run.view["run"]
        marks = {
            "run": run.name,
            "dataset": facts["dataset"]["name"],
            "dataset_key": facts["dataset_key"],
            "n_cells": facts["n_cells"],
            "hardware": facts["hardware"]["fingerprint"],
        }
        for place, (name, value) in enumerate(marks.items()):
            frame.insert(place, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _facts(runs: Sequence[NamedRun]) -> dict[tuple[str, str], list[str]]:
    """Return what runs may differ in, with its consequence → what it is in each."""
    facts: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        about = run.view["run"]
        seeds = dict.fromkeys(str(record["job"]["seed"]) for record in run.view["records"])
        versions = about["versions"]
        commit = about["git_commit"] or "no commit"
        said = {
            ("data set", OWN_TABLES): f"{about['dataset']['name']}: {shape_in_words(about)}",
            ("prepared cells", OWN_TABLES): about["dataset_key"],
            ("cells a side", OWN_TABLES): str(about["n_cells"]),
            ("protocols", OWN_TABLES): ", ".join(about["protocols"]),
            ("hardware", TIMES_APART): _machine(run),
            ("libraries", TIMES_APART): ", ".join(f"{name} {number}" for name, number in versions.items()),
            ("budgets", "not the same training"): budgets_in_words(run.view).removeprefix("budgets: "),
            ("training seeds", "more seeds, narrower intervals"): ", ".join(seeds),
            ("scgenbench", "see its changelog"): f"{about['bench_version']} ({commit})",
        }
        for name, value in said.items():
            facts.setdefault(name, []).append(value)
    return facts


def _machine(run: NamedRun) -> str:
    hardware = run.view["run"]["hardware"]
    return f"{hardware_in_words(hardware)} ({hardware['fingerprint']})"


def _block(title: str, shows: str, members: list[NamedRun], *, named: bool, everything: bool) -> Block:
    notes = Footnotes(everything)
    tables = [_table_of(run.view, shows, notes) for run in members]
    keys = [
        [line.plain for line in key(run.view, table)] if shows == MAIN else []
        for run, table in zip(members, tables, strict=True)
    ]
    table = _merged(members, tables, notes) if named else tables[0]
    remarks = [*_said(members, keys), *(line.plain for line in notes.lines())]
    return Block(title, members[0].view["run"]["protocol"], shows, members, table, remarks)


def _table_of(view: RunView, shows: str, notes: Footnotes) -> FittedTable:
    if shows == COSTS:
        return costs_table(view)
    return main_table(view, notes) if shows == MAIN else group_table(view, shows, notes)


def _said(runs: list[NamedRun], lines: list[list[str]]) -> list[str]:
    """Return what holds of all runs once, and what holds of some with their names."""
    every = dict.fromkeys(line for of_run in lines for line in of_run)
    said = []
    for line in every:
        of = [run.name for run, of_run in zip(runs, lines, strict=True) if line in of_run]
        said.append(line if len(of) == len(runs) else f"{', '.join(of)}: {line}")
    return said


def _merged(runs: list[NamedRun], tables: list[FittedTable], notes: Footnotes) -> FittedTable:
    """Put tables of several runs into one: the rows of a generator below one another, named by run."""
    rows = [rows_of(results_frame(run.view)) for run in runs]
    role = {row["model"]: row["role"] for of_run in rows for row in of_run}
    models = sorted(role, key=lambda model: ROLES.index(role[model]))
    # Where to find each row of the new table: which of the tables, and which of its rows.
    places = [
        (table, number)
        for model in models
        for table, of_run in enumerate(rows)
        for number, row in enumerate(of_run)
        if row["model"] == model
    ]

    labels = [f"\n{run.name}{notes.mark(_unlike(run, runs[0]))}" for run in runs]
    names, narrow = (
        [of_run[t].cells[n].copy().append(labels[t], style="not bold dim") for t, n in places]
        for of_run in ([table.name for table in tables], [table.name.narrow for table in tables])
    )
    first = tables[0].name
    return FittedTable(
        Column(first.header, names, left=True, narrow_header=first.narrow_header, narrow_cells=narrow),
        _spread([table.values for table in tables], places),
        sections([rows[t][n] for t, n in places]),
    )


def _spread(tables: list[list[Column]], places: Sequence[tuple[int, int]]) -> list[Column]:
    """Return the columns of several tables, with cells for the rows at `places`, empty where one has none."""
    by_header = [{column.header: column for column in of_table} for of_table in tables]
    kinds = {header: column for of_table in by_header for header, column in of_table.items()}

    def cells(header: str, *, narrow: bool) -> list[Text]:
        shown = [
            {name: (column.narrow if narrow else column).cells for name, column in of_table.items()}
            for of_table in by_header
        ]
        return [shown[t][header][n] if header in shown[t] else Text() for t, n in places]

    return [
        Column(
            header,
            cells(header, narrow=False),
            left=column.left,
            narrow_header=column.narrow_header,
            narrow_cells=cells(header, narrow=True),
        )
        for header, column in kinds.items()
    ]


def _unlike(run: NamedRun, first: NamedRun) -> list[str]:
    prints = [each.view["run"]["hardware"]["fingerprint"] for each in (run, first)]
    return [] if prints[0] == prints[1] else [f"{run.name}: other hardware, {_machine(run)}: {TIMES_APART}"]
