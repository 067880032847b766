"""Jobs of a run that are at work on one machine at the same time, whoever starts them: each notes the others.

What such Jobs take says nothing of one that is alone. A Job that is at work holds a lock, which ends with its
process, and tells beside it where; one that begins looks for the others, and notes itself with them and them
with itself. What is noted stays as long as what was trained meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from filelock import Timeout

from bench.hardware import machine_id
from bench.hardware.gpus import gpu_uuids
from bench.request.plan import Job
from bench.results.files import readable, write_json
from bench.results.run_folder import JobFolder, RunFolder


@contextmanager
def at_work(
    run: RunFolder, job: Job, environment: Mapping[str, str], *, scores: bool = False
) -> Iterator[None]:
    """Be seen at work on a Job, and note it in its folder, and those of the others, wherever they disturb it.

    Parameters
    ----------
    run, job
        The run, and the Job that begins.
    environment
        Environment variables of the Job's process, which determine the GPUs available to it.
    scores
        Whether the Job's cells are only scored, which disturbs other Jobs but is not noted for this one.
    """
    folder = run.job_folder(job)
    gpus = gpu_uuids(environment) if job.device == "cuda" else []
    with run.work_lock(job.key):
        with run.work_lock():
            write_json(folder.at_work, {"machine": machine_id(), "gpus": gpus, "scores": scores})
            _note(run)
        try:
            yield
        finally:
            folder.at_work.unlink(missing_ok=True)


def most_beside(folder: JobFolder) -> int:
    """Return how many others were at work beside a Job at most, since what it has trained was begun."""
    return int((readable(folder.beside) or {}).get("most", 0))


def _note(run: RunFolder) -> None:
    """Note in the folder of each Job that is at work on this machine how many others disturb it."""
    found = {}
    for folder in run.begun():
        told = readable(folder.at_work, "machine", "gpus", "scores")
        if told is not None and told["machine"] == machine_id() and _is_at_work(run, folder):
            found[folder] = told
    for folder, told in found.items():
        others = sum(
            other is not folder and _share(told["gpus"], theirs["gpus"]) for other, theirs in found.items()
        )
        if others > most_beside(folder) and not told["scores"]:
            write_json(folder.beside, {"most": others})


def _is_at_work(run: RunFolder, folder: JobFolder) -> bool:
    try:
        with run.work_lock(folder.path.name).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _share(mine: Collection[str], theirs: Collection[str]) -> bool:
    """Tell whether two Jobs disturb each other: all do, but those that have each a GPU of its own."""
    return not (mine and theirs and set(mine).isdisjoint(theirs))
