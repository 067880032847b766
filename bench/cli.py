"""The command line. Everything heavier than typer is imported by the command that needs it."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.data import data
from bench.commands.options import (
    DropUnlabelled,
    GeneNames,
    Genome,
    LabelKey,
    Layer,
    SplitBy,
    SplitFrom,
    SplitSeed,
)
from bench.errors import DONE, INTERRUPTED, SOME_FAILED, WRONG_REQUEST, RequestError

# typer carries its own click; this is the class of every "no such option", "not a number"…
UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="bench",
    help="Benchmark generative models of single-cell RNA-seq counts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data, name="data")

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Metrics = Annotated[
    str | None, typer.Option(help="Metric names, by commas, or all (default: see bench list metrics).")
]
MetricTimeout = Annotated[
    str | None, typer.Option(help="Wall-clock limit of each score, such as 15min (default: 1h).")
]
Protocol = Annotated[
    str | None,
    typer.Option(help="strict, activa2022, groundgan2024, by commas; +observed at the end of one."),
]


@app.command()
def run(
    models: Annotated[
        str | None,
        typer.Option(help="Names, file.py:Class or module:Class, by commas; cheats: the twelve fakes."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name, .h5ad, 10x .h5, mtx folder or synthetic:CELLSxGENES[xTYPES].")
    ] = None,
    label_key: LabelKey = None,
    layer: Layer = None,
    gene_names: GeneNames = None,
    genome: Genome = None,
    split_by: SplitBy = None,
    split_seed: SplitSeed = None,
    split_from: SplitFrom = None,
    drop_unlabelled: DropUnlabelled = False,
    profile: Annotated[
        str | None, typer.Option(help="smoke (seconds), quick (minutes), paper (days).")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Such as 40epochs, 15min or activa=40epochs,scgan=2000steps.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds, such as 0,1,2 or 0-4.")] = None,
    sample_seeds: Annotated[str | None, typer.Option(help="Seeds of the samples from each model.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Hyper-parameter, such as activa.objective=release.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file that holds the request.")] = None,
    metrics: Metrics = None,
    protocol: Protocol = None,
    cells: Annotated[int | None, typer.Option(help="Cells a side for scoring.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    hardware: Annotated[str | None, typer.Option(help="What this machine must be: a name or a TOML.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Wall-clock limit of each Job, such as 15min.")] = None,
    metric_timeout: MetricTimeout = None,
    out: Annotated[Path | None, typer.Option(help="Folder for run folders (default: runs).")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the Jobs and what they will cost.")
    ] = False,
) -> int:
    """Train, sample, time and score generators beside controls."""
    from bench.commands import actions as commands
    from bench.request import spec

    given = {
        "dataset": dataset,
        "label_key": label_key,
        "split_by": split_by,
        "split_seed": split_seed,
        "split_from": split_from,
        "drop_unlabelled": drop_unlabelled or None,
        "layer": layer,
        "gene_names": gene_names,
        "genome": genome,
        "profile": profile,
        "cells": cells,
        "device": device,
        "hardware": hardware,
        "out": out,
        "models": _names("models", models),
        "metrics": _names("metrics", metrics),
        "protocol": _names("protocol", protocol),
        "seeds": None if seeds is None else spec.parse_seeds("seeds", seeds),
        "sample_seeds": None if sample_seeds is None else spec.parse_seeds("sample-seeds", sample_seeds),
        "budget": None if budget is None else spec.parse_budgets(budget),
        "settings": spec.parse_settings(set_) if set_ else None,
        "timeout": None if timeout is None else spec.parse_duration("timeout", timeout),
        "metric_timeout": None
        if metric_timeout is None
        else spec.parse_duration("metric-timeout", metric_timeout),
    }
    options = {name: value for name, value in given.items() if value is not None}
    if resume is not None:
        if options or config or dry_run:
            raise RequestError("--resume takes the whole request from the run folder: give no other option")
        return commands.resume(resume)
    stored = {} if config is None else spec.read_config(config)
    return commands.run(spec.RunSpec.checked(**(stored | options)), dry_run=dry_run)


@app.command()
def score(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", show_default=False)] = None,
    metrics: Metrics = None,
    protocol: Protocol = None,
    real: Annotated[
        Path | None, typer.Option(help="Held-out real cells: counts, in any file that run reads.")
    ] = None,
    train: Annotated[Path | None, typer.Option(help="Training cells, likewise.")] = None,
    synthetic: Annotated[Path | None, typer.Option(help="Cells made elsewhere, likewise.")] = None,
    space: Annotated[
        str, typer.Option(help="Space of the synthetic cells: counts, cp20k, log_cp20k.")
    ] = "counts",
    label_key: Annotated[
        str | None, typer.Option(help="Column of obs that holds the cell types (default: cell_type).")
    ] = None,
    layer: Layer = None,
    synthetic_layer: Annotated[
        str | None, typer.Option(help="Matrix of the synthetic cells (default: as --layer, for counts; X).")
    ] = None,
    gene_names: GeneNames = None,
    genome: Genome = None,
    split_from: Annotated[
        str | None,
        typer.Option(help="Column of obs: of --train its train cells are taken, of --real its test cells."),
    ] = None,
    drop_unlabelled: DropUnlabelled = False,
    cells: Annotated[int | None, typer.Option(min=10, help="Cells a side.")] = None,
) -> int:
    """Score the stored cells of RUN again, or cells that were made elsewhere."""
    from bench.commands import actions as commands

    files = {"--real": real, "--train": train, "--synthetic": synthetic}
    reading = {
        "label_key": label_key,
        "layer": layer,
        "synthetic_layer": synthetic_layer,
        "gene_names": gene_names,
        "genome": genome,
        "split_from": split_from,
        "drop_unlabelled": drop_unlabelled,
    }
    if run is not None:
        if any(files.values()) or any(reading.values()) or cells is not None:
            raise RequestError(
                "give either RUN or --real, --train and --synthetic (with how to read them), not both"
            )
        return commands.score_run(run, _names("metrics", metrics) or (), _names("protocol", protocol) or ())
    if not (real and train and synthetic):
        missing = " ".join(name for name, value in files.items() if value is None)
        raise RequestError(f"give a RUN, or --real, --train and --synthetic (missing: {missing})")
    return commands.score_files(
        real,
        train,
        synthetic,
        space=space,
        reading=reading,
        cells=cells,
        metrics=_names("metrics", metrics) or (),
        protocols=_names("protocol", protocol) or (),
    )


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders; several stand side by side.")
    ],
    html: Annotated[Path | None, typer.Option(help="Write one page to send to a colleague.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="csv, json, latex or markdown.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to, with --format (default: printed).")] = None,
) -> int:
    """Print the table of RUN and draw its figures again, or write a report."""
    from bench.commands import report as reporting

    return reporting.report(runs, html=html, format=format_, output=output)


@app.command()
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
    from bench.commands import actions as commands

    return commands.compare(run_a, run_b, models=_names("models", models))


@app.command()
def sample(
    run: Run,
    model: Annotated[str, typer.Option(help="A model that RUN has trained.")],
    out: Annotated[Path, typer.Option(help="The .h5ad to write.")],
    cells: Annotated[int, typer.Option(min=1, help="How many cells.")] = 1000,
    cell_type: Annotated[str | None, typer.Option(help="Only cells of this type.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Sample seed.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> int:
    """Draw new cells from a model that RUN has trained."""
    from bench.commands import actions as commands

    return commands.sample(
        run, model=model, n_cells=cells, cell_type=cell_type, seed=seed, out=out, device=device
    )


@app.command()
def speed(
    model: Annotated[
        str, typer.Option(help="activa, or names, file.py:Class or module:Class to compare with it.")
    ] = "activa",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    measures: Annotated[
        str | None,
        typer.Option(help="Of activa alone: step, streamed_step, epoch, sampling, streaming, on_demand."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A reduced shape, in about a minute.")] = False,
    cells: Annotated[int | None, typer.Option(help="Training cells.")] = None,
    genes: Annotated[int | None, typer.Option(help="Genes.")] = None,
    types: Annotated[int | None, typer.Option(help="Cell types.")] = None,
    sample_cells: Annotated[int | None, typer.Option(help="Cells drawn.")] = None,
    on_demand_cells: Annotated[int | None, typer.Option(help="Cells of the 1 % type.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Rounds of each measure (default: 9).")] = None,
    limit: Annotated[
        float | None, typer.Option(help="Seconds after which no round of a measure begins (default: 60).")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured there, too.")] = None,
) -> int:
    """Time ACTIVA beside its release and this machine's floor, or other generators beside ACTIVA."""
    from bench.commands import actions as commands

    return commands.speed(
        model=model,
        device=device,
        measures=measures,
        quick=quick,
        cells=cells,
        genes=genes,
        types=types,
        sample_cells=sample_cells,
        on_demand_cells=on_demand_cells,
        repeats=repeats,
        limit=limit,
        json=json,
    )


