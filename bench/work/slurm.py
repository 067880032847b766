"""Jobs on a Slurm cluster, each a task of an array that submitit submits: see `bench.work.cluster`.

Records come back through the run folder. Of what Slurm ended itself, its accounting (``sacct``) knows why.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from bench.errors import RequestError
from bench.progress import Progress
from bench.request.plan import Job
from bench.request.resources import Requested, Resources
from bench.results.files import readable
from bench.results.records import unstarted_record
from bench.results.run_folder import RunFolder
from bench.work.cluster import LOOK_SECONDS, carry_out, left_of, log_of, still_waiting, token_of
from bench.work.executor import words_of
from bench.work.processes import with_own_code

if TYPE_CHECKING:
    import submitit

SLURM: Final = "slurm"
"""What ``--scheduler`` is given in the place of an address."""
COMMANDS: Final = ("sbatch", "srun", "sacct", "scancel")
SCORING_MINUTES: Final = 60
"""What a Job gets beside its --timeout, in which it is not scored yet."""
ENDED_BY_SLURM: Final = {
    "TIMEOUT": ("timeout", "its hours were over; give more: --resources hours=…"),
    "DEADLINE": ("timeout", "its deadline had come"),
    "OUT_OF_MEMORY": ("out_of_memory", "its memory was used up; give more: --resources memory=…"),
    "CANCELLED": ("killed", "somebody cancelled it"),
    "NODE_FAIL": ("killed", "its node failed"),
    "BOOT_FAIL": ("killed", "its node did not start"),
    "PREEMPTED": ("killed", "others went first"),
}
"""Slurm's name for how it ended a Job → the status of its Record, and why."""


def require_slurm() -> None:
    """Raise a RequestError if nothing can be submitted to Slurm from here: before anything is written."""
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        raise RequestError(
            f"--scheduler {SLURM}: {missing[0]} is not found here: start the run where Slurm's commands are"
        )
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError as error:
        raise RequestError(
            f"--scheduler {SLURM}: submitit is not installed: pip install 'scgenbench[cluster]', or "
            "'.[cluster]' in a checkout"
        ) from error


def run_jobs_on_slurm(
    requested: Requested, run: RunFolder, jobs: Sequence[Job], *, timeout: float | None, progress: Progress
) -> None:
    """Run every Job that has not ended well yet as a Slurm job of its own, and score its cells there.

    Parameters
    ----------
    requested
        Resources that the Jobs ask for.
    run, jobs
        The run, in a folder that all nodes see, and its Jobs.
    timeout
        Wall-clock limit of each Job in seconds, or None.
    progress
        Display of the progress.

    Raises
    ------
    RequestError
        If Slurm or submitit is missing, or if Slurm refuses an array.
    """
    require_slurm()
    with token_of(run) as token, progress.stage("training and scoring", total=len(jobs)) as stage:
        if not (left := left_of(run, jobs, stage)):
            return
        with _submitted(requested, run, left, timeout=timeout, token=str(token)) as tasks:
            numbers = ",".join(_numbers(tasks))
            progress.say(f"{len(left)} Jobs submitted to Slurm: squeue --jobs {numbers}")
            waiting = tasks
            while waiting := still_waiting(run, waiting, stage, _ending):
                time.sleep(LOOK_SECONDS)


def parameters(resources: Resources, jobs: Sequence[Job], *, timeout: float | None) -> dict[str, Any]:
    """Return the parameters of submitit's Slurm executor for an array of Jobs that ask for the same."""
    minutes = None if timeout is None else math.ceil(timeout / 60) + SCORING_MINUTES
    passed_on = ("partition", "account", "qos", "constraint")
    return {
        "cpus_per_task": resources.cores or max(job.threads for job in jobs),
        "time": minutes if resources.hours is None else math.ceil(resources.hours * 60),
        # To Slurm each is a power of 1024, and it knows no other name for it.
        "mem": resources.memory and resources.memory.removesuffix("i"),
        "gpus_per_node": max(map(resources.gpus_of, jobs)) or None,
        **{name: getattr(resources, name) for name in passed_on},
    }


@contextlib.contextmanager
def _submitted(
    requested: Requested, run: RunFolder, jobs: Sequence[Job], *, timeout: float | None, token: str
) -> Iterator[list[tuple[Job, submitit.Job[int]]]]:
    """Submit Jobs, an array of those that ask for the same; call off what is left when nobody waits."""
    tasks: list[tuple[Job, submitit.Job[int]]] = []
    ended = False
    try:
        for resources, alike in requested.alike(jobs).items():
            of_array = _array(parameters(resources, alike, timeout=timeout), run, alike, token)
            tasks += zip(alike, of_array, strict=True)
        yield tasks
        ended = True
    finally:
        if tasks and not ended:
            # Should it fail: without the token, too, they end by themselves, or at once when they begin.
            subprocess.run(["scancel", *_numbers(tasks)], check=False, capture_output=True)


def _array(
    parameters: dict[str, Any], run: RunFolder, jobs: Sequence[Job], token: str
) -> list[submitit.Job[int]]:
    """Submit Jobs as one array."""
    import submitit

    # -P: a folder called `datasets` in the current directory must not shadow ours.
    executor = submitit.SlurmExecutor(run.path / "slurm", python=f"{shlex.quote(sys.executable)} -P")
    own_code = with_own_code(None).get("PYTHONPATH")
    executor.update_parameters(
        job_name="bench",
        # A step of its own would get one core, whatever its job has (Slurm 22.05 and later).
        use_srun=False,
        stderr_to_stdout=True,
        setup=[f"export PYTHONPATH={shlex.quote(own_code)}"] if own_code else None,
        **parameters,
    )
    try:
        tasks: list[submitit.Job[int]] = executor.map_array(
            carry_out, [str(run.path)] * len(jobs), [job.key for job in jobs], [token] * len(jobs)
        )
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError) as error:
        said = [line for line in str(error).splitlines() if "sbatch" in line or "error" in line.lower()]
        raise RequestError(f"--scheduler {SLURM}: {' '.join(said) or error}") from error
    return tasks


def _numbers(tasks: Sequence[tuple[Job, submitit.Job[int]]]) -> list[str]:
    """Return the numbers of the arrays that tasks belong to."""
    return list(dict.fromkeys(str(task.job_id).partition("_")[0] for _, task in tasks))


def _ending(run: RunFolder, job: Job, task: submitit.Job[int]) -> str | None:
    """Say how a Job ended: what its Record says, or why Slurm ended it, which becomes its Record."""
    if not task.done():
        return None
    folder = run.job_folder(job)
    record, state = folder.read_record(), (task.state.split() or [""])[0].rstrip("+")
    if state in ENDED_BY_SLURM and (record is None or not record.has_ended):
        status, why = ENDED_BY_SLURM[state]
        # What it told before that is kept.
        record = (record or unstarted_record(job)).but(
            status=status,
            reason=f"Slurm ended it ({state}, job {task.job_id}): {why}",
            failed_phase=(readable(folder.progress) or {}).get("phase") or None,
        )
        folder.write_record(record)
    if record is not None:
        return words_of(record)
    return f"not carried out: Slurm says {state}; see {log_of(run.path, job.key)}, {task.paths.stdout}"
