"""Start the processes that ask, and gather what they tell."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.hardware import usable_cores
from bench.hardware.environment import worker_environment
from bench.promises.findings import NOT_REACHED, Finding
from bench.promises.promises import LOADED, STAGES
from bench.request.choices import made
from bench.request.hyperparameters import hyperparameters
from bench.request.registry import resolve_model
from bench.results.files import write_json
from bench.work.processes import Outcome, run_worker
from bench.work.settle import settled
from models.base import Generator

CELLS: Final = "synthetic:1200x100x3"
"""As many as make a hundred test cells, from which on copies can be told from chance."""
LIMIT_SECONDS: Final = 600.0


def check_promises(
    model: str | type[Generator],
    *,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    limit_seconds: float = LIMIT_SECONDS,
    say: Callable[[str], None] = lambda words: None,
) -> list[Finding]:
    """Hold a generator to every promise of `models.base.Generator`, on tiny cells.

    Parameters
    ----------
    model
        A registered name, ``file.py:Class``, ``module:Class``, or the class.
    settings
        Hyper-parameters that replace the defaults.
    device
        ``"cpu"`` or ``"cuda"``.
    limit_seconds
        Wall-clock limit of each of the two processes, in seconds.
    say
        Function that reports what is being done, in words.

    Returns
    -------
    list of Finding
        One for each promise.

    Raises
    ------
    RequestError
        If there is no such model, or it knows no such hyper-parameter.
    """
    import datasets

    choice = resolve_model(model)
    values = hyperparameters(choice.generator, dict(settings or {}))
    say("drawing tiny cells")
    prepared = datasets.prepare(CELLS)
    adata = prepared.read()
    on_this_machine = settled(choice, values, n_genes=adata.n_vars, device=device)
    values |= {name: value for name, (value, _) in on_this_machine.items()}
    made(choice, values)
    with tempfile.TemporaryDirectory(prefix="bench-test-") as name:
        folder = Path(name)
        shutil.copyfile(prepared.path, folder / "cells.h5ad")
        types = adata.obs["cell_type"].astype(str)
        write_json(folder / "facts.json", {"genes": list(adata.var_names), "cell_types": sorted(set(types))})
        write_json(
            folder / "request.json", {"reference": choice.reference, "settings": values, "device": device}
        )
        say("training and asking")
        findings = list(_stage(folder, "train", device, limit_seconds))
        (folder / "cells.h5ad").unlink()
        # Written at the end of the first process: it may have died in the middle of `save`.
        if (folder / "model").is_dir() and (folder / "digests.json").exists():
            say("loading in another process")
            return [*findings, *_stage(folder, "load", device, limit_seconds)]
        why = findings[-1].told if findings[-1].status == "not asked" else NOT_REACHED
        return [*findings, *(Finding(promise.words, "not asked", why) for promise in LOADED)]


def broken_promises(model: str | type[Generator], **options: Any) -> list[str]:
    """Return what a generator does not keep, a line each, for a test of your own.

    >>> assert broken_promises("mine.py:MyGenerator") == []  # doctest: +SKIP

    Parameters
    ----------
    model, **options
        The generator, and the keyword arguments of `check_promises`.
    """
    findings = check_promises(model, **options)
    return [f"{f.promise}: {f.told}: {f.remedy}" for f in findings if f.status == "broken"]


def _stage(folder: Path, stage: str, device: str, limit_seconds: float) -> Iterator[Finding]:
    """Run one process and yield a finding for each of its promises."""
    log = folder / f"{stage}.log"
    command = ["bench.promises.worker", str(folder), stage]
    environment = worker_environment(device, usable_cores())
    ended = run_worker(command, log=log, timeout=limit_seconds, on_poll=lambda: None, environment=environment)
    answers = folder / f"{stage}.jsonl"
    lines = answers.read_text(encoding="utf-8").splitlines() if answers.exists() else []
    told = {line["promise"]: line for line in map(json.loads, lines) if "promise" in line}
    cut_short, why = False, NOT_REACHED
    for promise in STAGES[stage]:
        if promise.words in told:
            finding = Finding(**told[promise.words])
            if promise.needed and finding.status == "not asked":
                why = finding.told
            yield finding
        elif not cut_short and ended.returncode != 0:
            cut_short = True
            yield Finding(promise.words, "broken", _how(ended, limit_seconds, log), promise.remedy)
        else:
            yield Finding(promise.words, "not asked", why)


def _how(ended: Outcome, limit_seconds: float, log: Path) -> str:
    """Say how a process ended that did not end well."""
    if ended.timed_out:
        return f"it took longer than {limit_seconds:.0f} s"
    if ended.signal_name:
        return f"the process was ended by {ended.signal_name}"
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word"])[-1]
    return f"the process ended with exit code {ended.returncode}: {last}"
