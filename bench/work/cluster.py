"""Jobs on other machines: each is ``bench job``, in a process of its own. Here: beside some worker of Dask.

They see the run folder; a file in it, which lasts as long as the parent wants Jobs carried out, shows
that they do, and ends them when it goes. Records come back through the folder, not through Dask.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import uuid4

from bench.errors import DONE, SOME_FAILED, RequestError
from bench.progress import Progress, Stage
from bench.request.plan import Job
from bench.request.resources import Requested, Resources
from bench.results.files import readable
from bench.results.run_folder import RunFolder
from bench.work.executor import words_of
from bench.work.processes import Stopped, run_worker

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

Task = TypeVar("Task")
ADDRESS: Final = re.compile(r"\w+://.+:\d+")
CONNECT_SECONDS: Final = 10
LOOK_SECONDS: Final = 0.5


def require_scheduler(scheduler: str) -> None:
    """Raise a RequestError if no Dask scheduler answers at an address: before anything is written."""
    with _connected(scheduler):
        pass


def run_jobs_on(
    scheduler: str, requested: Requested, run: RunFolder, jobs: Sequence[Job], *, progress: Progress
) -> None:
    """Run every Job that has not ended well yet on the workers of a Dask cluster, and score its cells there.

    Parameters
    ----------
    scheduler
        Address of the cluster's scheduler, such as ``tcp://127.0.0.1:8786``.
    requested
        Resources that the Jobs ask for.
    run, jobs
        The run, in a folder that all workers see, and its Jobs.
    progress
        Display of the progress.

    Raises
    ------
    RequestError
        If there is no such cluster, if it has no workers or none that offers what a Job asks for, if a worker
        does not see the folder or cannot import this package, or if the scheduler is lost.
    """
    with _connected(scheduler) as client, token_of(run) as token:
        offers = _offers(client, scheduler, token)
        progress.say(f"{len(offers)} Dask workers · {client.dashboard_link}")
        _say_crowds(client, progress)
        with progress.stage("training and scoring", total=len(jobs)) as stage:
            left = [(job, _wanted(requested.of(job), job)) for job in left_of(run, jobs, stage)]
            _require_offers(scheduler, left, offers)
            waiting = [(job, _submitted(client, run, job, token, wanted)) for job, wanted in left]
            there = True
            while waiting:
                time.sleep(LOOK_SECONDS)
                # A client that lost its scheduler for a moment has called off all that it waited for.
                if client.status != "running" or any(future.cancelled() for _, future in waiting):
                    raise RequestError(f"--scheduler {scheduler}: lost; go on with --resume {run.path}")
                waiting = still_waiting(run, waiting, stage, _ending)
                there = _told_of_workers(client, there, progress)


def left_of(run: RunFolder, jobs: Sequence[Job], stage: Stage) -> list[Job]:
    """Show the Jobs that have ended well, and return the others."""
    records = {job.key: run.good_record(job) for job in jobs}
    for job in jobs:
        if (record := records[job.key]) is not None:
            stage.done(job.title, words_of(record))
    return [job for job in jobs if records[job.key] is None]


def still_waiting(
    run: RunFolder,
    waiting: Sequence[tuple[Job, Task]],
    stage: Stage,
    ending: Callable[[RunFolder, Job, Task], str | None],
) -> list[tuple[Job, Task]]:
    """Show where Jobs are; return those that have not ended.

    Parameters
    ----------
    run, waiting, stage
        The run; the Jobs that wait, each with its task on the cluster; the stage that shows them.
    ending
        Function that describes in a few words how a Job ended, or returns None if it has not.
    """
    left = []
    for job, task in waiting:
        if (words := ending(run, job, task)) is not None:
            stage.done(job.title, words)
            continue
        left.append((job, task))
        if told := readable(run.job_folder(job).progress):
            stage.follow({"title": job.title, **told})
    return left


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    if not ADDRESS.fullmatch(scheduler):
        raise RequestError(
            f"--scheduler {scheduler!r} is no address: give one such as tcp://127.0.0.1:8786, or slurm"
        )
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise RequestError(
            f"--scheduler {scheduler}: Dask is not installed: pip install 'scgenbench[cluster]', or "
            "'.[cluster]' in a checkout"
        ) from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RequestError(f"--scheduler {scheduler}: no Dask scheduler answers there: {error}") from error
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_SECONDS)


@contextlib.contextmanager
def token_of(run: RunFolder) -> Iterator[Path]:
    """Keep a file in the run folder for as long as somebody waits for Jobs."""
    token = run.path / f".{uuid4().hex}.token"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def _offers(client: Client, scheduler: str, token: Path) -> dict[str, Mapping[str, float]]:
    """Return what each worker offers, by its address, if all can carry Jobs of this run out."""
    try:
        seen: dict[str, tuple[bool, dict[str, float]]] = client.run(_seen, str(token))
    except ModuleNotFoundError as error:
        raise RequestError(f"--scheduler {scheduler}: its workers have other packages: {error}") from error
    if not seen:
        raise RequestError(f"--scheduler {scheduler}: it has no workers: start some with dask worker")
    if blind := [address for address, (sees, _) in seen.items() if not sees]:
        raise RequestError(
            f"--scheduler {scheduler}: worker {blind[0]} does not see {token.parent}: give --out a folder "
            "that all workers see"
        )
    return {address: offered for address, (_, offered) in seen.items()}


def _seen(token: str, dask_worker: Worker) -> tuple[bool, dict[str, float]]:
    """Tell, on a worker, whether it sees a file, and what it offers."""
    return Path(token).exists(), dict(dask_worker.state.total_resources)


def _wanted(resources: Resources, job: Job) -> dict[str, int]:
    """Return what a Job takes of what its worker offers, by the names that Dask's own pages use."""
    wanted = {"GPU": resources.gpus_of(job), "MEMORY": resources.memory_bytes, "CORES": resources.cores}
    return {name: amount for name, amount in wanted.items() if amount}


