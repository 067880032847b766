"""``bench publish`` and ``bench merge``: a run in one file, and pieces of a run as one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench.errors import DONE

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Run folders, or what bench publish wrote.", show_default=False),
]


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="File (default: the run's name, .json or .zip).")] = None,
    cells: Annotated[
        bool, typer.Option("--cells", help="With the cells, scores' details and figures.")
    ] = False,
) -> int:
    """Pack records, scores and digests of RUN into one file."""
    from bench.console import plain_console
    from bench.results.packs import publish
    from bench.results.run_folder import RunFolder

    folder = RunFolder.open(run)
    file = out or Path(folder.path.name + (".zip" if cells else ".json"))
    publish(folder, file, with_cells=cells)
    plain_console().print(f"{file}: {file.stat().st_size / 1e6:.2f} MB", soft_wrap=True)
    return DONE


def merge(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="Folder of the new run.", show_default=False)],
) -> int:
    """Make one run of pieces: other seeds, generators or machines, the same cells, protocols and code."""
    from bench import flow
    from bench.commands.report import report
    from bench.results.merge import merge, opened

    with TemporaryDirectory() as home:
        flow.write_table(merge(opened(runs, Path(home)), out))
    return report([out])
