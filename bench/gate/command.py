"""``bench gate``: what is compared with what, and where the outcome goes."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from bench.errors import DONE, RequestError
from bench.flow import exit_code
from bench.gate.baseline import DEFAULT, Baseline, acceptance
from bench.gate.benchmark_files import compare_files, is_benchmark_file
from bench.gate.counts import accepted_counts, check_counts
from bench.gate.findings import Outcome, markdown, print_outcome, workflow_commands
from bench.gate.quality import accepted_quality, compare_quality, quality_of
from bench.gate.wall_clock import time_models
from bench.hardware.environment import resolve_device
from bench.request.registry import resolve_model
from bench.results.reopen import open_whole

YARDSTICK = ("activa",)


def gate(
    baseline: str,
    *,
    current: str | None,
    models: tuple[str, ...],
    factor: float,
    device: str,
    seed: int,
    markdown_file: Path | None,
    console: Console,
) -> int:
    """Compare, show, and return the exit code.

    Parameters
    ----------
    baseline
        A stored baseline (``.json``: counts, and with a run its scores), a run folder (scores), files of
        pytest-benchmark by commas, else a git reference or a checkout (wall clock).
    current
        A run folder, or files of pytest-benchmark by commas.
    models
        Models that are timed or counted; empty for activa, with a stored baseline for all that it holds.
    factor, device, seed
        Smallest slowdown that is a regression, device, and seed of the order within pairs: wall clock alone.
    markdown_file
        File for the outcome as Markdown, or None.
    console
        The terminal that the outcome is printed to.

    Raises
    ------
    RequestError
        If a request cannot be.
    """
    if factor <= 1:
        raise RequestError(f"--factor {factor:g}: give a slowdown above 1, such as 1.10")
    files = baseline.split(",")
    if Path(baseline, "plan.json").exists():
        found = _compare_runs(baseline, current)
    elif not all(name.endswith(".json") for name in files):
        if current is not None:
            raise RequestError(
                f"--current {current}: goes with a stored baseline, a run or benchmark files, "
                f"which {baseline!r} is not"
            )
        on, chosen = resolve_device(device), models or YARDSTICK
        found = time_models(baseline, chosen, device=on, factor=factor, seed=seed, say=console.print)
    elif len(files) > 1 or (Path(baseline).exists() and is_benchmark_file(Path(baseline))):
        if current is None:
            raise RequestError("--baseline names benchmark files: give those to compare with --current")
        found = compare_files([*map(Path, files)], [*map(Path, current.split(","))], factor=factor)
    else:
        found = _check_stored(Path(baseline), current, models)
    print_outcome(found, console=console)
    write_outputs(found, markdown_file=markdown_file, environment=os.environ)
    return found.exit_code


def accept(
    baseline: str, *, reason: str | None, current: str | None, models: tuple[str, ...], console: Console
) -> int:
    """Store what is measured now as the baseline, with the reason.

    Raises
    ------
    RequestError
        Without a reason, or if a model or the run is not to be had, or something of the run failed.
    """
    if not (reason and reason.strip()):
        raise RequestError("--accept wants --reason: say in a few words why these numbers are right")
    path = Path(baseline)
    if not baseline.endswith(".json"):
        raise RequestError(f"--accept: --baseline {baseline!r} is no file to store in, such as {DEFAULT}")
    stored = Baseline.read(path) if path.exists() else Baseline()
    accepted = {"accepted": acceptance(reason.strip())}
    # Scores are accepted for themselves: to count again beside them would accept a count unseen.
    counted = models or (() if current is not None else tuple(stored.counts) or YARDSTICK)
    if current is not None:
        run = open_whole(Path(current))
        if exit_code(run) != DONE:
            raise RequestError(f"--current {current}: a Job or a score of it failed; accept a whole run")
        for title, scores in accepted_quality(run).items():
            stored.quality[title] = accepted | scores
            console.print(f"{title}: {len(scores['metrics'])} scores accepted", highlight=False)
    for model in counted:
        kept = stored.counts.get(model, {}).get("settings") or {}
        known = inspect.signature(resolve_model(model).generator).parameters
        settings = {name: value for name, value in kept.items() if name in known}
        stored.counts[model] = accepted | accepted_counts(model, settings)
        console.print(f"{model}: {len(stored.counts[model]['counts'])} counts accepted", highlight=False)
    stored.write(path)
    console.print(f"→ {path}", highlight=False)
    return DONE


def write_outputs(outcome: Outcome, *, markdown_file: Path | None, environment: Mapping[str, str]) -> None:
    """Write the file that was asked for, and tell GitHub if this is one of its machines."""
    if markdown_file is not None:
        markdown_file.write_text(markdown(outcome), encoding="utf-8")
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown(outcome))
    if environment.get("GITHUB_ACTIONS"):
        # Not through Rich, which would break the lines.
        for line in workflow_commands(outcome):
            print(line)  # noqa: T201


def _compare_runs(baseline: str, current: str | None) -> Outcome:
    if current is None:
        raise RequestError(f"--baseline {baseline} is a run: give the run to compare with --current")
    stored, found = (quality_of(open_whole(Path(run))) for run in (baseline, current))
    remedy = f"score both anew: bench score {shlex.quote(baseline)}; bench score {shlex.quote(current)}"
    return compare_quality(stored, found, remedy=remedy)


def _check_stored(path: Path, current: str | None, models: tuple[str, ...]) -> Outcome:
    stored = Baseline.read(path)
    outcome = check_counts(stored, models)
    if current is not None:
        where = f"--baseline {shlex.quote(str(path))} --current {shlex.quote(current)}"
        again = f"bench gate {where} --accept --reason 'other metric code'"
        remedy = f"accept scores of today's code with {again}"
        found = quality_of(open_whole(Path(current)))
        outcome.extend(compare_quality(stored.quality, found, remedy=remedy))
    return outcome
