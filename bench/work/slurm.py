"""Jobs on a Slurm cluster, each a task of one array that submitit submits: see `bench.work.cluster`.

Records come back through the run folder. Of what Slurm ended itself, its accounting (``sacct``) knows why.
"""

from __future__ import annotations

import contextlib
import math
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from bench.errors import RequestError
from bench.progress import Progress
from bench.request.plan import Job
from bench.results.files import readable
from bench.results.records import unstarted_record
from bench.results.run_folder import RunFolder
from bench.work.cluster import LOOK_SECONDS, carry_out, left_of, log_of, still_waiting, token_of
from bench.work.executor import words_of
from bench.work.processes import with_own_code
from reports.view import Record

if TYPE_CHECKING:
    import submitit

SLURM: Final = "slurm"
"""What ``--scheduler`` is given in the place of an address."""
COMMANDS: Final = ("sbatch", "srun", "sacct", "scancel")
MEMORY: Final = re.compile(r"([1-9]\d*)([MGT])i?B?", re.IGNORECASE)
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


@dataclass(frozen=True)
class Resources:
    """What each Job asks Slurm for; None is what the plan needs, else what Slurm gives by itself.

    Attributes
    ----------
    cores, memory, hours, gpus
        Cores (as many as the Job has threads), memory (such as ``8G``), hours (an hour more than
        ``--timeout``), and GPUs (one, where the Job is for a GPU).
    partition, account, qos, constraint
        As ``sbatch`` takes them.
    """

    cores: int | None = None
    memory: str | None = None
    hours: float | None = None
    gpus: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``memory=8GB,hours=2,partition=short``.

        Raises
        ------
        RequestError
            If it names what is no resource, names one twice, or gives it a value that it cannot have.
        """
        known = [field.name for field in fields(cls)]
        given: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (word.strip() for word in part.partition("="))
            if name not in known or not value:
                raise RequestError(f"--resources {part!r}: give NAME=VALUE, names are {', '.join(known)}")
            if name in given:
                raise RequestError(f"--resources {text!r} names {name} twice")
            given[name] = _read(name, value)
        if not given:
            raise RequestError(f"--resources {text!r} names nothing: give such as memory=8GB,hours=2")
        return cls(**given)

    def parameters(self, jobs: Sequence[Job], *, timeout: float | None) -> dict[str, Any]:
        """Return the parameters of submitit's Slurm executor for an array of Jobs.

        Raises
        ------
        RequestError
            If a Job has more threads than it would have cores.
        """
        threads = max(job.threads for job in jobs)
        if self.cores is not None and self.cores < threads:
            raise RequestError(
                f"--resources cores={self.cores}: the Jobs of this run have {threads} threads: start a "
                "new run"
            )
        minutes = None if timeout is None else math.ceil(timeout / 60) + SCORING_MINUTES
        gpus = 1 if self.gpus is None and any(job.device == "cuda" for job in jobs) else self.gpus
        passed_on = ("partition", "account", "qos", "constraint")
        return {
            "cpus_per_task": self.cores or threads,
            "time": minutes if self.hours is None else math.ceil(self.hours * 60),
            "mem": self.memory,
            "gpus_per_node": gpus or None,
            **{name: getattr(self, name) for name in passed_on},
        }


DEFAULTS: Final = Resources()


def _read(name: str, value: str) -> Any:
    if name == "memory":
        if (found := MEMORY.fullmatch(value)) is None:
            raise RequestError(f"--resources memory={value}: give whole MB, GB or TB, such as memory=8GB")
        return f"{found[1]}{found[2].upper()}"
    if name in ("cores", "gpus"):
        if not value.isdecimal() or (int(value) == 0 and name == "cores"):
            raise RequestError(f"--resources {name}={value}: give a whole number")
        return int(value)
    if name == "hours":
        if re.fullmatch(r"\d+(\.\d+)?", value) is None or float(value) == 0:
            raise RequestError(f"--resources hours={value}: give a number above 0, such as hours=2")
        return float(value)
    return value


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
    resources: Resources, run: RunFolder, jobs: Sequence[Job], *, timeout: float | None, progress: Progress
) -> None:
    """Run every Job that has not ended well yet as a Slurm job of its own, and score its cells there.

    Parameters
    ----------
    resources
        What each asks for.
    run, jobs
        The run, in a folder that all nodes see, and its Jobs.
    timeout
        Wall-clock limit of each Job in seconds, or None.
    progress
        Where it is shown.

    Raises
    ------
    RequestError
        If Slurm or submitit is missing, or if Slurm refuses the array.
    """
    require_slurm()
    with token_of(run) as token, progress.stage("training and scoring", total=len(jobs)) as stage:
        if not (left := left_of(run, jobs, stage)):
            return
        with _submitted(resources.parameters(left, timeout=timeout), run, left, str(token)) as tasks:
            progress.say(f"{len(left)} Jobs submitted to Slurm: squeue --jobs {_number(tasks[0])}")
            waiting = list(zip(left, tasks, strict=True))
            while waiting := still_waiting(run, waiting, stage, _ending):
                time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _submitted(
    parameters: dict[str, Any], run: RunFolder, jobs: Sequence[Job], token: str
) -> Iterator[list[submitit.Job[int]]]:
    """Submit Jobs as one array, and call off what is left of it when nobody waits any longer."""
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
    ended = False
    try:
        yield tasks
        ended = True
    finally:
        if not ended:
            # Should it fail: without the token, too, they end by themselves, or at once when they begin.
            subprocess.run(["scancel", _number(tasks[0])], check=False, capture_output=True)


def _number(task: submitit.Job[int]) -> str:
    """Return the number of the array that a task belongs to."""
    return str(task.job_id).partition("_")[0]


def _ending(run: RunFolder, job: Job, task: submitit.Job[int]) -> str | None:
    """Say how a Job ended: what its Record says, or why Slurm ended it, which becomes its Record."""
    if not task.done():
        return None
    record, state = run.job_folder(job).read_record(), (task.state.split() or [""])[0].rstrip("+")
    if state in ENDED_BY_SLURM and (record is None or not record.has_ended):
        record = _ended_by_slurm(run, job, record, task)
        run.job_folder(job).write_record(record)
    if record is not None:
        return words_of(record)
    return f"not carried out: Slurm says {state}; see {log_of(run.path, job.key)}, {task.paths.stdout}"


def _ended_by_slurm(run: RunFolder, job: Job, record: Record | None, task: submitit.Job[int]) -> Record:
    """Return the Record of a Job that Slurm ended: what it told before that, with Slurm's reason."""
    state = task.state.split()[0].rstrip("+")
    status, why = ENDED_BY_SLURM[state]
    told = readable(run.job_folder(job).progress) or {}
    return (record or unstarted_record(job)).but(
        status=status,
        reason=f"Slurm ended it ({state}, job {task.job_id}): {why}",
        failed_phase=told.get("phase") or None,
    )
