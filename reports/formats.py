"""A report for programs and papers: CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from reports.augmentation import augmentation_frame
from reports.best import best
from reports.caught import CAUGHT_TITLE, caught_table
from reports.donors import attacked
from reports.fitted_table import SUPERSCRIPTS, FittedTable
from reports.further_tables import Titled, donors_tables, failures, places_tables, published_tables
from reports.intervals import intervals
from reports.published import published
from reports.ranks import places
from reports.side_by_side import blocks, differences_table, runs_frame
from reports.summary import summary
from reports.table import results, whole_frame
from reports.view import NamedRun, RunView
from reports.words import source_in_words

SCHEMA: Final = 1
FACTS: Final = (
    "dataset_key",
    "train_shape",
    "n_test",
    "n_cells",
    "profile",
    "protocols",
    "hardware",
    "versions",
    "bench_version",
    "git_commit",
)
LATEX_WORDS: Final = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
    "→": r"$\to$",
    # Behind \\\\ a bracket would begin an option.
    "[": "{[}",
    "]": "{]}",
    "≪": r"$\ll$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
    "\u00a0": "~",
    "\u202f": r"\,",
} | {sign: rf"\{sign}" for sign in "&%$#_{}"}
MARKDOWN: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_|<>[]$~&"} | {"\n": "<br>"})
LATEX: Final = str.maketrans(
    LATEX_WORDS | {chr(sign): rf"\textsuperscript{{{chr(digit)}}}" for digit, sign in SUPERSCRIPTS.items()}
)


def as_csv(runs: Sequence[NamedRun]) -> str:
    """Return `reports.side_by_side.runs_frame` as CSV, numbers with full precision."""
    return str(runs_frame(runs).to_csv(index=False))


def as_json(runs: Sequence[NamedRun]) -> str:
    """Return everything that the report says as JSON, numbers with full precision.

    What is missing or not finite is ``null``. The fields are described in ``docs/report.md``.
    """
    content = {"schema": SCHEMA, "runs": [_run(run) for run in runs]}
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_markdown(runs: Sequence[NamedRun]) -> str:
    """Return summary and tables in GitHub's Markdown."""
    parts = []
    for run in runs:
        views = run.view.each_protocol
        sentences = [summary(views[0])[0], *(summary(view)[1] for view in views)]
        parts += [f"## {in_markdown(run.name)}", in_markdown(" ".join(sentences))]
        for view in views:
            found = results(view)
            parts += [f"- **Suspect**: {in_markdown(line)}" for line in found.suspect]
            parts += [f"- **Copies of training cells**: {in_markdown(line)}" for line in found.copying]
    for title, table, remarks in _tables(runs):
        parts += [f"### {in_markdown(title)}", _markdown_table(table), *map(in_markdown, remarks)]
    for run in runs:
        failed = [
            f"- {one.job}: {' in '.join(filter(None, (one.status, one.place)))}: {one.reason}"
            for one in failures(run.view)
        ]
        if failed:
            parts += [f"### Not finished · {in_markdown(run.name)}", "\n".join(map(in_markdown, failed))]
    return "\n\n".join(parts) + "\n"


def as_latex(runs: Sequence[NamedRun]) -> str:
    r"""Return the tables in LaTeX, for ``\usepackage{booktabs}``; everything that LaTeX reads is escaped."""
    return "\n".join(_latex_table(*one) for one in _tables(runs))


FORMATS: Final[dict[str, Callable[[Sequence[NamedRun]], str]]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "markdown": as_markdown,
}


def _tables(runs: Sequence[NamedRun]) -> Iterator[Titled]:
    """Yield all that stands in the printed formats."""
    if (table := differences_table(runs)) is not None:
        yield Titled("The runs differ", table)
    for block in blocks(runs, everything=True):
        yield Titled(block.title, block.table, block.remarks)
    for run in runs:
        for one in (*donors_tables(run.view), *published_tables(run.view)):
            yield one._replace(title=f"{one.title} · {run.name}")
        for view in run.view.each_protocol:
            where = f" · {run.name} · protocol {view.protocol}"
            for one in places_tables(view):
                yield one._replace(title=one.title + where)
            if (table := caught_table(view)) is not None:
                yield Titled(CAUGHT_TITLE + where, table)


def _run(run: NamedRun) -> dict[str, Any]:
    facts = run.view.run

    def each(told: Callable[[RunView], Any]) -> dict[str, Any]:
        return {view.protocol: told(view) for view in run.view.each_protocol}

    return {
        "name": run.name,
        "command": run.command,
        **facts.model_dump(include=set(FACTS)),
        "machines": [machine.plain() for machine in run.view.machines],
        "dataset": facts.dataset.plain() | {"source": source_in_words(facts.dataset)},
        "summary": each(summary),
        "suspect": each(lambda view: results(view).suspect),
        "copying": each(lambda view: results(view).copying),
        "best": each(lambda view: [one._asdict() for one in best(view)]),
        "places": each(lambda view: [one._asdict() for one in places(view)]),
        "results": whole_frame(run.view).to_dict("records"),
        "values": each(lambda view: {row.model: row.values for row in results(view).rows}),
        "intervals": each(lambda view: [one._asdict() for one in intervals(view)]),
        "augmentation": each(lambda view: augmentation_frame(view).to_dict("records")),
        "donors": [row._asdict() for row in attacked(run.view)],
        "published": [one._asdict() for one in published(run.view)],
        "failures": [one._asdict() for one in failures(run.view)],
        "metrics": [metric.plain() for metric in run.view.metrics],
    }


def _plain(value: Any) -> Any:
    """Return what JSON can hold: plain numbers, and null for what is not finite."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(table: FittedTable) -> list[tuple[str, ...]]:
    return list(zip(*([cell.plain for cell in column.cells] for column in table.columns), strict=True))


def in_markdown(text: str) -> str:
    """Escape what GitHub would take for a table's edge, a tag, emphasis or a formula."""
    return text.translate(MARKDOWN)


def _markdown_table(table: FittedTable) -> str:
    headers = [column.header for column in table.columns]
    return table_in_markdown(headers, _rows(table), left=[column.left for column in table.columns])


def table_in_markdown(headers: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[bool]) -> str:
    """Return a table in Markdown, its words escaped; the columns marked in `left` are aligned to the left."""
    rule = [":--" if to_the_left else "--:" for to_the_left in left]
    lines = [list(map(in_markdown, headers)), rule, *(list(map(in_markdown, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _latex(text: str) -> str:
    return text.replace("\n", " ").translate(LATEX)


def _latex_table(title: str, table: FittedTable, remarks: Sequence[str]) -> str:
    kinds = "".join("l" if column.left else "r" for column in table.columns)
    header = [_latex(column.header) for column in table.columns]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(title)}}}"]
    lines += [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", f"{' & '.join(header)} \\\\", r"\midrule"]
    for row, ends in zip(_rows(table), table.sections, strict=True):
        lines.append(f"{' & '.join(map(_latex, row))} \\\\")
        lines += [r"\midrule"] * ends
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_latex(remark)}" for remark in remarks]
    return "\n".join([*lines, r"\end{table}", ""])
