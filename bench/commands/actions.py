"""What the commands do, once the command line has been read. Each returns an exit code."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench import flow
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED, RequestError
from bench.progress import Progress
from bench.request.plan import choose_metrics
from bench.request.registry import DATASETS, METRICS, MODELS, load, plugins
from bench.request.spec import RunSpec
from bench.results.disk import NO_SPACE, is_disk_full
from bench.results.reopen import damages, have_dataset, open_whole, reopen
from bench.results.run_folder import RunFolder, readable_as, write_json, write_text
from bench.scoring.processes import forget_scores, run_scoring
from bench.scoring.tasks import score_tasks
from metrics.protocols import protocol_named
from reports.view import Score

if TYPE_CHECKING:
    from rich.console import Console

    from reports.comparison import Side

GIB = 1024**3
SHARED_COST = "evidence (shared)"


def run(spec: RunSpec, *, dry_run: bool) -> int:
    """Carry out a request, or show what it would do."""
    console = plain_console()
    progress = Progress(console)
    plan = flow.draft(spec, progress=progress)
    if dry_run:
        _show_plan(console, plan)
        return DONE
    folder = flow.start(plan)
    progress.say(f"{len(plan.jobs)} jobs → {folder.path}")
    return _carry_out(folder, progress)


def resume(path: Path) -> int:
    """Go on with a run: Jobs that ended well are not repeated."""
    folder, progress = reopen(path), Progress(plain_console())
    say_damages(folder, progress)
    return _carry_out(folder, progress)


def say_damages(folder: RunFolder, progress: Progress) -> None:
    """Name the damaged files of a run that can be made again, a line for each."""
    for line in damages(folder):
        progress.say(line)


def score_run(path: Path, metrics: tuple[str, ...], protocols: tuple[str, ...]) -> int:
    """Compute metrics of a run's stored cells anew; under other protocols than it had, too."""
    progress = Progress(plain_console())
    folder = RunFolder.open(path)
    request = folder.read_request()
    wanted = [_known_protocol(name) for name in protocols] or request["protocols"]
    chosen = choose_metrics(metrics, request["spec"]["profile"], wanted)
    kinds = {job.experiment.kind for job in folder.jobs()}
    for metric in chosen:
        if metric.name in metrics and metric.experiment not in kinds:
            raise RequestError(f"--metrics {metric.name}: this run has no {metric.experiment} experiment")
    declared = {metric.name: metric for metric in folder.metrics()}
    declared |= {metric.name: flow.declaration_of(metric) for metric in chosen}
    names = [metric.name for metric in chosen]
    with folder.locked():
        have_dataset(folder)
        say_damages(folder, progress)
        every = list(dict.fromkeys([*request["protocols"], *wanted]))
        facts = flow.protocol_facts(folder.read_spec(), every, request["n_cells"], n_test=request["n_test"])
        folder.update_request(metrics=list(declared.values()), **facts)
        forget_scores(folder, names, wanted)
        scored = run_scoring(folder, names, wanted, progress=progress)
        flow.present(folder, progress)
    show(folder, progress.console)
    files = [task.file(folder) for task in score_tasks(folder, chosen, wanted)]
    _show_costs(progress.console, filter(None, (readable_as(Score, file) for file in files)))
    lost = flow.lost_cells(folder)
    for file in lost:
        progress.say(f"not scored: {file} is missing or damaged")
    if lost:
        progress.say(f"draw these cells again with: bench run --resume {shlex.quote(str(folder.path))}")
    return flow.exit_code(folder) if scored and not lost else SOME_FAILED


def score_files(
    real: Path,
    train: Path,
    synthetic: Path,
    *,
    space: str,
    reading: dict[str, Any],
    cells: int | None,
    metrics: tuple[str, ...],
    protocols: tuple[str, ...],
) -> int:
    """Score cells made elsewhere against real cells; `reading` is `bench.scoring.outside.Reading` by name."""
    from bench.scoring.outside import Reading, score_outside_cells

    console = plain_console()
    wanted = [_known_protocol(name) for name in protocols] or ["strict"]
    chosen = [metric for metric in choose_metrics(metrics, "quick", wanted) if metric.experiment == "main"]
    if not chosen:
        raise RequestError(f"--metrics {','.join(metrics)}: it scores a retraining, not a file of cells")
    scores = score_outside_cells(
        real,
        train,
        synthetic,
        space=space,
        reading=Reading(**reading),
        cells=cells,
        metrics=chosen,
        protocols=wanted,
        say=Progress(console).say,
    )
    ideals = {metric.name: metric.ideal for metric in chosen}
    for name, under in groupby(scores, key=lambda score: score.protocol):
        _show_outside(console, f"{synthetic.name} against {real.name}", name, list(under), ideals)
    _show_costs(console, scores)
    return SOME_FAILED if any(score.failed for score in scores) else DONE


