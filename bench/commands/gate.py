"""``bench gate``: whether a generator got slower, hungrier or worse."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.options import names_of
from bench.console import plain_console


def gate(
    baseline: Annotated[
        str, typer.Option(help="A stored baseline, a git reference, a checkout, a run, or benchmark files.")
    ] = "baselines/gate.json",
    current: Annotated[str | None, typer.Option(help="A run, or files of pytest-benchmark.")] = None,
    models: Annotated[
        str | None, typer.Option(help="By commas, as for run (default: activa; a stored baseline's own).")
    ] = None,
    factor: Annotated[float, typer.Option(help="From which slowdown on timings are a regression.")] = 1.10,
    device: Annotated[str, typer.Option(help="Of timings: auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which base and head are timed.")] = 0,
    accept: Annotated[bool, typer.Option("--accept", help="Store what is measured as the baseline.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is accepted; stored with it.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the outcome there as Markdown.")] = None,
) -> int:
    """Tell whether a generator got slower, hungrier or worse: exit code 3."""
    from bench.gate import command
    from bench.work.interrupts import interrupt

    # As Ctrl-C does, a CI service that ends the job must leave no work tree and no worker behind.
    signal.signal(signal.SIGTERM, interrupt)
    chosen = names_of("models", models) or ()
    asked: dict[str, Any] = {"current": current, "models": chosen, "console": plain_console()}
    if accept:
        return command.accept(baseline, reason=reason, **asked)
    return command.gate(baseline, factor=factor, device=device, seed=seed, markdown_file=markdown, **asked)
