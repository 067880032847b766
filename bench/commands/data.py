"""``bench data``: fetch, hand over and inspect data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import reads_data
from bench.commands.screen import show_facts
from bench.console import plain_console
from bench.errors import DONE, RequestError, refused
from bench.progress import Progress

if TYPE_CHECKING:
    from datasets.library import LocalFile

data = typer.Typer(help="Fetch, hand over and inspect data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(show_default=False)]


@data.command()
def fetch(name: Name) -> int:
    """Download a data set into the cache and verify it."""
    import datasets

    with refused(datasets.DatasetError), Progress(plain_console()).transfers() as report:
        files = datasets.fetch(name, progress=report)
    for file in files:
        _say(name, file)
    return DONE


@data.command()
def add(name: Name, file: Annotated[Path, typer.Argument(show_default=False)]) -> int:
    """Hand over a file that you already have."""
    import datasets

    with refused(datasets.DatasetError):
        _say(name, datasets.add(name, file))
    return DONE


@data.command()
@reads_data()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", show_default=False)], *, reading: dict[str, Any]
) -> int:
    """Show what is known of a data set, what a file holds, and what a run would be told of it."""
    import datasets

    with refused(datasets.DatasetError):
        facts = datasets.info(name, **reading)
    reason = facts.pop("refused", None)
    show_facts(name, facts)
    if reason is not None:
        raise RequestError(reason)
    return DONE


def _say(name: str, file: LocalFile) -> None:
    plain_console().print(f"{name} → {file.path}", file.note, soft_wrap=True)
