"""The contract that every generator keeps, and the small vocabulary around it.

Only the standard library and NumPy are imported here, so that a model's array-level core
runs on a bare machine; AnnData appears in annotations alone.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

Space = Literal["counts", "cp20k", "log_cp20k"]
Role = Literal["model", "baseline", "ceiling", "floor", "cheat", "null"]
Source = Literal["model", "training cells"]

AUTO: Final = "auto"
"""A hyper-parameter that is left to the machine: `Generator.settle` decides it."""


class Settled(NamedTuple):
    """What a hyper-parameter that was left to the machine is on this one.

    Attributes
    ----------
    value
        Value of the hyper-parameter.
    reason
        Reason for the value, in a phrase.
    """

    value: Any
    reason: str


class GeneratorError(Exception):
    """A generator could not do what was asked; the message is one line a user can act on."""


class Unsupported(GeneratorError):
    """The request lies outside what this generator can do (a type asked of an unconditional model)."""


class TooFewCells(Unsupported):
    """A control that draws no cell twice has fewer than were asked for: it is skipped, and has not failed."""


class Diverged(GeneratorError):
    """Training produced NaN or infinite values."""


class SamplingExhausted(GeneratorError):
    """The bound on draws was reached before enough cells were accepted."""


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of generator steps, of epochs, or of seconds.

    Parameters
    ----------
    amount
        Number of units; above 0.
    unit
        ``"steps"`` (generator updates), ``"epochs"`` (passes over the training cells) or
        ``"seconds"`` (wall clock; such runs are not reproducible number by number).
    """

    amount: float
    unit: Literal["steps", "epochs", "seconds"]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"200steps"``, ``"40epochs"``, ``"90s"`` or ``"15min"``.

        Raises
        ------
        ValueError
            If the text is none of these or the amount is not above 0.
        """
        units: dict[str, tuple[Literal["steps", "epochs", "seconds"], float]] = {
            "steps": ("steps", 1),
            "epochs": ("epochs", 1),
            "min": ("seconds", 60),
            "s": ("seconds", 1),
            "h": ("seconds", 3600),
        }
        for suffix, (unit, factor) in units.items():
            number = text.strip().removesuffix(suffix)
            if number != text.strip() and number.strip().replace(".", "", 1).isdigit():
                amount = float(number) * factor
                if amount > 0:
                    return cls(amount, unit)
        raise ValueError(f"budget {text!r} is not like 200steps, 40epochs, 90s, 15min or 2h")

    def __str__(self) -> str:
        amount = int(self.amount) if self.amount == int(self.amount) else self.amount
        return f"{amount}s" if self.unit == "seconds" else f"{amount} {self.unit}"

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """Generator updates this budget allows, or None where only the clock tells."""
        if self.unit == "seconds":
            return None
        factor = steps_per_epoch if self.unit == "epochs" else 1
        return max(1, round(self.amount * factor))


class Progress:
    """Where a training stands inside its budget; every schedule is a function of `fraction`.

    Parameters
    ----------
    budget
        The whole budget of this `fit`.
    steps_per_epoch
        Generator updates in one pass over the training cells.
    done_steps, done_seconds
        What an interrupted training had already used (from its checkpoint).
    """

    def __init__(
        self, budget: Budget, steps_per_epoch: int, *, done_steps: int = 0, done_seconds: float = 0.0
    ) -> None:
        self.budget = budget
        self.total_steps = budget.total_steps(steps_per_epoch)
        self.steps = done_steps
        self._started = time.perf_counter() - done_seconds

    @property
    def seconds(self) -> float:
        """Wall-clock seconds used so far."""
        return time.perf_counter() - self._started

    @property
    def fraction(self) -> float:
        """Share of the budget used, between 0 and 1."""
        if self.total_steps is not None:
            return min(1.0, self.steps / self.total_steps)
        return min(1.0, self.seconds / self.budget.amount)

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return self.fraction >= 1.0


class Monitor(Protocol):
    """What `fit` and `sample` report to. A model used alone gets a `SilentMonitor`."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time what happens inside under `name` (phases may nest)."""

    def log(self, step: int, **values: float) -> None:
        """Record curve points: losses and the like at a generator step."""

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Tell that `steps` more updates of the current phase are done, and the share of the budget used."""

    def checkpoint(self, save: Callable[[Path], None]) -> None:
        """Offer a state to keep: if one is due, the harness stops the clock and calls `save(folder)`."""

    @property
    def resume_from(self) -> Path | None:
        """Folder of the last checkpoint of this very training, or None to start afresh."""


class SilentMonitor:
    """A `Monitor` that keeps nothing, for models used outside the harness."""

    resume_from: Path | None = None

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time nothing."""
        return nullcontext()

    def log(self, step: int, **values: float) -> None:
        """Keep nothing."""

    def advance(self, fraction: float, *, steps: int = 1) -> None:
        """Show nothing."""

    def checkpoint(self, save: Callable[[Path], None]) -> None:
        """Save nothing."""


