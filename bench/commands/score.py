"""``bench score``: a run's stored cells again, or cells that were made elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from bench.commands.options import Metrics, Protocol, names_of, reads_data
from bench.commands.screen import show
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED, RequestError, refused
from bench.progress import Progress

if TYPE_CHECKING:
    from reports.view import Score


@reads_data(
    *("label_key", "layer", "gene_names", "genome", "split_from", "drop_unlabelled"),
    label_key="Column of obs that holds the cell types (default: cell_type).",
    split_from="Column of obs: of --train its train cells are taken, of --real its test cells.",
)
def score(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", show_default=False)] = None,
    *,
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
    reading: dict[str, Any],
    synthetic_layer: Annotated[
        str | None, typer.Option(help="Matrix of the synthetic cells (default: as --layer, for counts; X).")
    ] = None,
    cells: Annotated[int | None, typer.Option(min=10, help="Cells a side.")] = None,
) -> int:
    """Score the stored cells of RUN again, or cells that were made elsewhere."""
    names, protocols = names_of("metrics", metrics) or (), _protocols(protocol)
    files = {"--real": real, "--train": train, "--synthetic": synthetic}
    if run is not None:
        if any(files.values()) or reading or synthetic_layer is not None or cells is not None:
            raise RequestError(
                "give either RUN or --real, --train and --synthetic (with how to read them), not both"
            )
        return _score_run(run, names, protocols)
    if not (real and train and synthetic):
        missing = " ".join(name for name, value in files.items() if value is None)
        raise RequestError(f"give a RUN, or --real, --train and --synthetic (missing: {missing})")
    from bench.request.spec import Reading

    return _score_files(
        (real, train, synthetic),
        names,
        protocols or ["strict"],
        space=space,
        reading=Reading(**reading),
        synthetic_layer=synthetic_layer,
        cells=cells,
    )


def _protocols(text: str | None) -> list[str]:
    from metrics.protocols import protocol_named

    with refused(ValueError, "--"):
        return [protocol_named(name).name for name in names_of("protocol", text) or ()]


def _score_run(path: Path, metrics: tuple[str, ...], protocols: list[str]) -> int:
    """Compute metrics of a run's stored cells anew; under other protocols than it had, too."""
    from bench import flow
    from bench.request.choices import choose_metrics, declaration_of
    from bench.results.files import readable_as
    from bench.results.reopen import damages, have_dataset
    from bench.results.run_folder import RunFolder
    from bench.scoring.processes import forget_scores, run_scoring
    from bench.scoring.tasks import score_tasks
    from reports.view import Score

    progress = Progress(plain_console())
    folder = RunFolder.open(path)
    request = folder.read_request()
    wanted = protocols or request["protocols"]
    chosen = choose_metrics(metrics, request["spec"]["profile"], wanted)
    kinds = {job.experiment.kind for job in folder.jobs()}
    for metric in chosen:
        if metric.name in metrics and metric.experiment not in kinds:
            raise RequestError(f"--metrics {metric.name}: this run has no {metric.experiment} experiment")
    declared = {metric.name: metric for metric in [*folder.metrics(), *map(declaration_of, chosen)]}
    names = [metric.name for metric in chosen]
    with folder.locked():
        have_dataset(folder)
        for line in damages(folder):
            progress.say(line)
        every = list(dict.fromkeys([*request["protocols"], *wanted]))
        facts = flow.protocol_facts(folder.read_spec(), every, request["n_cells"], n_test=request["n_test"])
        if metrics or protocols:
            facts["only_under"] = _also_under(request, names, wanted)
        folder.update_request(metrics=list(declared.values()), **facts)
        forget_scores(folder, names, wanted)
        scored = run_scoring(folder, names, wanted, progress=progress)
        flow.present(folder, progress)
    show(folder, progress.console)
    files = [task.file(folder) for task in score_tasks(folder, chosen, wanted)]
    show_costs(progress.console, filter(None, (readable_as(Score, file) for file in files)))
    lost = flow.lost_cells(folder)
    for file in lost:
        progress.say(f"not scored: {file} is missing or damaged")
    if lost:
        progress.say(f"draw these cells again with: bench run --resume {shlex.quote(str(folder.path))}")
    return flow.exit_code(folder) if scored and not lost else SOME_FAILED


def _also_under(
    request: dict[str, Any], metrics: Sequence[str], protocols: Sequence[str]
) -> dict[str, list[str]]:
    """Return under which protocols each metric of a run was asked for, now that some are under these."""
    before = {
        metric["name"]: request.get("only_under", {}).get(metric["name"], request["protocols"])
        for metric in request["metrics"]
    }
    return {
        name: list(dict.fromkeys([*before.get(name, []), *(protocols if name in metrics else ())]))
        for name in dict.fromkeys([*before, *metrics])
    }


def _score_files(
    files: tuple[Path, Path, Path], metrics: tuple[str, ...], protocols: list[str], **given: Any
) -> int:
    """Score files of test, training and synthetic cells, `given` more for `score_outside_cells`."""
    from bench.request.choices import choose_metrics
    from bench.scoring.outside import score_outside_cells

    console = plain_console()
    chosen = [metric for metric in choose_metrics(metrics, "quick", protocols) if metric.experiment == "main"]
    if not chosen:
        raise RequestError(f"--metrics {','.join(metrics)}: it scores a retraining, not a file of cells")
    scores = score_outside_cells(
        *files, metrics=chosen, protocols=protocols, say=Progress(console).say, **given
    )
    ideals = {metric.name: metric.ideal for metric in chosen}
    for name, under in groupby(scores, key=lambda score: score.protocol):
        _show_outside(console, f"{files[2].name} against {files[0].name}", name, list(under), ideals)
    show_costs(console, scores)
    return SOME_FAILED if any(score.failed for score in scores) else DONE


def _show_outside(
    console: Console, what: str, protocol: str, scores: list[Score], ideals: dict[str, float]
) -> None:
    title = f"{what} · {scores[0].n_cells} cells a side · {protocol}"
    table = Table("metric", "value", "ideal", "note", title=title)
    for score in scores:
        for number, (name, value) in enumerate(score.values.items() or [(score.metric, None)]):
            note = score.error or "; ".join(score.notes) if number == 0 else ""
            ideal = f"{ideals[score.metric]:g}" if number == 0 else ""
            table.add_row(name, "–" if value is None else f"{value:.4f}", ideal, note)
    console.print(table)


def show_costs(console: Console, scores: Iterable[Score]) -> None:
    """Print what each metric took, and what the evidence took that they share."""
    shared = "evidence (shared)"
    seconds = {shared: 0.0}
    for score in scores:
        seconds[score.metric] = seconds.get(score.metric, 0.0) + (score.seconds or 0.0)
        seconds[shared] += score.shared_seconds or 0.0
    columns, title = ("metric", Column("seconds", justify="right")), f"cost: {sum(seconds.values()):.1f} s"
    table = Table(*columns, title=title, box=SIMPLE_HEAD, pad_edge=False)
    for name in sorted(seconds, key=seconds.__getitem__, reverse=True):
        table.add_row(name, f"{seconds[name]:.1f}")
    console.print(table)
