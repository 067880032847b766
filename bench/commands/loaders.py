"""``bench loaders``: time what reads cells from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED


def loaders(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An .h5ad or a .zarr store, its X in CSR.", show_default=False),
    ],
    batch_size: Annotated[int, typer.Option(help="Cells of a batch.")] = 128,
    rounds: Annotated[int, typer.Option(help="Rounds, in each of which every reader has a turn.")] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds of a turn, of one reader in one order.")] = 1.0,
) -> int:
    """Time what reads batches of cells from disk: this project's reader, AnnData, scDataset, annbatch."""
    from bench.speed.loaders import Request, carry_out

    rows = carry_out(Request(file, batch_size, rounds, seconds), plain_console())
    return SOME_FAILED if any("failed" in row for row in rows) else DONE