class Generator(ABC):
    """A model of single-cell RNA-seq data that can be trained and then sampled.

    Hyper-parameters are the keyword arguments of the constructor, annotated and with
    defaults; the harness reads them from the signature (``--set NAME.latent_dim=64``).
    The module that defines a generator must import without its framework: torch or
    TensorFlow are imported inside the methods, so that listing models stays quick.

    What is timed: `prepare`, `fit` and `sample` each under their own name, with `synchronise`
    called before every reading of the clock. `save`, `load` and writing cells to disk are not
    part of any headline figure.

    Attributes
    ----------
    name
        The name used on the command line, in tables and in MLflow.
    role
        ``"model"``; ``"baseline"`` for an honest cheap one; for controls ``"ceiling"``, ``"floor"``,
        ``"cheat"``, ``"null"``.
    framework
        ``"pytorch"``, ``"tensorflow"``, ``"numpy"``…
    conditional
        Whether cells of a requested type can be sampled.
    space
        Space of what `sample` returns: whole ``"counts"``, ``"cp20k"`` (library size 20 000) or
        ``"log_cp20k"``.
    licence, paper
        Licence and paper of the method; the paper as a DOI or a short citation.
    default_budgets
        Budget of each profile (``"smoke"``, ``"quick"``, ``"paper"``), as `Budget.parse` reads it.
        Empty for generators that do not train.
    settled_by
        Hyper-parameters that `settle` looks at; empty for all.
    draws_from
        ``"training cells"`` if each cell that it draws is made of single training cells, with noise or
        without: whatever it scores, it is never called the best. Else ``"model"``.
    streams
        Whether `fit` takes cells whose matrices stay on disk and never holds all of them: X and
        ``layers["counts"]`` may then be AnnData's sparse data sets, as `models.streaming` reads them.
    configured_by
        Hyper-parameter without which it can do nothing: ``--models all`` takes it only where that is given.
    """

    name: ClassVar[str]
    role: ClassVar[Role] = "model"
    framework: ClassVar[str] = "numpy"
    conditional: ClassVar[bool] = False
    space: ClassVar[Space] = "counts"
    licence: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    default_budgets: ClassVar[dict[str, str]] = {}
    settled_by: ClassVar[tuple[str, ...]] = ()
    draws_from: ClassVar[Source] = "model"
    streams: ClassVar[bool] = False
    configured_by: ClassVar[str] = ""

    monitor: Monitor = SilentMonitor()
    """What `sample` reports to; the harness sets it, `fit` gets its own as an argument."""

    def content(self) -> str:
        """Return what else decides the outcome (the text of a configuration file); part of the Job's key."""
        return ""

    @classmethod
    def missing(cls) -> str | None:
        """Return what is not installed and how to install it, or None; `skip` says it, too."""
        return None

    @classmethod
    def skip(cls, train: AnnData) -> str | None:
        """Return why this generator cannot run on `train`, or None: a row of the table, not a failure."""
        return cls.missing()

    @classmethod
    def settle(cls, settings: Mapping[str, Any], *, n_genes: int, device: str) -> dict[str, Settled]:
        """Decide the hyper-parameters that are ``"auto"``: once, when a run is planned, for all its Jobs.

        Called in a process with the environment and the threads of a Job, before there is any training. What
        is decided takes the place of ``"auto"`` in the plan, in the Job's key and in the Record, so that
        unlike settings never pass for the same Job.

        Parameters
        ----------
        settings
            The hyper-parameters that `settled_by` names, or all.
        n_genes
            Number of genes of the training cells.
        device
            ``"cpu"`` or ``"cuda"``.

        Returns
        -------
        dict
            By hyper-parameter, for each that is ``"auto"``.
        """
        return {}

    def prepare(self, train: AnnData) -> None:  # noqa: B027 - most generators need none
        """Set up whatever is not training (device transfers, compilation); timed and reported apart."""

    @abstractmethod
    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Train on the training cells.

        Parameters
        ----------
        train
            n_cells × n_genes; X CSR float32 ``cp20k``, ``layers["counts"]`` whole numbers,
            ``obs["cell_type"]`` categorical, ``obs["control_pool"]`` bool, ``obs["null_half"]`` 0, 1 or 2.
            Not to be modified.
        seed
            Everything random follows from it.
        device
            ``"cpu"`` or ``"cuda"``.
        budget
            Budget that ends the training; schedules and phases span it.
        monitor
            Monitor that is told phases, curves and progress, and offered checkpoints.

        Raises
        ------
        Diverged
            If a loss or a weight is NaN or infinite.
        Unsupported
            If the device or the data are beyond this generator.
        """

    @abstractmethod
    def sample(self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int) -> AnnData:
        """Draw new cells.

        Parameters
        ----------
        n_cells
            How many cells to return, exactly.
        cell_types
            One label for each cell, returned in that order; None draws from the model's own mixture.
        seed
            Same seed, same machine, CPU: same cells.

        Returns
        -------
        AnnData
            n_cells × n_genes, X CSR float32 in `space`, finite and not negative, var_names of the training
            data; obs["cell_type"] where the model knows it, of the training cells' types. A model that
            rejects draws tells them in ``uns["sampling"]``: ``draws``, and ``accepted`` for each of its
            ``cell_types``.

        Raises
        ------
        Unsupported
            If types are asked of an unconditional generator, or a type it never saw.
        SamplingExhausted
            If a requested type was not produced within the bound on draws.
        """

    def sample_chunks(
        self, n_cells: int, *, cell_types: Sequence[str] | None = None, seed: int, chunk_size: int = 2048
    ) -> Iterator[AnnData]:
        """Yield n_cells in pieces of at most `chunk_size`, each drawn with a seed of its own.

        Memory stays at one piece whatever n_cells is.
        """
        starts = range(0, n_cells, chunk_size)
        for start, child in zip(starts, np.random.SeedSequence(seed).spawn(len(starts)), strict=True):
            stop = min(start + chunk_size, n_cells)
            yield self.sample(
                stop - start,
                cell_types=None if cell_types is None else cell_types[start:stop],
                seed=int(child.generate_state(1)[0]),
            )

    def synchronise(self) -> None:  # noqa: B027 - the CPU has nothing to wait for
        """Wait until the device has finished; called before every reading of the clock."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trained model into an empty folder, without pickle (safetensors or Keras, JSON)."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read back what `save` wrote."""