@app.command("test-metrics")
def test_metrics(
    dataset: Annotated[
        str | None, typer.Option(help="Name or file, as for run (default: pbmc68k_reduced).")
    ] = None,
    label_key: LabelKey = None,
    layer: Layer = None,
    gene_names: GeneNames = None,
    genome: Genome = None,
    split_from: SplitFrom = None,
    drop_unlabelled: DropUnlabelled = False,
    metrics: Annotated[str | None, typer.Option(help="Metric names, by commas (default: all).")] = None,
    cells: Annotated[int | None, typer.Option(help="Cells a side (default: 500, or as there are).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a page with a card for each metric there.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured there, too.")] = None,
) -> int:
    """Make real cells worse, step by step, and see which metrics notice."""
    from bench.commands import actions as commands

    return commands.test_metrics(
        data={
            "dataset": dataset,
            "label_key": label_key,
            "layer": layer,
            "gene_names": gene_names,
            "genome": genome,
            "split_from": split_from,
            "drop_unlabelled": drop_unlabelled,
        },
        metrics=_names("metrics", metrics) or (),
        cells=cells,
        out=out,
        json=json,
    )


@app.command()
def test(
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False)],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Hyper-parameter, as for run.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> int:
    """Hold a generator (a name, file.py:Class) to every promise of the interface, on tiny cells."""
    from bench import flow
    from bench.commands import actions as commands
    from bench.request import spec

    settings = spec.parse_settings(set_) if set_ else {}
    return commands.test_model(model, settings=settings, device=flow.resolve_device(device))


