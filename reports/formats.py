"""A report for programs and papers: CSV, JSON, Markdown, LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd

from reports.augmentation import augmentation_frame
from reports.best import best_frame
from reports.caught import CAUGHT_TITLE, caught_table
from reports.fitted_table import SUPERSCRIPTS, FittedTable
from reports.further_tables import PUBLISHED_TITLE, failures_frame, place_of, published_table
from reports.intervals import intervals_frame
from reports.published import NOTES, published_frame
from reports.side_by_side import NamedRun, blocks, differences_table, runs_frame, settled
from reports.summary import summary
from reports.table import results_frame, rows_of, scored_metrics, under_protocol, values_by_model, whole_frame
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
    content = {"schema": SCHEMA, "runs": [_run(run) for run in settled(runs)]}
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_markdown(runs: Sequence[NamedRun]) -> str:
    """Return summary and tables in GitHub's Markdown."""
    runs, parts = settled(runs), []
    for run in runs:
        views = [under_protocol(run.view, protocol) for protocol in run.view["run"]["protocols"]]
        sentences = [summary(views[0])[0], *(summary(view)[1] for view in views)]
        parts += [f"## {_markdown(run.name)}", _markdown(" ".join(sentences))]
        for view in views:
            found = results_frame(view).attrs
            parts += [f"- **Suspect**: {_markdown(line)}" for line in found["suspect"]]
            parts += [f"- **Copies of training cells**: {_markdown(line)}" for line in found["copying"]]
    for title, table, remarks in _tables(runs):
        parts += [f"### {_markdown(title)}", _markdown_table(table), *map(_markdown, remarks)]
    for run in runs:
        failed = [
            f"- {row['job']}: {' in '.join(filter(None, (row['status'], place_of(row))))}: {row['reason']}"
            for row in _failures(run)
        ]
        if failed:
            parts += [f"### Not finished · {_markdown(run.name)}", "\n".join(map(_markdown, failed))]
    return "\n\n".join(parts) + "\n"


def as_latex(runs: Sequence[NamedRun]) -> str:
    r"""Return the tables in LaTeX, for ``\usepackage{booktabs}``; everything that LaTeX reads is escaped."""
    tables = _tables(settled(runs))
    return "\n".join(_latex_table(title, table, remarks) for title, table, remarks in tables)


FORMATS: Final[dict[str, Callable[[Sequence[NamedRun]], str]]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
    "markdown": as_markdown,
}


def _tables(runs: Sequence[NamedRun]) -> list[tuple[str, FittedTable, list[str]]]:
    """Return title, table and remarks of all that stands in the printed formats."""
    tables = [(block.title, block.table, block.remarks) for block in blocks(runs, everything=True)]
    if (table := differences_table(runs)) is not None:
        tables.insert(0, ("The runs differ", table, []))
    for run in runs:
        for protocol in run.view["run"]["protocols"]:
            if (table := published_table(under_protocol(run.view, protocol))) is not None:
                title = f"{PUBLISHED_TITLE} · {run.name} · protocol {protocol}"
                tables.append((title, table, [NOTES[protocol]]))
            view = under_protocol(run.view, protocol)
            if (table := caught_table(rows_of(results_frame(view)), scored_metrics(view))) is not None:
                tables.append((f"{CAUGHT_TITLE} · {run.name} · protocol {protocol}", table, []))
    return tables


def _failures(run: NamedRun) -> list[dict[str, Any]]:
    return rows_of(failures_frame(run.view))


def _run(run: NamedRun) -> dict[str, Any]:
    views = {name: under_protocol(run.view, name) for name in run.view["run"]["protocols"]}

    def each(frame: Callable[[Any], pd.DataFrame]) -> dict[str, Any]:
        return {name: rows_of(frame(view)) for name, view in views.items()}

    frames = {name: results_frame(view).attrs for name, view in views.items()}
    return {
        "name": run.name,
        "command": run.command,
        **{name: run.view["run"][name] for name in FACTS},
        "dataset": {**run.view["run"]["dataset"], "source": source_in_words(run.view["run"]["dataset"])},
        "summary": {name: summary(view) for name, view in views.items()},
        "suspect": {name: found["suspect"] for name, found in frames.items()},
        "copying": {name: found["copying"] for name, found in frames.items()},
        "best": each(best_frame),
        "results": rows_of(whole_frame(run.view)),
        "values": {name: values_by_model(view) for name, view in views.items()},
        "intervals": each(intervals_frame),
        "augmentation": each(augmentation_frame),
        "published": each(published_frame),
        "failures": _failures(run),
        "metrics": run.view["metrics"],
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


def _markdown(text: str) -> str:
    """Escape what GitHub would take for a table's edge, a tag, emphasis or a formula."""
    for sign in ("\\", "`", "*", "_", "|", "<", ">", "[", "]", "$", "~", "&"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", "<br>")


def _markdown_table(table: FittedTable) -> str:
    header = [_markdown("\n".join(column.header_lines)) for column in table.columns]
    rule = [":--" if column.left else "--:" for column in table.columns]
    rows = [[_markdown(cell) for cell in row] for row in _rows(table)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def _latex(text: str) -> str:
    return text.replace("\n", " ").translate(LATEX)


def _latex_table(title: str, table: FittedTable, remarks: Sequence[str]) -> str:
    kinds = "".join("l" if column.left else "r" for column in table.columns)
    header = [_latex("\n".join(column.header_lines)) for column in table.columns]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(title)}}}"]
    lines += [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", f"{' & '.join(header)} \\\\", r"\midrule"]
    for row, ends in zip(_rows(table), table.sections, strict=True):
        lines.append(f"{' & '.join(map(_latex, row))} \\\\")
        lines += [r"\midrule"] * ends
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_latex(remark)}" for remark in remarks]
    return "\n".join([*lines, r"\end{table}", ""])
