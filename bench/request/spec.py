"""The request: validated once, here, at the edge. Everything behind it trusts it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import RequestError
from bench.request.profiles import PROFILES, Profile, ProfileName
from metrics.protocols import protocol_named
from models.base import Budget

EVERY_MODEL = "*"
EVERY_METRIC = ALL_MODELS = "all"
IN_MEMORY = "in memory"
"""What stands for the name of a data set that was handed over from Python."""
MOST_SEEDS = 1000


class Reading(BaseModel):
    """How the file of a data set is read.

    Attributes
    ----------
    label_key
        Column of ``obs`` that holds the cell types.
    layer, gene_names, genome
        Matrix of counts (a layer's name, ``raw`` or ``X``); column of ``var`` that names the genes; genome
        whose genes are selected.
    split_from, drop_unlabelled
        Column of ``obs`` with a split that comes with the cells; whether cells without a label are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_key: str | None = None
    layer: str | None = None
    gene_names: str | None = None
    genome: str | None = None
    split_from: str | None = None
    drop_unlabelled: bool = False


class DataOptions(Reading):
    """How a data set is read and split: what `datasets.prepare` is told.

    Attributes
    ----------
    split_by, split_seed
        Column of ``obs`` whose groups are held out whole; seed of the split.
    donor_key
        Column of ``obs`` that names donors; it makes the donor attack part of the run.
    """

    split_by: str | None = None
    donor_key: str | None = None
    split_seed: int = Field(default=0, ge=0)


class RunSpec(DataOptions):
    """A whole ``bench run`` request, with the attributes of `DataOptions` and `Reading`.

    Attributes
    ----------
    models
        Names, ``file.py:Class`` or ``module:Class``, or the group ``cheats``, or ``all`` alone; empty means
        those of the profile. Controls run in any case.
    dataset
        Registered name, file, 10x folder or ``synthetic:CELLSxGENES``.
    profile
        ``smoke``, ``quick`` or ``paper``.
    budget
        Budget by model name; ``"*"`` stands for every model that trains.
    seeds, sample_seeds
        Training seeds; seeds of the samples drawn from each trained model.
    settings
        Hyper-parameters by model name.
    metrics
        Metric names; empty means the default set, ``all`` every installed one.
    protocol
        Names of the protocols under which cells are scored; ``+observed`` at the end of one also turns
        normalised expression into counts. Other views of the run show the first one.
    cells
        Cells a side for scoring; None means what each protocol says, at most the size of the test split.
    device
        ``cpu``, ``cuda``, or ``auto``, which is CUDA if it is available.
    hardware
        Name or path of a hardware declaration that this machine must meet.
    timeout
        Wall-clock limit of each Job in seconds.
    metric_timeout
        Wall-clock limit of each score in seconds.
    memory
        Bytes of memory that cells may take when they are prepared and trained on: larger data sets are read
        from disk piece by piece, and generators that need all cells in memory are skipped. None means what is
        available on the machine, and no generator is skipped.
    jobs
        Number of Jobs that run at the same time on this machine; if it is more than one, nothing is timed.
    gpus
        GPUs of which each Job has one to itself: ``all``, how many (``2``), or which, by commas (``0,1``).
    threads
        Number of threads of each Job; None means the cores of this machine, divided among the Jobs that run
        at the same time.
    out
        Folder that holds the run folders and MLflow's store.
    """

    models: tuple[str, ...] = ()
    dataset: str = "pbmc68k_reduced"
    profile: ProfileName = "quick"
    budget: dict[str, str] = {}
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    sample_seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    settings: dict[str, dict[str, Any]] = {}
    metrics: tuple[str, ...] = ()
    protocol: tuple[str, ...] = Field(default=("strict",), min_length=1)
    cells: int | None = Field(default=None, ge=10)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    hardware: str | None = None
    timeout: float | None = Field(default=None, gt=0)
    metric_timeout: float = Field(default=3600.0, gt=0)
    memory: int | None = Field(default=None, gt=0)
    jobs: int = Field(default=1, ge=1)
    gpus: str | None = None
    threads: int | None = Field(default=None, ge=1)
    out: Path = Path("runs")

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_word_for_all(cls, value: Any) -> Any:
        return (EVERY_METRIC,) if value == EVERY_METRIC else value

    @field_validator("memory", mode="before")
    @classmethod
    def _sizes_parse(cls, value: Any) -> Any:
        return parse_bytes("memory", value) if isinstance(value, str) else value

    @field_validator("budget", mode="before")
    @classmethod
    def _one_budget_for_all(cls, value: Any) -> Any:
        return parse_budgets(value) if isinstance(value, str) else value

    @field_validator("budget")
    @classmethod
    def _budgets_parse(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            Budget.parse(text)
        return value

    @field_validator("protocol")
    @classmethod
    def _protocols_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            protocol_named(name)
        return value

    @field_validator("seeds", "sample_seeds", "models", "metrics", "protocol")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names something twice")
        return value

    @field_validator("seeds", "sample_seeds")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 0:
            raise ValueError("seeds are whole numbers from 0 on")
        return value

    @property
    def data_options(self) -> dict[str, Any]:
        """What `datasets.prepare` is told beside the source."""
        return {name: getattr(self, name) for name in DataOptions.model_fields}

    @property
    def scale(self) -> Profile:
        """The profile that `profile` names."""
        return PROFILES[self.profile]

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """Build a request, or say in one line what is wrong with it.

        Raises
        ------
        RequestError
            Naming the option, the value and what is allowed.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            option = "set" if first["loc"][0] == "settings" else str(first["loc"][0]).replace("_", "-")
            if first["type"] == "extra_forbidden":
                known = sorted(cls.model_fields, key=lambda name: name in DataOptions.model_fields)
                raise RequestError(f"unknown option {option!r}: choose from {', '.join(known)}") from error
            message = first["msg"].removeprefix("Value error, ")
            given = first["input"]
            if isinstance(given, dict):
                # As on the command line: activa=40epochs, or for every model 40epochs.
                given = [f"{name}={value}".removeprefix(f"{EVERY_MODEL}=") for name, value in given.items()]
            text = ",".join(map(str, given)) if isinstance(given, list | tuple) else given
            raise RequestError(f"--{option} {text!r}: {message}") from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a request from a TOML file whose keys are the attributes of `RunSpec`.

    Raises
    ------
    RequestError
        If the file is missing or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(f"--config {str(path)!r}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RequestError(f"--config {str(path)!r} is not TOML: {error}") from error


def parse_budgets(text: str) -> dict[str, str]:
    """Read ``40epochs`` (every model) or ``activa=40epochs,scgan=2000steps``.

    Raises
    ------
    RequestError
        If it names a model twice, or nothing.
    """
    budgets: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        model, _, amount = part.rpartition("=")
        name = model.strip() or EVERY_MODEL
        if name in budgets:
            raise RequestError(f"--budget {text!r} names {name!r} twice")
        budgets[name] = amount.strip()
    if not budgets:
        raise RequestError(f"--budget {text!r} names nothing: give 40epochs, 2000steps or 15min")
    return budgets


def parse_settings(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """Read ``["activa.objective=release", …]`` into settings by model.

    Raises
    ------
    RequestError
        If a text is not ``MODEL.NAME=VALUE``.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in assignments:
        match = re.fullmatch(r"([^.=\s]+)\.([^.=\s]+)=(.*)", text.strip())
        if match is None:
            raise RequestError(f"--set {text!r} is not MODEL.NAME=VALUE, such as activa.objective=release")
        model, name, value = match.groups()
        settings.setdefault(model, {})[name] = value
    return settings


def parse_duration(option: str, text: str) -> float:
    """Read ``90s``, ``15min``, ``2h`` or plain seconds.

    Parameters
    ----------
    option
        Name of the option, for the error message.
    text
        The duration as it was written, such as ``15min``.

    Raises
    ------
    RequestError
        If the text is none of these.
    """
    try:
        budget = Budget.parse(text if text[-1:].isalpha() else f"{text}s")
    except ValueError:
        budget = None
    if budget is None or budget.unit != "seconds":
        raise RequestError(f"--{option} {text!r} is not like 90s, 15min or 2h")
    return budget.amount


def parse_bytes(option: str, text: str) -> int:
    """Read ``4GB``, ``500MB``, ``1.5GiB`` or plain bytes.

    Parameters
    ----------
    option
        Name of the option, for the error message.
    text
        The size as it was written, such as ``4GB``.

    Raises
    ------
    RequestError
        If the text is none of these, or nothing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([kmgt])(i?))?b?", text.strip().lower())
    power = 0 if match is None or match[2] is None else "kmgt".index(match[2]) + 1
    found = 0 if match is None else int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if not found:
        raise RequestError(f"--{option} {text!r} is no size above 0, such as 4GB, 500MB or 1.5GiB")
    return found


def parse_seeds(option: str, text: str) -> list[int]:
    """Read ``0,1,2`` or ``0-4``.

    Raises
    ------
    RequestError
        If a part is not a whole number or a range of them.
    """
    seeds: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise RequestError(f"--{option} {text!r}: give whole numbers such as 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= MOST_SEEDS:
            raise RequestError(f"--{option} {text!r}: more than {MOST_SEEDS} seeds")
        seeds.extend(range(first, last + 1))
    return seeds
