"""The command line of ``python -m bench.speed``."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from bench.console import plain_console
from bench.errors import DONE, WRONG_REQUEST, RequestError
from bench.speed.baselines import BATCH_SIZE
from bench.speed.floors import Rates
from bench.speed.machine import describe_machine, resolve_device
from bench.speed.measures import MEASURES, Effort
from bench.speed.rates import measure_rates
from bench.speed.report import rate_lines, speed_table
from bench.speed.rows import Row
from bench.speed.workload import Shape

ALONE = ("activa",)
RELEASE = "the released code's arithmetic (fp32, eager), of a streamed step the same step in memory"
QUICK_EFFORT = Effort(repeats=3, limit_seconds=10.0, total_seconds=40.0)


@dataclass(frozen=True)
class Request:
    """What is measured, how much of it, and where.

    Attributes
    ----------
    shape, effort
        How much, and how long.
    measures
        Keys of `bench.speed.measures.MEASURES`; of ACTIVA alone.
    models
        ``("activa",)``, or generators that are compared with it.
    device
        ``"cpu"`` or ``"cuda"``.
    json
        File for the document, or None.
    """

    shape: Shape
    effort: Effort
    measures: tuple[str, ...]
    models: tuple[str, ...]
    device: str
    json: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; return the exit code."""
    try:
        carry_out(parse(arguments), plain_console())
    except RequestError as error:
        print(f"bench speed: {error}", file=sys.stderr)  # noqa: T201
        return WRONG_REQUEST
    return DONE


def parse(arguments: Sequence[str] | None = None) -> Request:
    """Read the command line.

    Raises
    ------
    RequestError
        If a measure is unknown, a number is too small, or a GPU was asked for where there is none.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed", description="Time ACTIVA beside its release and this machine's floor."
    )
    parser.add_argument("--model", help="by commas; others than activa need the whole harness")
    parser.add_argument("--device", help="auto (default), cpu or cuda")
    parser.add_argument("--measures", help=f"of activa alone, by commas (default: {','.join(MEASURES)})")
    parser.add_argument("--quick", action="store_true", help="a reduced shape, in about a minute")
    for name, words in (
        ("cells", "training cells"),
        ("genes", "genes"),
        ("types", "cell types"),
        ("sample-cells", "cells drawn"),
        ("on-demand-cells", "cells of the 1 %% type"),
        ("repeats", "rounds of each measure (default: 9)"),
    ):
        parser.add_argument(f"--{name}", type=int, help=words)
    parser.add_argument(
        "--limit", type=float, help="seconds after which no round of a measure begins (default: 60)"
    )
    parser.add_argument("--json", type=Path, help="write everything measured there, too")
    given = vars(parser.parse_args(arguments))
    return request(**{name: value for name, value in given.items() if value is not None})


def request(
    *,
    model: str = ALONE[0],
    device: str = "auto",
    measures: str | None = None,
    quick: bool = False,
    cells: int | None = None,
    genes: int | None = None,
    types: int | None = None,
    sample_cells: int | None = None,
    on_demand_cells: int | None = None,
    repeats: int | None = None,
    limit: float | None = None,
    json: Path | None = None,
) -> Request:
    """Check options and put them together; None is the default of the (reduced) shape.

    Raises
    ------
    RequestError
        As `parse`.
    """
    models = _names("model", model)
    chosen = tuple(MEASURES) if measures is None else _names("measures", measures)
    if unknown := [name for name in chosen if name not in MEASURES]:
        raise RequestError(f"--measures {unknown[0]!r}: choose from {', '.join(MEASURES)}")
    if measures is not None and models != ALONE:
        raise RequestError(f"--measures {measures!r} is for activa alone: leave it out with --model {model}")
    if json is not None and not json.parent.is_dir():
        raise RequestError(f"--json {str(json)!r}: give a file in a folder that exists")
    numbers = {
        "n_cells": ("--cells", cells, 25 * (types or Shape.n_types)),
        "n_genes": ("--genes", genes, 50),
        "n_types": ("--types", types, 2),
        "sample_cells": ("--sample-cells", sample_cells, 1),
        "on_demand_cells": ("--on-demand-cells", on_demand_cells, 1),
        "repeats": ("--repeats", repeats, 1),
        "limit_seconds": ("--limit", limit, 0),
    }
    for option, value, least in numbers.values():
        if value is not None and value < least:
            raise RequestError(f"{option} {value} is too small: give at least {least}")
    given: dict[str, Any] = {name: value for name, (_, value, _) in numbers.items() if value is not None}
    effort = {name: given.pop(name) for name in ("repeats", "limit_seconds") if name in given}
    return Request(
        replace(Shape.reduced() if quick else Shape(), **given),
        replace(QUICK_EFFORT if quick else Effort(), **effort),
        chosen,
        models,
        resolve_device(device),
        json,
    )


def carry_out(request: Request, console: Console) -> dict[str, Any]:
    """Measure, show the table, write the document and return it."""
    shape, device = request.shape, request.device
    machine = describe_machine(device)
    console.print(f"{machine['device']} · {machine['torch_threads']} threads · torch {torch.__version__}")
    began = time.monotonic()
    rates = measure_rates(n_genes=shape.n_genes, batch_size=BATCH_SIZE, device=device)
    rows: list[Row] = []
    for measured in _measure(request, rates, console, began):
        rows += measured
        found = document(request, machine, rates, rows)
        # After each, so that a machine that gives up in a later one keeps what it has measured.
        if request.json is not None:
            request.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    title = f"{device} · {shape.n_cells} cells × {shape.n_genes} genes · batches of {BATCH_SIZE}"
    baseline = RELEASE if request.models == ALONE else ALONE[0]
    console.print(speed_table(rows, title=title, baseline=baseline))
    for line in rate_lines(rates, n_genes=shape.n_genes, batch_size=BATCH_SIZE):
        console.print(line, highlight=False)
    return found


def _measure(request: Request, rates: Rates, console: Console, began: float) -> Iterator[list[Row]]:
    """Yield the rows of each measure as it ends."""
    if request.models == ALONE:
        for done, name in enumerate(request.measures):
            effort = request.effort.share(time.monotonic() - began, n_left=len(request.measures) - done)
            with console.status(name):
                yield MEASURES[name](request.shape, rates, effort, request.device)
            # A training's parts refer to each other; what it holds on the device must not burden the next.
            gc.collect()
        return
    # What it needs is not there on a bare machine.
    from bench.speed.contenders import measure_contenders

    with console.status("taking turns"), TemporaryDirectory() as folder:
        yield measure_contenders(
            request.models, request.shape, rates, request.effort, request.device, folder=Path(folder)
        )


def _names(option: str, text: str) -> tuple[str, ...]:
    if not (names := tuple(filter(None, (name.strip() for name in text.split(","))))):
        raise RequestError(f"--{option} {text!r} names nothing: leave the option out for the default")
    return names


def document(request: Request, machine: dict[str, Any], rates: Rates, rows: list[Row]) -> dict[str, Any]:
    """Put everything measured together, as JSON can hold it."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": request.device,
        "models": list(request.models),
        "machine": machine,
        "shape": asdict(request.shape) | {"batch_size": BATCH_SIZE},
        "effort": asdict(request.effort),
        "rates": asdict(rates),
        "rows": rows,
    }
