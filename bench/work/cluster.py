"""Jobs on a Dask cluster: each is ``bench job``, in a process of its own beside some worker.

The workers see the run folder; a file in it, which lasts as long as the parent wants Jobs carried out, shows
that they do, and ends them when it goes. Records come back through the folder, not through Dask.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from bench.errors import DONE, SOME_FAILED, RequestError
from bench.progress import Progress, Stage
from bench.request.plan import Job
from bench.results.files import readable
from bench.results.run_folder import RunFolder
from bench.work.executor import good_record, words_of
from bench.work.processes import Stopped, run_worker

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

ADDRESS: Final = re.compile(r"\w+://.+:\d+")
CONNECT_SECONDS: Final = 10
LOOK_SECONDS: Final = 0.5


def require_scheduler(scheduler: str) -> None:
    """Raise a RequestError if no Dask scheduler answers at an address: before anything is written."""
    with _connected(scheduler):
        pass


def run_jobs_on(scheduler: str, run: RunFolder, jobs: Sequence[Job], *, progress: Progress) -> None:
    """Run every Job that has not ended well yet on the workers of a Dask cluster, and score its cells there.

    Parameters
    ----------
    scheduler
        Address of the cluster's scheduler, such as ``tcp://127.0.0.1:8786``.
    run, jobs
        The run, in a folder that all workers see, and its Jobs.
    progress
        Where it is shown.

    Raises
    ------
    RequestError
        If there is no such cluster, if it has no workers or none for these Jobs, if a worker does not see
        the folder or cannot import this package, or if the scheduler is lost.
    """
    with _connected(scheduler) as client, _token(run) as token:
        at_once = _check_workers(client, scheduler, token, jobs)
        progress.say(f"{len(client.nthreads())} Dask workers · {client.dashboard_link}")
        _note_crowds(run, at_once, progress)
        with progress.stage("training and scoring", total=len(jobs)) as stage:
            records = {job.key: good_record(run, job) for job in jobs}
            for job in jobs:
                if (record := records[job.key]) is not None:
                    stage.done(job.title, words_of(record))
            left = [job for job in jobs if records[job.key] is None]
            waiting = [(job, _submitted(client, run, job, token)) for job in left]
            while waiting:
                time.sleep(LOOK_SECONDS)
                # A client that lost its scheduler for a moment has called off all that it waited for.
                if client.status != "running" or any(future.cancelled() for _, future in waiting):
                    raise RequestError(f"--scheduler {scheduler}: lost; go on with --resume {run.path}")
                waiting = _still_waiting(run, waiting, stage)


def _still_waiting(
    run: RunFolder, waiting: Sequence[tuple[Job, Future[int]]], stage: Stage
) -> list[tuple[Job, Future[int]]]:
    """Show where Jobs are; return those that have not ended."""
    left = []
    for job, future in waiting:
        if future.done() and not future.cancelled():
            stage.done(job.title, _ending(run, job, future))
            continue
        left.append((job, future))
        if told := readable(run.job_folder(job).progress):
            stage.follow({"title": job.title, **told})
    return left


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    if not ADDRESS.fullmatch(scheduler):
        raise RequestError(f"--scheduler {scheduler!r} is no address: give one such as tcp://127.0.0.1:8786")
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
def _token(run: RunFolder) -> Iterator[Path]:
    token = run.path / f".{uuid4().hex}.token"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def _check_workers(client: Client, scheduler: str, token: Path, jobs: Sequence[Job]) -> Counter[str]:
    """Return how many Jobs go on at once on each host, if all workers can carry Jobs of this run out."""
    try:
        seen: dict[str, tuple[bool, bool]] = client.run(_seen, str(token))
    except ModuleNotFoundError as error:
        raise RequestError(f"--scheduler {scheduler}: its workers have other packages: {error}") from error
    if not seen:
        raise RequestError(f"--scheduler {scheduler}: it has no workers: start some with dask worker")
    if blind := [address for address, (sees, _) in seen.items() if not sees]:
        raise RequestError(
            f"--scheduler {scheduler}: worker {blind[0]} does not see {token.parent}: give --out a folder "
            "that all workers see"
        )
    if any(job.device == "cuda" for job in jobs) and not any(has_gpu for _, has_gpu in seen.values()):
        raise RequestError(
            f"--scheduler {scheduler}: no worker has a GPU to give: start one with --resources GPU=1"
        )
    at_once: Counter[str] = Counter()
    for address, threads in client.nthreads().items():
        at_once[address.rpartition(":")[0]] += threads
    return at_once


def _seen(token: str, dask_worker: Worker) -> tuple[bool, bool]:
    """Tell, on a worker, whether it sees a file, and whether it has a GPU to give."""
    return Path(token).exists(), "GPU" in dask_worker.state.total_resources


def _note_crowds(run: RunFolder, at_once: Counter[str], progress: Progress) -> None:
    """Note that times of Jobs that share a machine do not count, where they will."""
    crowded = [f"{n} Jobs at once on {host}" for host, n in at_once.items() if n > 1]
    if not crowded:
        return
    note = f"{', '.join(crowded)}: they disturb each other's times (dask worker --nthreads 1)"
    progress.say(f"note: {note}")
    dataset = run.read_request()["dataset"]
    if note not in dataset["notes"]:
        run.update_request(dataset=dataset | {"notes": [*dataset["notes"], note]})


def _submitted(client: Client, run: RunFolder, job: Job, token: Path) -> Future[int]:
    return client.submit(
        carry_out,
        str(run.path),
        job.key,
        str(token),
        # Two runs of the same cells have Jobs of the same key, and none shares a task with another.
        key=f"{job.title} · {job.key} · {token.stem}",
        resources={"GPU": 1} if job.device == "cuda" else None,
        pure=False,
    )


def carry_out(run: str, key: str, token: str) -> int:
    """Carry out a Job and score its cells: what a Dask worker is asked for.

    Parameters
    ----------
    run, key
        The run folder, and the Job's key.
    token
        A file; when it is gone, nobody waits for the Job any longer.

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
    code = run_worker(command, log=_log(Path(run), key), timeout=None, on_poll=wanted).returncode
    if code not in (DONE, SOME_FAILED):
        raise RuntimeError(f"bench job ended with code {code}")
    return code


def _ending(run: RunFolder, job: Job, future: Future[int]) -> str:
    """Say how a Job ended: what its Record says, or why it has none."""
    record = run.job_folder(job).read_record()
    if record is not None and future.status == "finished":
        return words_of(record)
    # Dask gives up on what several workers died under.
    why = future.exception() if future.status == "error" else f"the task was {future.status}"
    return f"not carried out: {why}; see {_log(run.path, job.key)}"


def _log(run: Path, key: str) -> Path:
    return run / f"cluster-{key}.log"
