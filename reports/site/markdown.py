"""The same results as one page of Markdown: a table a protocol, who is told from whom, the commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reports.fitted_table import Footnotes
from reports.formats import in_markdown, table_in_markdown
from reports.further_tables import failures
from reports.main_table import cost_columns, entries
from reports.ranks import ties_in_words
from reports.rows import Row
from reports.site.boards import Line, board_of, neighbours
from reports.summary import summary
from reports.suspicion import TRAINED_ROLES
from reports.table import results
from reports.view import NamedRun
from reports.words import (
    DASH,
    budgets_in_words,
    machines_in_words,
    percent,
    shape_in_words,
    summary_in_words,
)

COSTS: Final = ("training_seconds", "sample_seconds")


def results_page(runs: Sequence[NamedRun]) -> str:
    """Return the page: a section for each run, a table for each of its protocols.

    It follows from the runs alone, so that writing it again shows whether it is theirs.
    """
    parts = ["# Results", "Written by `bench site` from stored results, never by hand."]
    for run in runs:
        parts += [f"## {run.view.run.dataset.name}", *_about(run)]
        for view in run.view.each_protocol:
            parts += filter(None, _of_protocol(run._replace(view=view)))
        if run.command:
            parts += ["How it was made:", f"```sh\n{run.command}\n```"]
    return "\n\n".join(parts) + "\n"


def _about(run: NamedRun) -> Iterator[str]:
    view = run.view
    lines = [f"run {run.name}", shape_in_words(view.run), machines_in_words(view), budgets_in_words(view)]
    seeds = sorted({record.job.seed for record in view.records_of("main")})
    lines.append(f"training seeds {', '.join(map(str, seeds))}")
    if days := sorted({record.started[:10] for record in view.records if record.started}):
        lines.append(f"measured on {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else ""))
    if pieces := view.run.pieces:
        lines.append(f"made of the runs {', '.join(piece.name for piece in pieces)}")
    lines.append(f"scgenbench {view.run.bench_version}, commit {view.run.git_commit or 'unknown'}")
    yield _listed(filter(None, lines))


def _of_protocol(run: NamedRun) -> Iterator[str]:
    view, notes = run.view, Footnotes()
    found, board = results(view), board_of(view)
    yield f"### Protocol {view.protocol}"
    yield "\n".join(map(in_markdown, summary(view)))
    yield from (f"**Suspect**: {in_markdown(line)}" for line in found.suspect)
    every = entries([run])
    costs = cost_columns(every, [run] if view.is_first else [], COSTS, notes)
    place = {entry.row.model: number for number, entry in enumerate(every)}
    headers = [column.header.replace("\n", " ") for column in costs]
    columns = ["generator", "draws from", *headers, *(f"{m.name} → {m.ideal:g}" for m in board.metrics)]
    rows = {row.model: row for row in found.rows}
    drawn = {record.job.model: record.job.draws_from for record in view.records}
    cells = [
        [
            _named(line),
            drawn[line.model] if line.role in TRAINED_ROLES else DASH,
            *(column.cells[place[line.model]].plain for column in costs),
            *(_value(rows[line.model], metric.name) for metric in board.metrics),
        ]
        for line in board.lines
    ]
    yield table_in_markdown(columns, cells, left=[True, True] + [False] * (len(columns) - 2))
    yield "Mean [95 % t interval over seeds], place between the best floor (0 %) and real cells (100 %)."
    yield _listed(notes.lines())
    if board.metrics:
        first = board.metrics[0].name
        said = "; ".join(neighbours(view, first)) or "fewer than two"
        yield in_markdown(f"Neighbours by {first}: {said}.")
    yield _listed(ties_in_words(view))
    if broken := failures(view):
        yield "Not finished:"
        yield _listed(f"{one.job}: {one.status}: {one.reason}" for one in broken)
    if board.open_questions:
        yield "What no generator can do yet:"
        yield _listed(board.open_questions)


def _named(line: Line) -> str:
    said = [line.role] * (line.role != "model") + line.said
    return f"{line.model} ({', '.join(said)})" if said else line.model


def _value(row: Row, metric: str) -> str:
    if metric not in row.values:
        return DASH if row.n_seeds else row.why_empty
    words, place = summary_in_words(row.summary(metric)), row.place(metric)
    return f"{words} {percent(place)}" if place == place and row.role in TRAINED_ROLES else words


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {in_markdown(line)}" for line in lines)
