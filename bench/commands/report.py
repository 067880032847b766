"""``bench report``: a run, or several side by side, for a terminal, a colleague, a paper, a program."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.screen import show
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED, RequestError, refused

if TYPE_CHECKING:
    from bench.request.spec import RunSpec
    from bench.results.run_folder import RunFolder
    from reports.view import NamedRun, RunView


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders; several stand side by side.")
    ],
    html: Annotated[Path | None, typer.Option(help="Write one page to send to a colleague.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="csv, json, latex or markdown.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to, with --format (default: printed).")] = None,
) -> int:
    """Print the table of RUN and draw its figures again, or write a report."""
    from bench import flow
    from bench.results.reopen import damages
    from bench.results.run_folder import RunFolder

    write = _writer(html=html, format=format_, output=output)
    folders = [RunFolder.open(path) for path in runs]
    if len({folder.path for folder in folders}) < len(folders):
        raise RequestError(f"report {' '.join(map(str, runs))}: names a run twice")
    damaged = [line for folder in folders for line in damages(folder)]
    for line in damaged:
        # Beside what is written, which a program may read.
        print(f"bench: {line}", file=sys.stderr)  # noqa: T201
    if write is not None:
        write(folders)
    elif len(folders) == 1:
        _show_one(folders[0])
    else:
        from reports.side_by_side import side_by_side

        plain_console().print(side_by_side(named_runs(folders)))
    return max(SOME_FAILED if damaged else DONE, *(flow.exit_code(folder) for folder in folders))


def run_command(spec: RunSpec) -> str:
    """Return the ``bench run`` that makes a request again; empty if its cells came from Python.

    Reading it gives an equal `RunSpec`, but for what is this machine's: ``--out`` and how Jobs shared it are
    left out, and of an absolute path only the name at its end is told. Hyper-parameters that were given as
    numbers or lists (in a TOML file, or from Python) come back as the text that means the same.
    """
    from bench.request.spec import EVERY_MODEL, IN_MEMORY
    from reports.words import without_folder

    if spec.dataset == IN_MEMORY:
        return ""
    words = ["bench", "run"]
    of_the_machine = {"out", "jobs", "gpus", "threads"}
    given = spec.model_dump(mode="json", exclude_defaults=True, exclude=of_the_machine)
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if name == "settings":
            pairs = [(m, n, v) for m, settings in value.items() for n, v in settings.items()]
            words += [word for m, n, v in pairs for word in ("--set", f"{m}.{n}={_setting(v)}")]
        elif name == "budget":
            budgets = (f"{model}={amount}".removeprefix(f"{EVERY_MODEL}=") for model, amount in value.items())
            words += [option, ",".join(budgets)]
        elif name == "timeout":
            words += [option, f"{value}s"]
        else:
            several = value if isinstance(value, list) else [value]
            words += [option, ",".join(without_folder(str(word)) for word in several)]
    return shlex.join(words)


def score_commands(spec: RunSpec, view: RunView) -> list[str]:
    """Return each ``bench score RUN`` that a view's scores take beside those that its request asks for."""
    from bench.request.choices import choose_metrics
    from reports.table import results

    kinds = {record.job.experiment.kind for record in view.records}
    under: dict[tuple[str, ...], list[str]] = {}
    for seen in view.each_protocol:
        protocol, scored = seen.protocol, [metric.name for metric in results(seen).metrics]
        usual = {m.name for m in choose_metrics((), spec.profile, [protocol]) if m.experiment in kinds}
        asked = _asked(spec, protocol, usual) if protocol in spec.protocol else set()
        further = [name for name in scored if name not in asked]
        if not usual.isdisjoint(further) and usual.issubset(scored):
            under.setdefault((), []).append(protocol)
            further = [name for name in further if name not in usual]
        if further:
            under.setdefault(tuple(further), []).append(protocol)
    return [_score_command(metrics, protocols, spec) for metrics, protocols in under.items()]


def _asked(spec: RunSpec, protocol: str, usual: set[str]) -> set[str]:
    from bench.request.choices import choose_metrics
    from bench.request.spec import EVERY_METRIC

    if EVERY_METRIC in spec.metrics:
        return {metric.name for metric in choose_metrics(spec.metrics, spec.profile, [protocol])}
    return set(spec.metrics) or usual


def _score_command(metrics: Sequence[str], protocols: Sequence[str], spec: RunSpec) -> str:
    words = ["bench", "score", "RUN"]
    if metrics:
        words += ["--metrics", ",".join(metrics)]
    if tuple(protocols) != spec.protocol:
        words += ["--protocol", ",".join(protocols)]
    return shlex.join(words)


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _writer(
    *, html: Path | None, format: str | None, output: Path | None
) -> Callable[[Sequence[RunFolder]], None] | None:
    """Return what writes the report; None for a terminal."""
    from reports.formats import FORMATS

    if format is not None and format not in FORMATS:
        raise RequestError(f"--format {format!r}: choose from {', '.join(FORMATS)}")
    if html is not None and format is not None:
        raise RequestError("give --html or --format, not both")
    if output is not None and format is None:
        raise RequestError(f"--output {output}: say in which --format")
    if html is not None:
        return lambda folders: _write_html(folders, html)
    return None if format is None else lambda folders: _write(FORMATS[format](named_runs(folders)), output)


def _show_one(folder: RunFolder) -> None:
    from reports.figures import save_figures

    save_figures(folder.view(), folder.figures)
    show(folder, plain_console())


def _write_html(folders: Sequence[RunFolder], file: Path) -> None:
    from reports.figures import save_figures
    from reports.html import html_report

    runs = named_runs(folders)
    with TemporaryDirectory() as home:
        # Of each run in a folder of its own: their figures have the same names.
        figures = [save_figures(run.view, Path(home, str(place))) for place, run in enumerate(runs)]
        page = html_report(runs, figures, sights=_sights())
    _write(page, file)
    size = len(page.encode()) / 1e6
    plain_console().print(f"Report  {file.resolve()}  ({size:.1f} MB)", soft_wrap=True)


def _write(text: str, file: Path | None) -> None:
    from bench.results.files import write_text

    if file is None:
        print(text, end="")  # noqa: T201
        return
    with refused(OSError, f"{str(file)!r} cannot be written: "):
        write_text(file, text)


def named_runs(folders: Sequence[RunFolder]) -> list[NamedRun]:
    """Return what is known of each run, under the name of its folder (its path, where that is no other)."""
    names = [folder.path.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder.path) for folder in folders]
    return [_named_run(name, folder) for name, folder in zip(names, folders, strict=True)]


def _named_run(name: str, folder: RunFolder) -> NamedRun:
    from reports.view import NamedRun

    view, spec = folder.view(), folder.read_spec()
    again = run_command(spec)
    return NamedRun(name, view, "\n".join([again, *score_commands(spec, view)]) if again else "")


def _sights() -> dict[str, tuple[list[str], list[str]]]:
    """Return metric → in words the ladders that it must answer, and those that it cannot."""
    from metrics.selftest.expectations import MUST_ANSWER, MUST_NOT_ANSWER

    sights: dict[str, tuple[list[str], list[str]]] = {}
    for side, ladders in enumerate((MUST_ANSWER, MUST_NOT_ANSWER)):
        for ladder, names in ladders.items():
            for name in names:
                sights.setdefault(name, ([], []))[side].append(ladder.replace("_", " "))
    return sights