def _show_outside(
    console: Console, what: str, protocol: str, scores: list[Score], ideals: dict[str, float]
) -> None:
    table = Table(title=f"{what} · {scores[0].n_cells} cells a side · {protocol}")
    for column in ("metric", "value", "ideal", "note"):
        table.add_column(column)
    for score in scores:
        for number, (name, value) in enumerate(score.values.items() or [(score.metric, None)]):
            note = score.error or "; ".join(score.notes) if number == 0 else ""
            ideal = f"{ideals[score.metric]:g}" if number == 0 else ""
            table.add_row(name, "–" if value is None else f"{value:.4f}", ideal, note)
    console.print(table)


def _show_costs(console: Console, scores: Iterable[Score]) -> None:
    """Print what each metric took, and what the evidence took that they share."""
    seconds = {SHARED_COST: 0.0}
    for score in scores:
        seconds[score.metric] = seconds.get(score.metric, 0.0) + (score.seconds or 0.0)
        seconds[SHARED_COST] += score.shared_seconds or 0.0
    table = Table("metric", title=f"cost: {sum(seconds.values()):.1f} s", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("seconds", justify="right")
    for name in sorted(seconds, key=seconds.__getitem__, reverse=True):
        table.add_row(name, f"{seconds[name]:.1f}")
    console.print(table)


def _known_protocol(name: str) -> str:
    try:
        return protocol_named(name).name
    except ValueError as error:
        raise RequestError(f"--{error}") from error


def compare(path_a: Path, path_b: Path | None, *, models: tuple[str, ...] | None) -> int:
    """Print effect, interval and verdict: the same models in two runs, or two models of one run."""
    from reports.comparison import comparison
    from reports.comparison_table import print_comparison

    try:
        compared = comparison(_pairs(path_a, path_b, models))
    except ValueError as error:
        raise RequestError(f"compare {path_a}: {error}") from error
    if not compared:
        raise RequestError(f"compare {path_a}: no metric was scored for both on a common seed")
    print_comparison(compared, console=plain_console())
    return DONE


def _pairs(path_a: Path, path_b: Path | None, models: tuple[str, ...] | None) -> list[tuple[Side, Side]]:
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


def sample(
    path: Path, *, model: str, n_cells: int, cell_type: str | None, seed: int, out: Path, device: str
) -> int:
    """Draw cells from a stored model and write them, piece by piece."""
    from bench.work.sampling import sample_from_run

    console = plain_console()
    written = sample_from_run(
        RunFolder.open(path),
        model=model,
        n_cells=n_cells,
        cell_type=cell_type,
        seed=seed,
        out=out,
        device=flow.resolve_device(device),
        console=console,
    )
    rates = (written["sampling"] or {}).get("acceptance_rate") or {}
    words = "".join(f", {100 * rate:.2g} % of the draws accepted" for rate in rates.values())
    console.print(
        f"{n_cells} cells, {100 * written['density']:.1f} % non-zero{words} → {out}",
        soft_wrap=True,
    )
    return DONE


def speed(**options: Any) -> int:
    """Time generators on this machine; the options are those of `bench.speed.command.request`."""
    from bench.speed.command import carry_out, request

    found = carry_out(request(**options), plain_console())
    return SOME_FAILED if any("failed" in row for row in found["rows"]) else DONE


def test_metrics(
    *,
    data: dict[str, Any],
    metrics: tuple[str, ...],
    cells: int | None,
    out: Path | None,
    json: Path | None,
) -> int:
    """Make real cells worse and see which metrics notice; write the page of metrics if asked for."""
    from bench.scoring.selftest import page, run_self_test, testable_metrics
    from reports.selftest_results import SelfTest
    from reports.selftest_tables import print_self_test

    progress = Progress(plain_console())
    chosen = testable_metrics(metrics)
    spec = RunSpec.checked(**{name: value for name, value in data.items() if value is not None})
    prepared = flow.prepare_dataset(spec, None, progress)
    for note in prepared.notes:
        progress.say(f"note: {note}")
    adata = prepared.read()
    results = run_self_test(adata, chosen, cells=cells, progress=progress)
    print_self_test(SelfTest.model_validate(results), console=progress.console)
    if out is not None:
        try:
            write_text(out, page(results))
        except OSError as error:
            raise RequestError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error
    if json is not None:
        write_json(json, results)
    return DONE if results["passed"] else SOME_FAILED


def sync(path: Path) -> int:
    """Bring MLflow up to date with a run."""
    folder, console = open_whole(path), plain_console()
    result = flow.track(folder, folder.view(), Progress(console))
    if result is None:
        return SOME_FAILED
    counts = f"{result.created} new, {result.updated} updated, {result.unchanged} unchanged"
    console.print(f"MLflow      jobs: {counts} → {result.uri}", soft_wrap=True)
    return DONE


def ui(out: Path, *, port: int | None) -> int:
    """Show runs in MLflow's pages; being interrupted is how that ends."""
    from bench.tracking.ui import show

    with contextlib.suppress(KeyboardInterrupt):
        show(out, port=port, console=plain_console())
    return DONE


def test_model(model: str, *, settings: dict[str, dict[str, Any]], device: str) -> int:
    """Hold a generator to what it promises, and print the checklist."""
    from bench.promises import check_promises
    from bench.promises.table import print_checklist
    from bench.request.registry import resolve_model

    console = plain_console()
    name = resolve_model(model).name
    if unlike := [given for given in settings if given != name]:
        raise RequestError(f"--set {unlike[0]}: the model that is tested is {name}")
    progress = Progress(console)
    findings = check_promises(model, settings=settings.get(name), device=device, say=progress.say)
    print_checklist(name, findings, console)
    return SOME_FAILED if any(finding.status == "broken" for finding in findings) else DONE


def new_model(name: str, *, external: bool) -> int:
    """Write a new generator, and say what to do with it."""
    from bench.new_model import write_new_model

    console = plain_console()
    for path in write_new_model(name, Path(), external=external):
        console.print(str(path), soft_wrap=True)
    console.print(f"{name}/README.md says how to install, test and run it.")
    return DONE


def list_plugins(what: str) -> int:
    """Print what is installed."""
    groups = {"models": MODELS, "metrics": METRICS, "datasets": DATASETS}
    if what not in groups:
        raise RequestError(f"list {what!r}: choose from {', '.join(groups)}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    columns = {
        "models": ("role", "framework", "conditional", "space", "paper"),
        "metrics": ("default", "better", "ideal", "cost", "description"),
        "datasets": ("description", "reference"),
    }[what]
    for column in ("name", *columns):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "role", "framework", "space"))
    for name in plugins(groups[what]):
        try:
            plugin = load(groups[what], name)
        except RequestError as error:
            table.add_row(name, str(error))
            continue
        table.add_row(name, *(cell_text(getattr(plugin, column)) for column in columns))
    plain_console().print(table)
    return DONE


