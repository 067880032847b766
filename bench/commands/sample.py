"""``bench sample``: new cells from a stored model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Device, Run
from bench.console import plain_console
from bench.errors import DONE


def sample(
    run: Run,
    model: Annotated[str, typer.Option(help="A model that RUN has trained.")],
    out: Annotated[Path, typer.Option(help="The .h5ad to write.")],
    cells: Annotated[int, typer.Option(min=1, help="How many cells.")] = 1000,
    cell_type: Annotated[str | None, typer.Option(help="Only cells of this type.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Sample seed.")] = 0,
    device: Device = "auto",
) -> int:
    """Draw new cells from a model that RUN has trained."""
    from bench.hardware.environment import patient, resolve_device
    from bench.results.run_folder import RunFolder
    from bench.work.sampling import sample_from_run

    # In this process, before the model's framework is loaded: beside other work it takes a third of the time.
    os.environ.update(patient(os.environ))
    console = plain_console()
    written = sample_from_run(
        RunFolder.open(run),
        model=model,
        n_cells=cells,
        cell_type=cell_type,
        seed=seed,
        out=out,
        device=resolve_device(device),
        console=console,
    )
    rates = (written["sampling"] or {}).get("acceptance_rate") or {}
    words = "".join(f", {100 * rate:.2g} % of the draws accepted" for rate in rates.values())
    console.print(f"{cells} cells, {100 * written['density']:.1f} % non-zero{words} → {out}", soft_wrap=True)
    return DONE
