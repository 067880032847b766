"""The command line. Everything heavier than typer and rich is imported by the command that needs it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import typer

from bench.commands.compare import compare
from bench.commands.data import data
from bench.commands.gate import gate
from bench.commands.listing import hardware, list_plugins
from bench.commands.loaders import loaders
from bench.commands.models import new_model, test
from bench.commands.packs import merge, publish, site
from bench.commands.paper import paper
from bench.commands.report import report
from bench.commands.run import job, run
from bench.commands.sample import sample
from bench.commands.score import score
from bench.commands.selftest import test_metrics
from bench.commands.speed import speed
from bench.commands.tracking import sync, ui
from bench.commands.verify import verify
from bench.errors import DONE, INTERRUPTED, SOME_FAILED, WRONG_REQUEST, RequestError

# typer carries its own click; this is the class of every "no such option", "not a number"…
UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="bench",
    help="Benchmark generative models of single-cell RNA-seq counts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data, name="data")
# The order of the help.
of_runs = (run, job, score, report, compare, verify, publish, merge, site)
others = (paper, sample, speed, loaders, test_metrics, test, new_model, sync, ui, gate)
for command in of_runs + others:
    app.command()(command)
app.command("list")(list_plugins)
app.command()(hardware)


def main() -> None:
    """Run the command line and exit with the code that design and README name.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold what a terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_shadowing()
        code = app(standalone_mode=False)
    except RequestError as error:
        code = _fail(str(error))
    except UsageError as error:
        # Without a command typer has printed the help and has nothing to add.
        message = error.format_message()
        code = _fail(f"{message} (see --help)") if message else WRONG_REQUEST
    except OSError as error:
        from bench.results.disk import is_disk_full

        if not is_disk_full(error):
            raise
        place = f": {error.filename}" if error.filename else ""
        _fail(f"no space left on the disk{place}: free some; what was finished is kept")
        code = SOME_FAILED
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == INTERRUPTED:
        # As typer tells it.
        raise KeyboardInterrupt
    sys.exit(code if isinstance(code, int) else DONE)


def _fail(message: str) -> int:
    print(f"bench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return WRONG_REQUEST


def _check_shadowing() -> None:
    """Name the culprit if another distribution's `datasets`, `models`… is found before ours."""
    from importlib.util import find_spec

    home = Path(__file__).resolve().parents[1]
    for name in ("models", "metrics", "datasets", "reports"):
        found: Any = find_spec(name)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin is None or origin.parents[1] != home:
            raise RequestError(
                f"the package {name!r} found first is {origin or 'missing'}, not ours in {home}: run in an "
                f"environment of its own, outside that folder; a generator beside such a package runs as "
                f"a program: bench new-model NAME --external writes one"
            )
