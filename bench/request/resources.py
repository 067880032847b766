"""What ``--resources`` asks a cluster for: the same for every Job, and what is otherwise for a model's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from bench.errors import RequestError
from bench.request.plan import Job
from bench.request.spec import parse_bytes

MEMORY: Final = re.compile(r"([1-9]\d*)([MGT])(i?)B?", re.IGNORECASE)
ANYWHERE: Final = ("cores", "memory", "gpus")
"""What both kinds of cluster know; the others Slurm alone."""


@dataclass(frozen=True)
class Resources:
    """What one Job asks for; None is what the plan needs, else what the cluster gives by itself.

    Attributes
    ----------
    cores, memory, hours, gpus
        Number of cores (by default as many as the Job has threads), memory (such as ``8G`` or ``8Gi``), hours
        (by default an hour more than ``--timeout``), and number of GPUs (by default one if the Job is for a
        GPU).
    partition, account, qos, constraint
        Options of ``sbatch`` with the same names.
    """

    cores: int | None = None
    memory: str | None = None
    hours: float | None = None
    gpus: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None

    @property
    def memory_bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.memory is None else parse_bytes("resources", self.memory)

    def gpus_of(self, job: Job) -> int:
        """Return how many GPUs a Job gets."""
        return int(job.device == "cuda") if self.gpus is None else self.gpus


@dataclass(frozen=True)
class Requested:
    """What the Jobs of a run ask for.

    Attributes
    ----------
    general
        Resources that each Job asks for, unless `by_model` says otherwise.
    by_model
        Resources that the Jobs of a model ask for instead, by its name.
    """

    general: Resources = Resources()
    by_model: Mapping[str, Resources] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, *, on_slurm: bool) -> Self:
        """Read ``memory=8GB,activa:memory=16GB,activa:hours=4``.

        Parameters
        ----------
        text
            Text of the option ``--resources``.
        on_slurm
            Whether the cluster is Slurm; otherwise it is Dask.

        Raises
        ------
        RequestError
            If it names what is no resource of such a cluster, names one twice, or gives it a value that it
            cannot have.
        """
        given: dict[str, dict[str, Any]] = {"": {}}
        for part in filter(None, (part.strip() for part in text.split(","))):
            key, _, value = (word.strip() for word in part.partition("="))
            # A model may be written with a colon of its own.
            model, colon, name = key.rpartition(":")
            _check(part, name, on_slurm=on_slurm)
            if not value or (colon and not model):
                raise _unreadable(part, on_slurm=on_slurm)
            of_model = given.setdefault(model, {})
            if name in of_model:
                raise RequestError(f"--resources {text!r} names {key} twice")
            of_model[name] = _read(key, name, value)
        general = Resources(**given.pop(""))
        if not given and general == Resources():
            raise RequestError(f"--resources {text!r} names nothing: give such as memory=8GB,cores=2")
        return cls(general, {model: replace(general, **own) for model, own in given.items()})

    def of(self, job: Job) -> Resources:
        """Return what a Job asks for."""
        return self.by_model.get(job.model, self.general)

    def alike(self, jobs: Sequence[Job]) -> dict[Resources, list[Job]]:
        """Return Jobs by what they ask for."""
        found: dict[Resources, list[Job]] = {}
        for job in jobs:
            found.setdefault(self.of(job), []).append(job)
        return found

    def require_for(self, jobs: Sequence[Job]) -> None:
        """Raise a RequestError if a model is none of these Jobs', or if a Job has more threads than cores."""
        models = sorted({job.model for job in jobs})
        if unknown := [model for model in self.by_model if model not in models]:
            raise RequestError(
                f"--resources {unknown[0]}:…: no such model in this run, which has {', '.join(models)}"
            )
        for job in jobs:
            cores = self.of(job).cores
            if cores is not None and cores < job.threads:
                whose = f"{job.model}:" if cores != self.general.cores else ""
                raise RequestError(
                    f"--resources {whose}cores={cores}: the Jobs of this run have {job.threads} threads: "
                    f"give as many cores, or start a new run with cores={cores}"
                )


def _check(part: str, name: str, *, on_slurm: bool) -> None:
    """Raise a RequestError if a name is no resource that the cluster knows."""
    if name not in {field.name for field in fields(Resources)}:
        raise _unreadable(part, on_slurm=on_slurm)
    if not (on_slurm or name in ANYWHERE):
        raise RequestError(
            f"--resources {part!r}: Slurm alone knows {name}: leave it out with Dask, which has "
            f"{', '.join(ANYWHERE)}"
        )


def _unreadable(part: str, *, on_slurm: bool) -> RequestError:
    names = [field.name for field in fields(Resources)] if on_slurm else ANYWHERE
    return RequestError(
        f"--resources {part!r}: give NAME=VALUE or MODEL:NAME=VALUE, names are {', '.join(names)}"
    )


def _read(key: str, name: str, value: str) -> Any:
    if name == "memory":
        if (found := MEMORY.fullmatch(value)) is None:
            raise RequestError(f"--resources {key}={value}: give whole MB, GB or TB, such as memory=8GB")
        return f"{found[1]}{found[2].upper()}{found[3].lower()}"
    if name in ("cores", "gpus"):
        if not value.isdecimal() or (int(value) == 0 and name == "cores"):
            raise RequestError(f"--resources {key}={value}: give a whole number")
        return int(value)
    if name == "hours":
        if re.fullmatch(r"\d+(\.\d+)?", value) is None or float(value) == 0:
            raise RequestError(f"--resources {key}={value}: give a number above 0, such as hours=2")
        return float(value)
    return value


DEFAULTS: Final = Requested()
