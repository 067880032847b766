"""``python -m benchmarks.activa``: everything that is measured of ACTIVA, or the measures that are named."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from bench.console import plain_console
from bench.errors import DONE, WRONG_REQUEST, RequestError
from bench.request.names import names_in
from bench.speed.machine import describe_machine, resolve_device
from bench.speed.table import Row, speed_table, write_document
from bench.speed.workload import OPTIONS, Request, sized
from benchmarks.activa.floors import Rates
from benchmarks.activa.rates import measure_rates, rate_lines
from benchmarks.activa.sampling import measure_on_demand, measure_sampling, measure_streaming
from benchmarks.activa.training import measure_epoch, measure_step, measure_streamed_step
from benchmarks.activa.workload import ActivaShape, Conditions
from models.activa.reference import BATCH_SIZE

MEASURES: Final[Mapping[str, Callable[[Conditions], list[Row]]]] = {
    "step": measure_step,
    "streamed_step": measure_streamed_step,
    "epoch": measure_epoch,
    "sampling": measure_sampling,
    "streaming": measure_streaming,
    "on_demand": measure_on_demand,
}
CAPTION: Final = (
    "baseline: the released code's arithmetic (fp32, eager), of a streamed step the same step in memory; "
    "floor: what this machine's products and memory take at least"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; return the exit code."""
    try:
        carry_out(parse(arguments), plain_console())
    except RequestError as error:
        print(f"benchmarks.activa: {error}", file=sys.stderr)  # noqa: T201
        return WRONG_REQUEST
    return DONE


def parse(arguments: Sequence[str] | None = None) -> Request:
    """Read the command line.

    Raises
    ------
    RequestError
        If a measure is unknown, a number is too small, or a GPU was asked for where there is none.
    """
    about = "Time ACTIVA beside its release and this machine's floor."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.activa", description=about)
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--measures", default=",".join(MEASURES), help="by commas (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a reduced shape, in about a minute")
    for name, (option, words) in OPTIONS.items():
        parser.add_argument(f"--{option}", dest=name, help=words, type=float if option == "limit" else int)
    parser.add_argument("--json", type=Path, help="write everything measured there, too")
    given = parser.parse_args(arguments)
    measures = names_in("measures", given.measures)
    if unknown := [name for name in measures if name not in MEASURES]:
        raise RequestError(f"--measures {unknown[0]!r}: choose from {', '.join(MEASURES)}")
    numbers = {name: getattr(given, name) for name in OPTIONS}
    shape, effort = sized(ActivaShape, numbers, quick=given.quick)
    return Request(measures, shape, effort, resolve_device(given.device), given.json)


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
        # After each, so that a machine that gives up in a later one keeps what it has measured.
        found = write_document(request, rows, machine=machine, rates=asdict(rates))
    title = f"{device} · {shape.n_cells} cells × {shape.n_genes} genes · batches of {BATCH_SIZE}"
    console.print(speed_table(rows, title=title, caption=CAPTION))
    for line in rate_lines(rates, n_genes=shape.n_genes, batch_size=BATCH_SIZE):
        console.print(line, highlight=False)
    return found


def _measure(request: Request, rates: Rates, console: Console, began: float) -> Iterator[list[Row]]:
    """Yield the rows of each measure as it ends."""
    for done, name in enumerate(request.names):
        effort = request.effort.share(time.monotonic() - began, n_left=len(request.names) - done)
        with console.status(name):
            yield MEASURES[name](Conditions(request.shape, rates, effort, request.device))
        # A training's parts refer to each other; what it holds on the device must not burden the next.
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
