"""Jobs side by side on this machine: how many, on which GPUs, and with how many threads each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from bench.errors import RequestError
from bench.hardware import usable_cores
from bench.hardware.environment import gpus_named
from bench.request.spec import RunSpec
from models.base import Budget


@dataclass(frozen=True)
class Sharing:
    """How the Jobs of a run share this machine.

    Attributes
    ----------
    jobs
        Number of Jobs that run at the same time; if it is more than one, their times are not reported.
    gpus
        UUIDs of the GPUs, of which each Job has its own and is timed as usual; empty if none are shared out.
    """

    jobs: int = 1
    gpus: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: RunSpec, *, device: str) -> Self:
        """Return what a request asks for, if its Jobs, which are for `device`, can share it so.

        Raises
        ------
        RequestError
            If they cannot.
        """
        if spec.gpus is None:
            if spec.jobs > 1 and device == "cuda":
                raise RequestError(f"--jobs {spec.jobs}: Jobs would share a GPU; give --gpus or --device cpu")
            return cls(spec.jobs)
        if spec.jobs > 1:
            raise RequestError(
                f"--jobs {spec.jobs}: --gpus {spec.gpus} says how many go on at once; leave it out"
            )
        gpus = gpus_named(spec.gpus)
        if device != "cuda":
            raise RequestError(
                f"--gpus {spec.gpus}: these Jobs are for the CPU; plan them with --device cuda"
            )
        return cls(gpus=gpus)

    @property
    def at_once(self) -> int:
        """How many Jobs go on at once."""
        return max(self.jobs, len(self.gpus))

    @property
    def first_gpu(self) -> str | None:
        """The GPU of the first Job; None where GPUs are not shared out."""
        return self.gpus[0] if self.gpus else None

    def threads(self, asked: int | None = None) -> int:
        """Return how many threads each Job gets: so many as are asked for, else its share of the cores.

        Raises
        ------
        RequestError
            If there are too few cores.
        """
        threads = asked or usable_cores() // self.at_once
        self.require_cores(max(1, threads))
        return threads

    def require_cores(self, threads: int) -> None:
        """Raise a RequestError if Jobs with so many threads each have not each its cores."""
        cores = usable_cores()
        if self.at_once > 1 and threads * self.at_once > cores:
            option = f"--gpus {len(self.gpus)}" if self.gpus else f"--jobs {self.jobs}"
            raise RequestError(
                f"{option}: there are {cores} cores to use here, and a Job of this run has {threads} "
                f"thread{'s' * (threads > 1)}: at most {cores // threads or 1} at once"
                + (", or start a new run with it" if threads > 1 else "")
            )

    def require_budgets(self, budgets: Mapping[str, str | None]) -> None:
        """Raise a RequestError if a budget would be worth less where Jobs share cores.

        Parameters
        ----------
        budgets
            Budget of each model, by its name; None for a model that does not train.
        """
        for model, budget in budgets.items():
            if self.jobs > 1 and budget is not None and Budget.parse(budget).unit == "seconds":
                raise RequestError(
                    f"--jobs {self.jobs}: {model} has a budget of {budget}, in which it would be trained "
                    f"less beside others: give it steps or epochs, such as --budget {model}=40epochs"
                )