def show_hardware() -> int:
    """Print what this machine is."""
    from bench import hardware

    table = Table(title="this machine", show_header=False)
    for name, value in (hardware.describe() | hardware.load()).items():
        table.add_row(name, cell_text(value))
    plain_console().print(table)
    return DONE


def _carry_out(folder: RunFolder, progress: Progress) -> int:
    again = f"bench run --resume {shlex.quote(str(folder.path))}"
    try:
        code = flow.carry_out(folder, progress)
    except KeyboardInterrupt:
        progress.say(f"interrupted; go on with: {again}")
        raise
    except OSError as error:
        if not is_disk_full(error):
            raise
        progress.say(f"{NO_SPACE}; what was finished is kept: free some and go on with: {again}")
        code = SOME_FAILED
    show(folder, progress.console)
    return code


def show(folder: RunFolder, console: Console) -> None:
    """Print a run's table, and where everything lies."""
    from bench.tracking import ui_command
    from reports.console import print_report

    print_report(folder.view(), console=console)
    console.print(f"Run folder  {folder.path}", soft_wrap=True)
    console.print(f"MLflow      {ui_command(folder.path.parent)}", soft_wrap=True)


def _show_plan(console: Console, plan: flow.Draft) -> None:
    from bench.work.predict import Outlook, past

    outlook = Outlook(
        plan.jobs,
        shape=plan.train_shape,
        experiments={metric.name: metric.experiment for metric in plan.metrics},
        protocols=plan.spec.protocol,
        past=past(plan.spec.out, plan.machine["fingerprint"]),
    )
    n_train, n_genes = plan.train_shape
    table = Table(title=f"{plan.facts.name}: {n_train} training cells × {n_genes} genes, {plan.spec.profile}")
    for column in ("job", "budget", "device", "time", "memory", "disk"):
        table.add_column(column)
    for job in plan.jobs:
        cost = outlook.prediction(job)
        table.add_row(
            job.title,
            job.budget or "no training",
            job.device,
            "–" if cost.seconds is None else f"{cost.seconds:.0f} s",
            "–" if cost.peak_rss_bytes is None else f"{cost.peak_rss_bytes / GIB:.1f} GiB",
            "–" if cost.disk_bytes is None else f"{cost.disk_bytes / GIB:.2f} GiB",
        )
    console.print(table)
    whole, scoring = outlook.left_with(plan.jobs), outlook.scoring_left()
    console.print(
        f"Metrics: {', '.join(metric.name for metric in plan.metrics)}.\n"
        f"Scoring {scoring.as_cost}, the whole run {whole.as_cost}. Costs are scaled from earlier runs on "
        f"this machine, each Job from its start to its end; – means that none under {plan.spec.out} tells.",
    )


def cell_text(value: Any) -> str:
    """Write a value as a table's cell: nested ones a line for each part."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {cell_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(cell_text, value)) or "none"
    words = {True: "yes", False: "no", None: "–", "": "–"}
    return words[value] if isinstance(value, bool | str | None) and value in words else str(value)
