"""``bench compare``: effect, interval and verdict of two generators."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import names_of
from bench.console import plain_console
from bench.errors import DONE, RequestError, refused

if TYPE_CHECKING:
    from reports.comparison import Side


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder.", show_default=False)],
    run_b: Annotated[
        Path | None, typer.Argument(metavar="[RUN_B]", help="Another run on the same cells.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Of two runs: which models; of one: the two to compare.")
    ] = None,
) -> int:
    """Tell which of two generators is better, or that the seeds do not resolve it."""
    from reports.comparison import comparison
    from reports.comparison_table import print_comparison

    with refused(ValueError, f"compare {run_a}: "):
        compared = comparison(_pairs(run_a, run_b, names_of("models", models)))
    if not compared:
        raise RequestError(f"compare {run_a}: no metric was scored for both on a common seed")
    print_comparison(compared, console=plain_console())
    return DONE


def _pairs(path_a: Path, path_b: Path | None, models: tuple[str, ...] | None) -> list[tuple[Side, Side]]:
    """Return the same models of two runs, or two models of one run."""
    from bench.results.reopen import open_whole
    from reports.comparison import Side

    view_a = open_whole(path_a).view()
    known = {record.job.model: record.job.role for record in view_a.records}
    if path_b is None:
        if models is None or len(models) != 2:
            raise RequestError(f"compare {path_a}: give a second RUN, or the two models with --models a,b")
        _require_known(models, known, path_a)
        return [(Side(view_a, models[0], models[0]), Side(view_a, models[1], models[1]))]
    view_b = open_whole(path_b).view()
    also = {record.job.model for record in view_b.records}
    _require_known(models or (), known, path_a)
    _require_known(models or (), also, path_b)
    common = models or [
        name for name, role in known.items() if name in also and role in ("model", "baseline")
    ]
    labels = [f" · {path.name}" for path in (path_a, path_b)]
    return [(Side(view_a, name, name + labels[0]), Side(view_b, name, name + labels[1])) for name in common]


def _require_known(models: tuple[str, ...], known: Collection[str], path: Path) -> None:
    for name in models:
        if name not in known:
            raise RequestError(f"--models {name}: {path} has {', '.join(known)}")