@app.command()
def new_model(
    name: Annotated[str, typer.Argument(show_default=False)],
    external: Annotated[
        bool, typer.Option("--external", help="A program with an environment of its own, in any language.")
    ] = False,
) -> int:
    """Write ./NAME: a small generator that keeps every promise, its test, and a CI file."""
    from bench.commands import actions as commands

    return commands.new_model(name, external=external)


@app.command()
def sync(run: Run) -> int:
    """Bring MLflow up to date with RUN."""
    from bench.commands import actions as commands

    return commands.sync(run)


@app.command()
def ui(
    out: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1 (default: a free one).")
    ] = None,
) -> int:
    """Show the runs in MLflow's pages, until Ctrl-C."""
    from bench.commands import actions as commands

    return commands.ui(out, port=port)


@app.command()
def gate(
    baseline: Annotated[
        str,
        typer.Option(help="A stored baseline, a git reference, a checkout, a run, or benchmark files."),
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
    junit: Annotated[Path | None, typer.Option(help="Write the outcome there as JUnit XML.")] = None,
) -> int:
    """Tell whether a generator got slower, hungrier or worse: exit code 3."""
    from bench.console import plain_console
    from bench.gate import command
    from bench.work.interrupts import interrupt

    # As Ctrl-C does, a CI service that ends the job must leave no work tree and no worker behind.
    signal.signal(signal.SIGTERM, interrupt)
    chosen = _names("models", models) or ()
    if accept:
        return command.accept(
            baseline, reason=reason, current=current, models=chosen, console=plain_console()
        )
    return command.gate(
        baseline,
        current=current,
        models=chosen,
        factor=factor,
        device=device,
        seed=seed,
        markdown_file=markdown,
        junit_file=junit,
        console=plain_console(),
    )


@app.command("list")
def list_(what: Annotated[str, typer.Argument(metavar="models|metrics|datasets", show_default=False)]) -> int:
    """List what is installed: models, metrics or datasets."""
    from bench.commands import actions as commands

    return commands.list_plugins(what)


@app.command()
def hardware() -> int:
    """Show what this machine is, as every Record carries it."""
    from bench.commands import actions as commands

    return commands.show_hardware()


def main() -> None:
    """Run the command line and exit with the code that design and README name.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold what a terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_shadowing()
        code = app(standalone_mode=False)
    except RequestError as error:
        code = _fail(str(error))
    except UsageError as error:
        # Without a command typer has printed the help and has nothing to add.
        message = error.format_message()
        code = _fail(f"{message} (see --help)") if message else WRONG_REQUEST
    except OSError as error:
        from bench.results.disk import is_disk_full

        if not is_disk_full(error):
            raise
        place = f": {error.filename}" if error.filename else ""
        _fail(f"no space left on the disk{place}: free some; what was finished is kept")
        code = SOME_FAILED
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == INTERRUPTED:
        # As typer tells it.
        raise KeyboardInterrupt
    sys.exit(code if isinstance(code, int) else DONE)


def _fail(message: str) -> int:
    print(f"bench: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return WRONG_REQUEST


def _names(option: str, text: str | None) -> tuple[str, ...] | None:
    names = None if text is None else tuple(filter(None, (part.strip() for part in text.split(","))))
    if names == ():
        raise RequestError(f"--{option} {text!r} names nothing: leave the option out for the default")
    return names


def _check_shadowing() -> None:
    """Name the culprit if another distribution's `datasets`, `models`… is found before ours."""
    from importlib.util import find_spec

    home = Path(__file__).resolve().parents[1]
    for name in ("models", "metrics", "datasets", "reports"):
        found: Any = find_spec(name)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin is None or origin.parents[1] != home:
            raise RequestError(
                f"the package {name!r} found first is {origin or 'missing'}, not ours in {home}: run in an "
                f"environment of its own, outside that folder; a generator beside such a package runs as "
                f"a program: bench new-model NAME --external writes one"
            )
