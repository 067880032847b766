"""``bench data``: fetch, hand over and inspect data sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import (
    DropUnlabelled,
    GeneNames,
    Genome,
    LabelKey,
    Layer,
    SplitBy,
    SplitFrom,
    SplitSeed,
)
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
def info(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", show_default=False)],
    label_key: LabelKey = None,
    layer: Layer = None,
    gene_names: GeneNames = None,
    genome: Genome = None,
    split_by: SplitBy = None,
    split_seed: SplitSeed = None,
    split_from: SplitFrom = None,
    drop_unlabelled: DropUnlabelled = False,
) -> int:
    """Show what is known of a data set, what a file holds, and what a run would be told of it."""
    from rich.table import Table

    import datasets
    from bench.commands.actions import cell_text
    from bench.console import plain_console

    given: dict[str, Any] = {
        "label_key": label_key,
        "layer": layer,
        "gene_names": gene_names,
        "genome": genome,
        "split_by": split_by,
        "split_seed": split_seed,
        "split_from": split_from,
        "drop_unlabelled": drop_unlabelled or None,
    }
    with _refusals_told():
        facts = datasets.info(name, **{key: value for key, value in given.items() if value is not None})
    refused = facts.pop("refused", None)
    table = Table(title=name, show_header=False)
    for key, value in facts.items():
        table.add_row(key, cell_text(value))
    plain_console().print(table)
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
