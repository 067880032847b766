"""``bench speed``: generators beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from bench.speed.contenders import measure_contenders
from bench.speed.machine import describe_machine, resolve_device
from bench.speed.table import speed_table, write_document
from bench.speed.workload import Effort, Shape, document_file, names_in, sized


@dataclass(frozen=True)
class Request:
    """What is measured, how much of it, and where.

    Attributes
    ----------
    models
        Names, ``file.py:Class`` or ``module:Class``; the first is what the others are compared with.
    shape, effort
        How much, and how long.
    device
        ``"cpu"`` or ``"cuda"``.
    json
        File for the document, or None.
    """

    models: tuple[str, ...]
    shape: Shape
    effort: Effort
    device: str
    json: Path | None


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
    models, file = names_in("model", model), document_file(json)
    return Request(models, *sized(Shape, numbers, quick=quick), resolve_device(device), file)


def carry_out(request: Request, console: Console) -> dict[str, Any]:
    """Measure, show the table, write the document and return it."""
    machine = describe_machine(request.device)
    console.print(f"{machine['device']} · {machine['torch_threads']} threads")
    with console.status("taking turns"), TemporaryDirectory() as folder:
        rows = measure_contenders(
            request.models, request.shape, request.effort, request.device, folder=Path(folder)
        )
    title = f"{request.device} · {request.shape.n_cells} cells × {request.shape.n_genes} genes"
    console.print(speed_table(rows, title=title, caption=f"baseline: {request.models[0]}"))
    return write_document(
        request.json,
        rows,
        machine=machine,
        shape=request.shape,
        effort=request.effort,
        device=request.device,
        models=list(request.models),
    )
