"""A leaderboard of any number of runs: pages in a folder that need no server and ask nothing of anybody."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from reports.further_tables import Failure, failures
from reports.html import templates
from reports.html.pictures import INLINE, Picture, described, pictures
from reports.side_by_side import runs_frame
from reports.site.boards import Board, board_of, said_of
from reports.site.markdown import results_page
from reports.site.provenance import anchor, numbers, origins
from reports.suspicion import contradictions
from reports.table import results
from reports.view import NamedRun, RunView
from reports.words import (
    budgets_in_words,
    figure,
    interval_in_words,
    machines_in_words,
    percent,
    shape_in_words,
    sizes_in_words,
    source_in_words,
)

ALL_THERE_IS: Final = 100_000_000
"""Bytes of pictures on a page: they are files beside it, or small."""


class _Cell(NamedTuple):
    """A cell of the large table: its words, what it is sorted by (nothing: last), and where it leads."""

    words: str
    order: float | str
    link: str = ""


class _Part(NamedTuple):
    """A run on the first page; its title is no other run's."""

    name: str
    slug: str
    title: str
    facts: list[str]
    boards: list[Board]
    links: dict[str, str]
    failures: list[Failure]
    pareto: list[Picture]
    command: str


def site(runs: Sequence[NamedRun], figures: Sequence[Sequence[Path]], *, date: str) -> dict[str, str | Path]:
    """Return the files of a site.

    Parameters
    ----------
    runs
        Each a board for each of its protocols.
    figures
        Files of each run's figures, as `reports.figures.save_figures` returns them.
    date
        When it was made, as it is shown.

    Returns
    -------
    dict
        Path within the site → its text, or the file that is copied there.
    """
    environment = templates("reports.site")
    environment.globals["anchor"] = anchor
    named = Counter(run.view.run.dataset.name for run in runs)
    parts = [
        _part(run, number, drawn, alone=named[run.view.run.dataset.name] == 1)
        for number, (run, drawn) in enumerate(zip(runs, figures, strict=True))
    ]
    seen = [(view, part) for run, part in zip(runs, parts, strict=True) for view in run.view.each_protocol]
    rows = [row for view, part in seen for row in _rows(view, part)]
    found: dict[str, str | Path] = {
        "index.html": environment.get_template("index.html").render(date=date, parts=parts, rows=rows),
        "results.md": results_page(runs),
        "table.csv": runs_frame(runs).to_csv(index=False),
        "assets/site.css": _style(),
        "assets/tables.css": _of_tables("dt_bundle.css"),
        "assets/tables.js": _script(environment),
    }
    page = environment.get_template("model.html")
    for run, part, drawn in zip(runs, parts, figures, strict=True):
        for model, link in part.links.items():
            shown = list(_pictures_of(model, drawn))
            jobs = origins(run, model)
            found[link] = page.render(
                date=date,
                part=part,
                model=model,
                said=_said_everywhere(run.view, model),
                without_cells=not any(file.stem.startswith(("embedding", "markers")) for file in drawn),
                job=next(record.job for record in run.view.records if record.job.model == model),
                numbers=numbers(run.view, model),
                origins=jobs,
                pictures=[(name, *described(file.stem)) for name, file in shown],
            )
            found |= {f"{part.slug}/records/{job.key}.json": job.record for job in jobs}
            found |= {f"{part.slug}/figures/{name}": file for name, file in shown}
    return found


def _part(run: NamedRun, number: int, drawn: Sequence[Path], *, alone: bool) -> _Part:
    view, data = run.view, run.view.run.dataset
    slug = f"{number}-{_slug(data.name)}"
    drawn_here = pictures(drawn, prefix=f"b{number}-", most_bytes=ALL_THERE_IS)
    models = dict.fromkeys(record.job.model for record in view.records)
    return _Part(
        name=run.name,
        slug=slug,
        title=data.name if alone else f"{data.name} · {run.name}",
        facts=[
            " of ".join(filter(None, [f"run {run.name}", ", ".join(one.name for one in view.run.pieces)])),
            f"{shape_in_words(view.run)} · {source_in_words(data)}",
            machines_in_words(view),
            budgets_in_words(view),
            f"scgenbench {view.run.bench_version}, commit {view.run.git_commit or 'unknown'}",
        ],
        failures=failures(view),
        boards=[board_of(seen) for seen in view.each_protocol],
        links={model: f"{slug}/{place}-{_slug(model)}.html" for place, model in enumerate(models)},
        pareto=[picture for picture in drawn_here if picture.kind == INLINE],
        command=run.command,
    )


def _said_everywhere(view: RunView, model: str) -> list[str]:
    """Return what a reader of a generator's page must know: of itself, and of contradicted metrics."""
    said: dict[str, None] = {}
    for seen in view.each_protocol:
        found = results(seen)
        of_it = [words for row in found.rows if row.model == model for words in said_of(seen, row)]
        lines = [*of_it, *(f"suspect: {line}" for line in found.suspect)]
        said |= dict.fromkeys(f"protocol {seen.protocol}: {line}" for line in lines)
    return list(said)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"


def _rows(view: RunView, part: _Part) -> Iterator[list[_Cell]]:
    """Yield a row of the large table for each number of a run under one protocol."""
    found, sizes = results(view), sizes_in_words(view)
    suspect = {metric.name for metric in found.metrics if contradictions(found.rows, metric)}
    for row in found.rows:
        said = "".join(f", {words}" for words in said_of(view, row))
        for metric in found.metrics:
            summary, place = row.summary(metric.name), row.place(metric.name)
            n_values = len(row.values.get(metric.name, ()))
            link = f"{part.links[row.model]}#{anchor(metric.name, view.protocol)}"
            scaled = percent(place) if math.isfinite(place) else ""
            yield [
                _Cell(row.model, row.model, part.links[row.model]),
                _Cell(f"{metric.name}, suspect" if metric.name in suspect else metric.name, metric.name),
                _Cell(figure(summary.mean) if n_values else row.why_empty, _known(summary.mean), link),
                _Cell(interval_in_words(summary.low, summary.high), _known(summary.low)),
                _Cell(scaled, _known(place)),
                _Cell(str(n_values), n_values),
                _Cell(row.role + said, row.role),
                _Cell(part.title, part.title),
                _Cell(f"{view.protocol} · {sizes}" if sizes else view.protocol, view.protocol),
            ]


def _known(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def _pictures_of(model: str, drawn: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the figures that show a generator: those of its own, then those of all."""
    shown = [file for file in drawn if file.suffix == ".png"]
    own = [file for file in shown if file.stem.partition("-")[2] == model]
    every = [file for file in shown if file.stem.partition("-")[0] not in ("embedding", "markers", "curves")]
    for file in [*own, *every]:
        yield _slug(file.stem) + file.suffix, file


def _style() -> str:
    parts = ("html/templates/style.css", "site/templates/site.css")
    return "".join((files("reports") / part).read_text(encoding="utf-8") for part in parts)


def _of_tables(name: str) -> str:
    """Return a file of DataTables, which `itables` packs for pages without a network."""
    return (files("itables") / "html" / name).read_text(encoding="utf-8")


def _script(environment: Environment) -> str:
    # A browser that opens a page from a folder imports no module from a file, but does from memory.
    code = base64.b64encode(_of_tables("dt_bundle.js").encode()).decode()
    return environment.get_template("tables.js").render(code=Markup(json.dumps(code)))
