"""Going on with a run: only where what is added compares with what is there."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.errors import RequestError
from bench.hardware.environment import describe_for
from bench.request.choices import made
from bench.request.hyperparameters import hyperparameters
from bench.request.plan import Job
from bench.request.registry import resolve_model
from bench.request.sharing import Sharing
from bench.results.cells import is_sound
from bench.results.files import readable
from bench.results.records import versions
from bench.results.run_folder import RunFolder

HARDWARE = (
    "cpu_model",
    "cpu_features",
    "physical_cores",
    "logical_cores",
    "cpu_quota",
    "governor",
    "gpus",
    "driver",
)
"""What timings hang on, of `bench.hardware.describe`."""


def reopen(path: Path, *, elsewhere: bool = False) -> RunFolder:
    """Open a run to go on with it.

    Parameters
    ----------
    path
        Path of the run folder.
    elsewhere
        Whether the remaining Jobs are carried out on other machines.

    Raises
    ------
    RequestError
        If something is left to be timed here and it was begun on another machine or with other cores, if
        libraries are others or a model has changed since, or if its cells are lost.
    """
    run = RunFolder.open(path)
    jobs = run.jobs()
    if not elsewhere and any(job.is_timed and run.good_record(job) is None for job in jobs):
        _require_same_machine(run, jobs)
    require_same_software(run, jobs)
    have_dataset(run)
    return run


def _require_same_machine(run: RunFolder, jobs: Sequence[Job]) -> None:
    then, first_gpu = run.read_request()["hardware"], None
    # Where the GPUs that it shared out are not, the machine is another one, which is told below.
    with contextlib.suppress(RequestError):
        first_gpu = Sharing.of(run.read_spec(), device=jobs[0].device).first_gpu
    now = describe_for(jobs[0].device, jobs[0].threads, first_gpu)
    if then["fingerprint"] != now["fingerprint"]:
        raise RequestError(
            f"--resume {run.path}: {'; '.join(differences(then, now))}: timings would not compare: go on as "
            "it was begun, carry out what is left with bench job, which marks them, or start a new run"
        )


def require_same_software(run: RunFolder, jobs: Sequence[Job]) -> None:
    """Refuse to carry out Jobs of a run with other libraries or other code than it was planned with.

    Raises
    ------
    RequestError
        Naming the first difference.
    """
    request, installed = run.read_request(), version("scgenbench")
    before, today = request["versions"], versions()
    if (planned := request.get("bench_version", installed)) != installed:
        before, today = {"scgenbench": planned}, {"scgenbench": installed}
    for name in sorted(before.keys() | today.keys()):
        if before.get(name) != today.get(name):
            raise RequestError(
                f"{run.path}: begun with {name} {before.get(name)}, here it is {today.get(name)}: "
                "start a new run"
            )
    for job in jobs:
        choice = resolve_model(job.reference)
        generator = made(choice, hyperparameters(choice.generator, job.hyperparameters))
        if (choice.source_hash, generator.content()) != (job.source_hash, job.content):
            raise RequestError(f"{run.path}: {job.model} has changed since: start a new run")


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words what is unlike in two descriptions of a machine, `bench.hardware.describe`'s."""
    before, today = (
        {name.replace("_", " "): facts[name] for name in HARDWARE}
        | {"memory": f"{facts['memory_bytes'] / 2**30:.0f} GiB"}
        for facts in (then, now)
    )
    # Threads follow from cores: they are the cause only where nothing else is.
    return _unlike(before, today) or _unlike(then["threads"], now["threads"])


def _unlike(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"begun with {name} {_plain(then.get(name))}, here it is {_plain(now.get(name))}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _plain(value: Any) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return "none" if words in (None, "") else str(words)


def have_dataset(run: RunFolder) -> None:
    """Take the prepared cells from the cache again, should those of the run be missing or damaged.

    Raises
    ------
    RequestError
        If the cache holds no sound copy.
    """
    from datasets import cache_folder
    from datasets.cache import prepared_path, sha256_of
    from datasets.pipeline import is_whole

    request = run.read_request()
    checksum = request.get("dataset_sha256")
    if is_sound(run.dataset, checksum):
        return
    source = prepared_path(str(request["dataset"]["name"]), request["dataset_key"], cache_folder())
    if not is_whole(source):
        raise RequestError(
            f"{run.dataset} is missing or damaged, and the cache holds no copy: start a new run"
        )
    run.dataset.unlink(missing_ok=True)
    run.link_dataset(source)
    # Prepared anew, the same cells may lie in other bytes.
    if checksum not in (None, found := sha256_of(source)):
        run.update_request(dataset_sha256=found)


def damages(run: RunFolder) -> list[str]:
    """Return a line for each damaged file of a run that can be made again, and that counts as not there."""
    folders = [run.job_folder(job) for job in run.jobs()]
    records = [folder.record for folder in folders if folder.record.exists() and folder.read_record() is None]
    scores = [file for folder in folders for file in folder.damaged_scores()]
    augmenters = [file for file in sorted(run.baselines.glob("*.json")) if readable(file, "scores") is None]
    consequences = (
        (records, "its Job counts as not run; bench run --resume makes it again"),
        (scores, "this score counts as missing; bench score makes it again"),
        (augmenters, "its scores count as missing; bench score makes them again"),
    )
    return [f"{file} is damaged: {consequence}" for files, consequence in consequences for file in files]


def open_whole(path: Path) -> RunFolder:
    """Open a run for what must not do without a part of it.

    Raises
    ------
    RequestError
        If the folder is none, or a file of the run is damaged.
    """
    run = RunFolder.open(path)
    for line in damages(run):
        raise RequestError(line)
    return run
