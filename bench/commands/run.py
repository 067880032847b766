"""``bench run``: train, sample, time and score, or show what that will cost."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.commands.options import DryRun, Metrics, Protocol, Run, names_of, reads_data
from bench.commands.screen import show
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED, RequestError
from bench.progress import Progress

if TYPE_CHECKING:
    from bench.draft import Draft
    from bench.request.papers import Beside
    from bench.request.spec import RunSpec
    from bench.results.run_folder import RunFolder
    from bench.work.hands import Hands
    from bench.work.predict import Outlook


@reads_data()
def run(
    *,
    models: Annotated[
        str | None,
        typer.Option(help="Names, file.py:Class or module:Class, by commas; cheats; all: what is installed."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Name, .h5ad, .zarr, 10x .h5, mtx folder, synthetic:CELLSxGENES[xTYPES]."),
    ] = None,
    reading: dict[str, Any],
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
    metric_timeout: Annotated[
        str | None, typer.Option(help="Wall-clock limit of each score, such as 15min (default: 1h).")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="What cells may take of memory, such as 4GB; others stay on disk.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for run folders (default: runs).")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Who carries out the Jobs: slurm, or Dask at tcp://HOST:PORT.")
    ] = None,
    resources: Annotated[
        str | None, typer.Option(help="Of a Job on a cluster, such as memory=8GB,activa:memory=16GB,cores=2.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="So many Jobs at once here; what they take is then not told.")
    ] = None,
    gpus: Annotated[
        str | None, typer.Option(help="A Job on each GPU at once: how many (2), which (0,1), or all.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.")] = None,
    dry_run: DryRun = False,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Write the run folder, and print a command for each Job.")
    ] = False,
) -> int:
    """Train, sample, time and score generators beside controls."""
    from bench.request import spec

    given = reading | {
        "models": names_of("models", models),
        "dataset": dataset,
        "profile": profile,
        "budget": budget and spec.parse_budgets(budget),
        "seeds": seeds and spec.parse_seeds("seeds", seeds),
        "sample_seeds": sample_seeds and spec.parse_seeds("sample-seeds", sample_seeds),
        "settings": spec.parse_settings(set_) if set_ else None,
        "metrics": names_of("metrics", metrics),
        "protocol": names_of("protocol", protocol),
        "cells": cells,
        "device": device,
        "hardware": hardware,
        "timeout": timeout and spec.parse_duration("timeout", timeout),
        "metric_timeout": metric_timeout and spec.parse_duration("metric-timeout", metric_timeout),
        "memory": memory,
        "out": out,
    }
    given = {name: value for name, value in given.items() if value is not None}
    shared = {name: value for name, value in {"jobs": jobs, "gpus": gpus}.items() if value is not None}
    hands = _hands(scheduler, resources, shared)
    if resume is not None:
        if given or config or dry_run or plan_only:
            raise RequestError("--resume takes the whole request from the run folder: give no other option")
        return _resume(resume, hands, shared)
    if plan_only and scheduler:
        raise RequestError("--plan-only carries nothing out: give --scheduler to --resume")
    if not dry_run:
        hands.require()
    stored = {} if config is None else spec.read_config(config)
    cores = hands.resources.general.cores
    asked = {} if cores is None else {"threads": cores}
    request = spec.RunSpec.checked(**(stored | given | shared | asked))
    if scheduler and (request.jobs > 1 or request.gpus):
        raise _of_this_machine("jobs" if request.jobs > 1 else "gpus", scheduler)
    if plan_only and not dry_run:
        return _plan(request)
    return begin(request, dry_run=dry_run, hands=hands)


def _hands(scheduler: str | None, resources: str | None, shared: dict[str, Any]) -> Hands:
    """Return who carries out the Jobs, as far as the options say."""
    from bench.request.resources import Requested
    from bench.work.hands import Hands
    from bench.work.slurm import SLURM

    if scheduler and shared:
        raise _of_this_machine(next(iter(shared)), scheduler)
    if resources is None:
        return Hands(scheduler)
    if scheduler is None:
        raise RequestError(f"--resources {resources} is what Jobs ask a cluster for: give --scheduler, too")
    return Hands(scheduler, Requested.parse(resources, on_slurm=scheduler == SLURM))


def _of_this_machine(option: str, scheduler: str) -> RequestError:
    return RequestError(f"--{option} is for Jobs on this machine: leave it out with --scheduler {scheduler}")


def begin(spec: RunSpec, *, dry_run: bool, beside: Beside | None = None, hands: Hands | None = None) -> int:
    """Carry out a request, or show what it will cost.

    Parameters
    ----------
    spec
        The request.
    dry_run
        Whether to show the Jobs only.
    beside
        What a run of papers needs in addition to its request; None for other runs.
    hands
        Who carries out the Jobs; None for this machine.
    """
    from bench import flow
    from bench.draft import draft
    from bench.work.hands import HERE

    progress = Progress(plain_console())
    plan = draft(spec, progress=progress, beside=beside)
    hands = hands or HERE
    hands.resources.require_for(plan.jobs)
    if dry_run:
        _show_plan(progress.console, plan)
        return DONE
    folder = flow.start(plan)
    progress.say(f"{len(plan.jobs)} jobs → {folder.path}")
    if beside is not None:
        progress.say(_hours(plan))
    return _carry_out(folder, progress, hands)


def _plan(request: RunSpec) -> int:
    """Write the folder of a run that others carry out, and tell how: a command a line, for any engine."""
    from bench import flow
    from bench.draft import draft

    progress = Progress(plain_console(stderr=True))
    folder = flow.start(draft(request, progress=progress))
    home = shlex.quote(str(folder.path))
    for job in folder.jobs():
        plain_console().print(f"python -m bench job {home} {job.key}", soft_wrap=True)
    progress.say(f"when these have ended, in any order: python -m bench run --resume {home}")
    return DONE


def job(
    run: Run,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of the Job, as --plan-only prints it.")],
    *,
    score: Annotated[bool, typer.Option("--score", help="Score its cells, too.")] = False,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Process that this one ends with.")] = None,
) -> int:
    """Carry out one Job of RUN, on this machine: for engines that start such commands on many."""
    from bench import flow
    from bench.results.run_folder import RunFolder
    from bench.work.resources import die_with_parent

    if parent is not None:
        die_with_parent(parent)
    return flow.carry_out_job(RunFolder.open(run), key, score=score, progress=Progress(plain_console()))


def _resume(path: Path, hands: Hands, shared: dict[str, Any]) -> int:
    """Go on with a run: Jobs that ended well are not repeated. They share this machine as is said now."""
    from dataclasses import replace

    from bench.request.sharing import Sharing
    from bench.request.spec import RunSpec
    from bench.results.reopen import damages, reopen

    folder, progress = reopen(path, elsewhere=hands.scheduler is not None), Progress(plain_console())
    if shared:
        planned = folder.jobs()
        asked = RunSpec.checked(**({"jobs": 1, "gpus": None} | shared))
        sharing = Sharing.of(asked, device=planned[0].device)
        sharing.require_cores(planned[0].threads)
        sharing.require_budgets({job.model: job.budget for job in planned})
        hands = replace(hands, sharing=sharing)
    for line in damages(folder):
        progress.say(line)
    return _carry_out(folder, progress, hands)


def _carry_out(folder: RunFolder, progress: Progress, hands: Hands) -> int:
    from bench import flow
    from bench.results.disk import NO_SPACE, is_disk_full
    from bench.work.interrupts import heed_termination

    if hands.scheduler is not None:
        heed_termination()
    again = f"bench run --resume {shlex.quote(str(folder.path))}"
    try:
        code = flow.carry_out(folder, progress, hands=hands)
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


def _hours(plan: Draft) -> str:
    """Say how long a run will take: what its budgets make certain, and what earlier runs tell."""
    from models.base import Budget
    from reports.words import duration

    budgets = [Budget.parse(job.budget) for job in plan.jobs if job.budget is not None]
    seconds = sum(budget.amount for budget in budgets if budget.unit == "seconds")
    by_budget = f", {duration(seconds)} by their budgets" if seconds else ""
    trainings = "1 training" if len(budgets) == 1 else f"{len(budgets)} trainings"
    return f"{trainings}{by_budget}; the whole run: {_outlook(plan).left_with(plan.jobs).as_cost}"


def _outlook(plan: Draft) -> Outlook:
    from bench.work.predict import Outlook, past

    return Outlook(
        plan.jobs,
        shape=plan.train_shape,
        experiments={metric.name: metric.experiment for metric in plan.metrics},
        protocols=plan.spec.protocol,
        only_under=plan.beside and plan.beside.only_under,
        past=past(plan.spec.out, plan.machine["fingerprint"]),
    )


def _show_plan(console: Console, plan: Draft) -> None:
    outlook = _outlook(plan)
    n_train, n_genes = plan.train_shape
    title = f"{plan.facts.name}: {n_train} training cells × {n_genes} genes, {plan.spec.profile}"
    table = Table("job", "budget", "device", "time", "memory", "disk", title=title)
    for job in plan.jobs:
        cost = outlook.prediction(job)
        table.add_row(
            job.title,
            job.budget or "no training",
            job.device,
            "–" if cost.seconds is None else f"{cost.seconds:.0f} s",
            "–" if cost.peak_rss_bytes is None else f"{cost.peak_rss_bytes / 2**30:.1f} GiB",
            "–" if cost.disk_bytes is None else f"{cost.disk_bytes / 2**30:.2f} GiB",
        )
    console.print(table)
    whole, scoring = outlook.left_with(plan.jobs), outlook.scoring_left()
    console.print(
        f"Metrics: {', '.join(metric.name for metric in plan.metrics)}.\n"
        f"Scoring {scoring.as_cost}, the whole run {whole.as_cost}. Costs are scaled from earlier runs on "
        f"this machine, each Job from its start to its end; – means that none under {plan.spec.out} tells."
    )
