"""``bench test-metrics``: what the installed metrics see of real cells that are made worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.options import names_of, reads_data
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED, refused
from bench.progress import Progress


@reads_data("label_key", "layer", "gene_names", "genome", "split_from", "drop_unlabelled")
def test_metrics(
    *,
    dataset: Annotated[
        str | None, typer.Option(help="Name or file, as for run (default: pbmc68k_reduced).")
    ] = None,
    reading: dict[str, Any],
    metrics: Annotated[str | None, typer.Option(help="Metric names, by commas (default: all).")] = None,
    cells: Annotated[int | None, typer.Option(help="Cells a side (default: 500, or as there are).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page with a card for each metric there.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured there, too.")] = None,
) -> int:
    """Make real cells worse, step by step, and see which metrics notice."""
    from bench.draft import prepare_dataset
    from bench.request.spec import RunSpec
    from bench.results.files import write_json, write_text
    from bench.scoring.selftest import page, run_self_test, testable_metrics
    from reports.selftest_results import SelfTest
    from reports.selftest_tables import print_self_test

    progress = Progress(plain_console())
    chosen = testable_metrics(names_of("metrics", metrics) or ())
    spec = RunSpec.checked(**reading if dataset is None else reading | {"dataset": dataset})
    prepared = prepare_dataset(spec, None, progress)
    for note in prepared.notes:
        progress.say(f"note: {note}")
    results = run_self_test(prepared.read(), chosen, cells=cells, progress=progress)
    print_self_test(SelfTest.model_validate(results), console=progress.console)
    if out is not None:
        with refused(OSError, f"--out {str(out)!r} cannot be written: "):
            write_text(out, page(results))
    if json is not None:
        write_json(json, results)
    return DONE if results["passed"] else SOME_FAILED
