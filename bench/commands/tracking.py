"""``bench sync`` and ``bench ui``: MLflow, brought up to date and shown."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Run
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED
from bench.progress import Progress


def sync(run: Run) -> int:
    """Bring MLflow up to date with RUN."""
    from bench import flow
    from bench.results.reopen import open_whole

    folder, console = open_whole(run), plain_console()
    result = flow.track(folder, folder.view(), Progress(console))
    if result is None:
        return SOME_FAILED
    counts = f"{result.created} new, {result.updated} updated, {result.unchanged} unchanged"
    console.print(f"MLflow      jobs: {counts} → {result.uri}", soft_wrap=True)
    return DONE


def ui(
    out: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1 (default: a free one).")
    ] = None,
) -> int:
    """Show the runs in MLflow's pages, until Ctrl-C."""
    from bench.tracking.ui import show

    # Being interrupted is how it ends.
    with contextlib.suppress(KeyboardInterrupt):
        show(out, port=port, console=plain_console())
    return DONE
