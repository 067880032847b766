"""The report as one page to send to a colleague: a single file that needs nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.further_tables import (
    augmentation_tables,
    donors_tables,
    failures,
    intervals_tables,
    places_tables,
    published_tables,
)
from reports.html.panels import Panel, Sight, panels
from reports.html.pictures import INLINE as SPEED
from reports.html.pictures import Picture, pictures
from reports.html.tables import PageTable, page_table, plain_table
from reports.side_by_side import Block, blocks, differences_table
from reports.summary import marks, summary
from reports.view import JobFacts, NamedRun, RunView
from reports.words import budgets_in_words, figure, hardware_in_words, shape_in_words, source_in_words, told

MOST_BYTES: Final = 4_900_000


class _Group(NamedTuple):
    """A group of metrics: its table and the panels of its metrics."""

    block: Block
    table: PageTable
    panels: list[Panel]


class _RunPart(NamedTuple):
    """What the page says of one run alone."""

    name: str
    sentences: list[str]
    marks: list[tuple[str, list[str]]]
    speed: list[Picture]
    further: list[PageTable]
    pictures: list[Picture]
    facts: list[tuple[str, list[str]]]
    models: PageTable
    failures: PageTable | None
    command: str


def html_report(
    runs: Sequence[NamedRun],
    figures: Sequence[Sequence[Path]],
    *,
    sights: Mapping[str, tuple[Sequence[str], Sequence[str]]],
) -> str:
    """Return the page.

    Parameters
    ----------
    runs
        One, or several that stand side by side.
    figures
        Files of each run's figures, as `reports.figures.save_figures` returns them.
    sights
        Metric → the ways of making real cells worse that it must see, and those that it cannot.

    Returns
    -------
    str
        HTML without scripts, whose policy forbids every request.
    """
    environment = templates("reports.html")
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    seen = {name: Sight(*both) for name, both in sights.items()}
    groups = []
    for block in blocks(runs, everything=True):
        table = page_table(block.title, block.table, block.remarks)
        groups.append(_Group(block, table, panels(block, seen, named=len(runs) > 1)))
    differences = differences_table(runs)
    template = environment.get_template("report.html")
    content = {
        "title": _title(runs),
        "style": Markup(style),
        "style_hash": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "groups": groups,
        "differences": None if differences is None else page_table("In what the runs differ", differences),
    }
    parts = [_run_part(run) for run in runs]
    # Pictures get what the words leave.
    words = len(template.render(content, runs=parts).encode())
    most_bytes = max(0, MOST_BYTES - words) // len(runs)
    return template.render(content, runs=_with_pictures(parts, figures, most_bytes=most_bytes))


def templates(package: str) -> Environment:
    """Return what renders the templates of a package: what is put into them is escaped, and must be there."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _with_pictures(
    parts: Sequence[_RunPart], figures: Sequence[Sequence[Path]], *, most_bytes: int
) -> list[_RunPart]:
    complete = []
    for number, (part, files) in enumerate(zip(parts, figures, strict=True)):
        found = pictures(files, prefix=f"r{number}-", most_bytes=most_bytes)
        speed = [picture for picture in found if picture.kind == SPEED]
        others = [picture for picture in found if picture.kind != SPEED]
        complete.append(part._replace(speed=speed, pictures=others))
    return complete


def _title(runs: Sequence[NamedRun]) -> str:
    names = dict.fromkeys(run.view.run.dataset.name for run in runs)
    return f"Generators of single cells on {' and '.join(names)}"


def _run_part(run: NamedRun) -> _RunPart:
    """Return all of a run's part but its pictures."""
    views = run.view.each_protocol
    return _RunPart(
        name=run.name,
        sentences=[summary(views[0])[0], *(summary(view)[1] for view in views)],
        marks=[mark for view in views for mark in marks(view, f" under protocol {view.protocol}").items()],
        speed=[],
        further=list(_further(run)),
        pictures=[],
        facts=_facts(run.view),
        models=_models(run),
        failures=_failures(run),
        command=run.command,
    )


def _further(run: NamedRun) -> Iterator[PageTable]:
    for view in run.view.each_protocol:
        for title, table, remarks in (*places_tables(view), *intervals_tables(view)):
            yield page_table(f"{title} · protocol {view.protocol} · {run.name}", table, remarks)
    experiments = (augmentation_tables, donors_tables, published_tables)
    for title, table, remarks in (one for tables in experiments for one in tables(run.view)):
        yield page_table(f"{title} · {run.name}", table, remarks)


def _facts(view: RunView) -> list[tuple[str, list[str]]]:
    run, records = view.run, view.records
    seeds = dict.fromkeys(str(record.job.seed) for record in records)
    samples = dict.fromkeys(str(seed) for record in records for seed in record.job.sample_seeds)
    versions = [f"{name} {version}" for name, version in run.versions.items()]
    data = run.dataset
    facts = {
        "Data set": [f"{data.name}: {shape_in_words(run)}"],
        "Source": [source_in_words(data), f"checksum {data.checksum}"],
        "Notes on the data": list(data.notes),
        "Profile": [run.profile, budgets_in_words(view)],
        "Seeds": [f"training {', '.join(seeds)}", f"samples {', '.join(samples)}"],
        "Hardware": [
            f"{hardware_in_words(machine)}, fingerprint {machine.fingerprint}" for machine in view.machines
        ],
        "Versions": [", ".join([f"scgenbench {run.bench_version}", *versions])],
        "Commit": [run.git_commit or ""],
        "Begun": [min((record.started for record in records if record.started), default="")],
    }
    return told(facts)


def _models(run: NamedRun) -> PageTable:
    jobs = {record.job.model: record.job for record in run.view.records}
    rows = [(name, job.role, job.framework, job.budget or "", _settings(job)) for name, job in jobs.items()]
    header = ("generator", "role", "framework", "budget", "hyper-parameters")
    return plain_table(f"Generators and their settings · {run.name}", header, rows)


def _settings(job: JobFacts) -> str:
    return ", ".join(f"{name} = {value}" for name, value in job.hyperparameters.items())


def _failures(run: NamedRun) -> PageTable | None:
    cells = [
        (one.job, one.status.replace("_", " "), one.place, figure(one.seconds), one.reason)
        for one in failures(run.view)
    ]
    if not cells:
        return None
    header = ("job", "ended", "in", "after, s", "reason")
    return plain_table(f"What did not finish, and why · {run.name}", header, cells, right=("after, s",))
