"""What generators leave to the machine, settled once: when a run is planned.

``python -P -m bench.work.settle REQUEST PARENT`` is the process that `settled` starts: with the environment
and the threads of a Job, so that what is measured there holds for the Job, and so that planning imports no
framework.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RequestError, named
from bench.hardware import usable_cores
from bench.hardware.environment import describe_for, worker_environment
from bench.request.hyperparameters import hyperparameters
from bench.results.run_folder import DamagedFile, read_json, write_json
from bench.work.processes import keep_output_for_answers, with_own_code
from models.base import AUTO, Generator, Settled

if TYPE_CHECKING:
    from bench.request.registry import ModelChoice
    from bench.request.spec import RunSpec


def settled(
    choice: ModelChoice, settings: dict[str, Any], *, n_genes: int, device: str
) -> dict[str, Settled]:
    """Return what takes the place of each hyper-parameter that is ``"auto"``, and why.

    It is remembered in the cache folder, under ``settled``, for the machine, the model's code, the settings
    that it looks at and the number of genes; deleting that folder has it settled anew.

    Parameters
    ----------
    choice
        The generator.
    settings
        Every hyper-parameter.
    n_genes
        Of the training cells.
    device
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    RequestError
        If the generator fails.
    """
    overridden = choice.generator.settle.__func__ is not Generator.settle.__func__  # type: ignore[attr-defined]
    if not overridden or AUTO not in settings.values():
        return {}
    looked_at = {name: settings[name] for name in choice.generator.settled_by or settings}
    request = {"reference": choice.reference, "settings": looked_at, "n_genes": n_genes, "device": device}
    memory = _memory(choice, request)
    try:
        found = read_json(memory)
    except (OSError, DamagedFile):
        found = _ask(choice.name, request)
        # A cache that cannot be written to costs only the time.
        with suppress(OSError):
            write_json(memory, found)
    return {name: Settled(*parts) for name, parts in found.items()}


def all_settled(
    spec: RunSpec, choices: Sequence[ModelChoice], *, n_genes: int, device: str
) -> dict[str, dict[str, Settled]]:
    """Return what `settled` does for each generator of a request, by its name."""
    return {
        choice.name: settled(
            choice,
            hyperparameters(choice.generator, spec.settings.get(choice.name)),
            n_genes=n_genes,
            device=device,
        )
        for choice in choices
    }


def _memory(choice: ModelChoice, request: dict[str, Any]) -> Path:
    """Return the file in which the answer to this request on this machine is kept."""
    from datasets import cache_folder

    machine = describe_for(request["device"], usable_cores())
    facts = [request, choice.source_hash, machine["fingerprint"], machine["versions"]]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return cache_folder() / "settled" / f"{key}.json"


def _ask(model: str, request: dict[str, Any]) -> dict[str, Any]:
    environment = with_own_code(worker_environment(request["device"], usable_cores()))
    command = [sys.executable, "-P", "-m", "bench.work.settle", json.dumps(request), str(os.getpid())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RequestError(named(model, RuntimeError(f"settings for this machine: {why}")))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: list[str]) -> int:
    """Answer one request on the standard output."""
    from bench.request.registry import resolve_model
    from bench.work.resources import die_with_parent

    die_with_parent(int(arguments[1]))
    answers = keep_output_for_answers()
    # As a Job's worker: the user's own modules are found, but shadow none of ours.
    sys.path.append(str(Path.cwd()))
    request = json.loads(arguments[0])
    generator = resolve_model(request["reference"]).generator
    found = generator.settle(request["settings"], n_genes=request["n_genes"], device=request["device"])
    json.dump(found, answers)
    answers.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
