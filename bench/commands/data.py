"""``bench data``: fetch, hand over and inspect data sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import reads_data
from bench.errors import DONE, RequestError

if TYPE_CHECKING:
    from datasets.library import LocalFile

data = typer.Typer(help="Fetch, hand over and inspect data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(show_default=False)]


@data.command()
def fetch(name: Name) -> int:
    """Download a data set into the cache and verify it."""
    import datasets
    from bench.console import plain_console
    from bench.progress import Progress

    with _refusals_told(), Progress(plain_console()).transfers() as report:
        files = datasets.fetch(name, progress=report)
    for file in files:
        _say(name, file)
    return DONE


@data.command()
def add(name: Name, file: Annotated[Path, typer.Argument(show_default=False)]) -> int:
    """Hand over a file that you already have."""
    import datasets

    with _refusals_told():
        _say(name, datasets.add(name, file))
    return DONE


@data.command()
@reads_data()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", show_default=False)], *, reading: dict[str, Any]
) -> int:
    """Show what is known of a data set, what a file holds, and what a run would be told of it."""
    import datasets
    from bench.commands.screen import show_facts

    with _refusals_told():
        facts = datasets.info(name, **reading)
    refused = facts.pop("refused", None)
    show_facts(name, facts)
    if refused is not None:
        raise RequestError(refused)
    return DONE


def _say(name: str, file: LocalFile) -> None:
    from bench.console import plain_console

    plain_console().print(f"{name} → {file.path}", file.note, soft_wrap=True)


@contextmanager
def _refusals_told() -> Iterator[None]:
    import datasets

    try:
        yield
    except datasets.DatasetError as error:
        raise RequestError(str(error)) from error
