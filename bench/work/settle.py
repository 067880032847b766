"""What generators leave to the machine, settled once: when a run is planned.

A process of `bench.work.serve` is asked, with the environment and the threads of a Job, so that what is
measured there holds for the Job, and so that planning imports no framework.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.errors import RequestError, named
from bench.hardware import usable_cores
from bench.hardware.environment import describe_for, worker_environment
from bench.request.hyperparameters import hyperparameters
from bench.request.registry import ModelChoice
from bench.request.spec import RunSpec
from bench.results.files import DamagedFile, read_json, write_json
from bench.work.lines import Server, WorkerFailed
from bench.work.processes import with_own_code
from models.base import AUTO, Generator, Settled


def settled(
    choice: ModelChoice, settings: dict[str, Any], *, n_genes: int, device: str, threads: int | None = None
) -> dict[str, Settled]:
    """Return what takes the place of each hyper-parameter that is ``"auto"``, and why.

    It is remembered in the cache folder, under ``settled``, for the machine, the model's code, the settings
    that it looks at and the number of genes; deleting that folder has it settled anew.

    Parameters
    ----------
    choice
        The generator whose settings are settled.
    settings
        All hyper-parameters by name.
    n_genes
        Number of genes of the training cells.
    device
        ``"cpu"`` or ``"cuda"``.
    threads
        Number of threads of the Job; None for as many as there are cores.

    Raises
    ------
    RequestError
        If the generator fails.
    """
    overridden = choice.generator.settle.__func__ is not Generator.settle.__func__  # type: ignore[attr-defined]
    if not overridden or AUTO not in settings.values():
        return {}
    looked_at = {name: settings[name] for name in choice.generator.settled_by or settings}
    request = {"model": choice.reference, "settings": looked_at, "n_genes": n_genes, "device": device}
    threads = threads or usable_cores()
    memory = _memory(choice, request, threads)
    try:
        found = read_json(memory)
    except (OSError, DamagedFile):
        found = _ask(choice.name, request, threads)
        # A cache that cannot be written to costs only the time.
        with suppress(OSError):
            write_json(memory, found)
    return {name: Settled(*parts) for name, parts in found.items()}


def all_settled(
    spec: RunSpec, choices: Sequence[ModelChoice], *, n_genes: int, device: str, threads: int | None = None
) -> dict[str, dict[str, Settled]]:
    """Return what `settled` does for each generator of a request, by its name."""
    return {
        choice.name: settled(
            choice,
            hyperparameters(choice.generator, spec.settings.get(choice.name)),
            n_genes=n_genes,
            device=device,
            threads=threads,
        )
        for choice in choices
    }


def _memory(choice: ModelChoice, request: dict[str, Any], threads: int) -> Path:
    """Return the file in which the answer to this request on this machine is kept."""
    from datasets import cache_folder

    machine = describe_for(request["device"], threads)
    facts = [request, choice.source_hash, machine["fingerprint"], machine["versions"]]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return cache_folder() / "settled" / f"{key}.json"


def _ask(model: str, request: dict[str, Any], threads: int) -> dict[str, Any]:
    environment = with_own_code(worker_environment(request["device"], threads))
    with TemporaryDirectory() as folder, Server(environment=environment, log=Path(folder) / "log") as server:
        try:
            server.greet()
            return server.ask("settle", parent=os.getpid(), **request)
        except WorkerFailed as error:
            raise RequestError(named(model, RuntimeError(f"settings for this machine: {error}"))) from error
