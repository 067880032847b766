"""``bench speed``: generators beside each other."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from bench.request.names import names_in
from bench.speed.contenders import measure_contenders
from bench.speed.machine import describe_machine, resolve_device
from bench.speed.table import speed_table, write_document
from bench.speed.workload import Request, Shape, sized


def request(
    *,
    model: str,
    device: str = "auto",
    quick: bool = False,
    json: Path | None = None,
    **numbers: float | None,
) -> Request:
    """Check options and put them together; `numbers` are those of `bench.speed.workload.sized`.

    Raises
    ------
    RequestError
        If a number is too small, or a GPU was asked for where there is none.
    """
    shape, effort = sized(Shape, numbers, quick=quick)
    return Request(names_in("model", model), shape, effort, resolve_device(device), json)


def carry_out(request: Request, console: Console) -> dict[str, Any]:
    """Measure, show the table, write the document and return it."""
    machine = describe_machine(request.device)
    console.print(f"{machine['device']} · {machine['torch_threads']} threads")
    with console.status("taking turns"), TemporaryDirectory() as folder:
        rows = measure_contenders(request, folder=Path(folder))
    title = f"{request.device} · {request.shape.n_cells} cells × {request.shape.n_genes} genes"
    console.print(speed_table(rows, title=title, caption=f"baseline: {request.names[0]}"))
    return write_document(request, rows, machine=machine, models=list(request.names))
