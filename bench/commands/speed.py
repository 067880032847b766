"""``bench speed``: time generators on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Device
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED


def speed(
    model: Annotated[
        str, typer.Option(help="By commas: names, file.py:Class or module:Class; the first is the baseline.")
    ] = "activa",
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="A reduced shape, in about a minute.")] = False,
    cells: Annotated[int | None, typer.Option(help="Training cells.")] = None,
    genes: Annotated[int | None, typer.Option(help="Genes.")] = None,
    types: Annotated[int | None, typer.Option(help="Cell types.")] = None,
    sample_cells: Annotated[int | None, typer.Option(help="Cells drawn.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Rounds of each measure (default: 9).")] = None,
    limit: Annotated[
        float | None, typer.Option(help="Seconds after which no round of a measure begins (default: 60).")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured there, too.")] = None,
) -> int:
    """Time generators beside each other: a training step, and drawing cells."""
    from bench.speed.command import carry_out, request

    asked = request(
        model=model,
        device=device,
        quick=quick,
        n_cells=cells,
        n_genes=genes,
        n_types=types,
        sample_cells=sample_cells,
        repeats=repeats,
        limit_seconds=limit,
        json=json,
    )
    found = carry_out(asked, plain_console())
    return SOME_FAILED if any("failed" in row for row in found["rows"]) else DONE