def _require_offers(
    scheduler: str, jobs: Sequence[tuple[Job, Mapping[str, int]]], offers: Mapping[str, Mapping[str, float]]
) -> None:
    """Raise a RequestError if there is a Job of which no worker offers all that it asks for."""
    for job, wanted in jobs:
        lacking = [
            {name: amount for name, amount in wanted.items() if offered.get(name, 0) < amount}
            for offered in offers.values()
        ]
        if least := min(lacking, key=len):
            raise RequestError(
                f"--scheduler {scheduler}: no worker offers all that {job.title} asks for, "
                f"{_in_words(least)} is missing: start one with dask worker {scheduler} --resources "
                f'"{_in_words(wanted)}"'
            )


def _in_words(amounts: Mapping[str, int]) -> str:
    """Write amounts as ``dask worker --resources`` reads them."""
    return " ".join(
        f"{name}={n // 10**9}e9" if n % 10**9 == 0 else f"{name}={n}" for name, n in amounts.items()
    )


def _told_of_workers(client: Client, there: bool, progress: Progress) -> bool:
    """Tell whether there are workers, and say so if all have gone since there were some."""
    # The client asks now and then without the workers themselves, which would be taken for the answer.
    now = client.scheduler_info(n_workers=0)["n_workers"] > 0
    if there and not now:
        progress.say("no Dask workers left: waiting for one to join; Ctrl-C ends this, --resume goes on")
    return now


def _say_crowds(client: Client, progress: Progress) -> None:
    """Say that what Jobs take that share a machine will not be told (`bench.work.beside`)."""
    at_once: Counter[str] = Counter()
    for address, threads in client.nthreads().items():
        at_once[address.rpartition(":")[0]] += threads
    if crowded := [f"{n} Jobs at once on {host}" for host, n in at_once.items() if n > 1]:
        progress.say(f"note: {', '.join(crowded)}: beside each other they are not timed (--nthreads 1)")


def _submitted(
    client: Client, run: RunFolder, job: Job, token: Path, wanted: Mapping[str, int]
) -> Future[int]:
    return client.submit(
        carry_out,
        str(run.path),
        job.key,
        str(token),
        # Two runs of the same cells have Jobs of the same key, and none shares a task with another.
        key=f"{job.title} · {job.key} · {token.stem}",
        resources=dict(wanted) or None,
        pure=False,
    )


def carry_out(run: str, key: str, token: str) -> int:
    """Carry out a Job and score its cells: what another machine is asked for.

    Parameters
    ----------
    run, key
        The run folder, and the Job's key.
    token
        File that exists for as long as somebody waits for the Job.

    Returns
    -------
    int
        The exit code of ``bench job``, 0 or 1.

    Raises
    ------
    RuntimeError
        If it refused to carry out the Job, or was killed.
    Stopped
        If nobody waits for the Job, or this worker does not see the folder.
    """

    def wanted() -> None:
        if not Path(token).exists():
            raise Stopped(f"{token} is not seen: the run has ended, or this worker does not see its folder")

    wanted()
    command = ["bench", "job", run, key, "--score", "--parent"]
    code = run_worker(command, log=log_of(Path(run), key), timeout=None, on_poll=wanted).returncode
    if code not in (DONE, SOME_FAILED):
        raise RuntimeError(f"bench job ended with code {code}")
    return code


def _ending(run: RunFolder, job: Job, future: Future[int]) -> str | None:
    """Say how a Job ended: what its Record says, or why it has none."""
    # One that a lost connection called off has not.
    if not future.done() or future.cancelled():
        return None
    record = run.job_folder(job).read_record()
    if record is not None and future.status == "finished":
        return words_of(record)
    # Dask gives up on what several workers died under.
    why = future.exception() if future.status == "error" else f"the task was {future.status}"
    return f"not carried out: {why}; see {log_of(run.path, job.key)}"


def log_of(run: Path, key: str) -> Path:
    """Return the file that takes what a Job's process on another machine prints."""
    return run / f"cluster-{key}.log"
