"""``bench publish``, ``merge`` and ``site``: a run in one file, pieces as one run, a board of all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import Run
from bench.commands.report import named_runs, report
from bench.console import plain_console
from bench.errors import DONE, RequestError, refused

if TYPE_CHECKING:
    from reports.view import NamedRun

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Run folders, or what bench publish wrote.", show_default=False),
]


def publish(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="File (default: the run's name, .json or .zip).")] = None,
    cells: Annotated[
        bool, typer.Option("--cells", help="With the cells, scores' details and figures.")
    ] = False,
) -> int:
    """Pack records, scores and digests of RUN into one file."""
    from bench.results.packs import publish
    from bench.results.run_folder import RunFolder

    folder = RunFolder.open(run)
    file = out or Path(folder.path.name + (".zip" if cells else ".json"))
    publish(folder, file, with_cells=cells)
    plain_console().print(f"{file}: {file.stat().st_size / 1e6:.2f} MB", soft_wrap=True)
    return DONE


def merge(
    runs: Runs, out: Annotated[Path, typer.Option(help="Folder of the new run.", show_default=False)]
) -> int:
    """Make one run of pieces: other seeds, generators or machines, the same cells, protocols and code."""
    from bench import flow
    from bench.results.merge import merge, opened

    with TemporaryDirectory() as home:
        flow.write_table(merge(opened(runs, Path(home)), out))
    return report([out])


def site(
    runs: Runs,
    out: Annotated[
        Path, typer.Option(help="Folder of the site; one that is there is replaced.", show_default=False)
    ],
) -> int:
    """Build a leaderboard of runs and packs: pages in a folder, which need no server."""
    from datetime import UTC, datetime

    from bench.results.merge import merge, opened, pieces_of_one
    from bench.results.run_folder import RunFolder
    from reports.figures import save_figures
    from reports.site import site

    out = out.resolve()
    if out.exists() and not (out / "assets" / "tables.js").exists():
        raise RequestError(f"--out {str(out)!r} exists and is no site: name another folder, or delete it")
    with TemporaryDirectory() as home:
        folders = [
            RunFolder(pieces[0].path) if len(pieces) == 1 else merge(pieces, Path(home, f"merged-{number}"))
            for number, pieces in enumerate(pieces_of_one(opened(runs, Path(home))))
        ]
        named = _numbered(named_runs(folders), [folder.path.name for folder in folders])
        figures = [save_figures(run.view, Path(home, f"figures-{n}")) for n, run in enumerate(named)]
        pages = site(named, figures, date=f"{datetime.now(UTC):%Y-%m-%d}")
        with refused(OSError, f"--out {str(out)!r}: "):
            _write(pages, out)
    plain_console().print(f"Site  {(out / 'index.html').resolve()}", soft_wrap=True)
    return DONE


def _write(pages: Mapping[str, str | Path], out: Path) -> None:
    from bench.results.files import whole_folder

    with whole_folder(out) as folder:
        for name, content in pages.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, file)
            else:
                file.write_text(content, encoding="utf-8")


def _numbered(runs: Sequence[NamedRun], names: Sequence[str]) -> list[NamedRun]:
    """Give runs names that no other has and that tell no folder."""
    numbers = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [
        run._replace(name=name if number == 1 else f"{name}-{number}")
        for run, name, number in zip(runs, names, numbers, strict=True)
    ]
