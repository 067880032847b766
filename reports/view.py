"""What a run measured, as reports read it and workers write it: the one schema of both.

`Record`, `Score` and the facts of a run are what lies on disk as JSON: of an earlier version what is missing
has a default, and what a later one added is passed over. Nobody changes a view: what is computed of it is
computed once (`once`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast

from pydantic import Field, model_validator

from reports.facts import Facts, Hardware, Machine, OpenFacts, Piece

SCHEMA: Final = 1
"""Version of what is written."""
OK, SKIPPED, NOT_RUN = "ok", "skipped", "not run"
MINIMUM_KEPT_CELLS: Final = 10
Found = TypeVar("Found")
Key = TypeVar("Key")
Value = TypeVar("Value")


class Reduced(NamedTuple):
    """A type of which the augmentation experiment kept a share of the cells, chosen by a seed."""

    cell_type: str
    fraction: float
    subsample_seed: int
    kept_cells: int


class Experiment(Facts):
    """What a Job trains on.

    Attributes
    ----------
    kind
        ``main``: all training cells. ``augmentation``: all, but a type is reduced to a fraction. ``donors``:
        the cells of some donors.
    cell_type, fraction, subsample_seed
        The type, the share of its training cells that is kept, and the seed that chooses them.
    kept_cells, added_cells
        Training cells of the type that are left; synthetic cells of the type that are added.
    trained_donors, left_out_donors, reference_donors
        Donors that are trained on, left out, and known to whoever attacks; chosen by ``subsample_seed``.
    """

    kind: Literal["main", "augmentation", "donors"] = "main"
    cell_type: str | None = None
    fraction: float | None = None
    subsample_seed: int | None = None
    kept_cells: int | None = None
    added_cells: int | None = None
    trained_donors: tuple[str, ...] = ()
    left_out_donors: tuple[str, ...] = ()
    reference_donors: tuple[str, ...] = ()

    @property
    def reduced(self) -> Reduced:
        """What the augmentation experiment did; without meaning in the main one."""
        seed, kept = self.subsample_seed or 0, self.kept_cells or 0
        return Reduced(self.cell_type or "", self.fraction or 0.0, seed, kept)


def named_now(plain: Any) -> Any:
    """Give what an earlier version called ``copies`` the name and the value that it has now."""
    if not isinstance(plain, dict) or "copies" not in plain:
        return plain
    drawn = "training cells" if plain["copies"] else "model"
    return {"draws_from": drawn} | {name: value for name, value in plain.items() if name != "copies"}


class JobFacts(OpenFacts):
    """What is reported of a Job of `bench.request.plan`, which has more."""

    model: str
    role: str
    framework: str = ""
    conditional: bool = False
    space: str = ""
    draws_from: str = "model"
    hyperparameters: dict[str, Any] = Field(default={})
    settled: dict[str, str] = Field(default={})
    dataset: str = ""
    dataset_key: str = ""
    seed: int
    sample_seeds: tuple[int, ...] = (0,)
    experiment: Experiment
    budget: str | None = None
    device: str = ""
    threads: int = 0
    n_cells: int = 0

    _named_now = model_validator(mode="before")(named_now)


class Training(Facts):
    """Seconds of training, and the speed of the phase with the most steps."""

    seconds: float
    steps: int = 0
    steps_per_second: float | None = None


class Timing(Facts):
    """Seconds of each round of sampling ``n_cells`` cells, and what they come to."""

    n_cells: int
    seconds: tuple[float, ...] = ()
    median_seconds: float
    min_seconds: float | None = None
    max_seconds: float | None = None
    mad_seconds: float | None = None
    density: float | None = None


class Memory(Facts):
    """Bytes at their highest: of the whole, of the device as two sources have it, of each phase."""

    peak_rss_bytes: int | None = None
    peak_device_bytes: int | None = None
    device: dict[str, int | None] = Field(default={})
    by_phase: dict[str, int] = Field(default={})


class Sample(Facts):
    """Stored cells."""

    file: str
    n_cells: int
    density: float
    sha256: str | None = None
    acceptance_rate: dict[str, float] | None = None


class Record(Facts):
    """What a Job measured, or why it failed; of one that has not run, its plan.

    ``beside`` tells of a Job of which something is timed how many others were at most at work on its machine
    (or its GPU) while it was: if there were any, ``training`` and ``timing`` are not told.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    key: str
    status: str
    reason: str = ""
    failed_phase: str | None = None
    seconds_to_failure: float | None = None
    wall_seconds: float | None = None
    job: JobFacts
    phases: dict[str, float] = Field(default={})
    steps: dict[str, int] = Field(default={})
    training: Training | None = None
    timing: Timing | None = None
    memory: Memory = Memory()
    samples: dict[str, Sample] = Field(default={})
    warnings: tuple[str, ...] = ()
    started: str | None = None
    finished: str | None = None
    machine: Machine = Machine()
    beside: int = 0
    versions: dict[str, str] = Field(default={})
    git_commit: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do: it ended well, or says why it cannot run."""
        return self.status in (OK, SKIPPED)


class Score(Facts):
    """What a metric found of a sample.

    Attributes
    ----------
    values, details, notes, interval, p_value
        Contents of `metrics.declaration.Score`; no values where there is an ``error``.
    error, failed
        Why there is no value; whether it broke, as against one that does not apply.
    seconds, shared_seconds
        What the metric took, and what evidence took that it was the first to ask for.
    key, code
        Hashes of all that may change the score, and of the metric's code.
    """

    metric: str
    protocol: str
    n_cells: int
    values: dict[str, float]
    details: dict[str, Any] = Field(default={})
    notes: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    error: str | None = None
    failed: bool = False
    seconds: float | None = None
    shared_seconds: float | None = None
    key: str = ""
    code: str = "unknown"
    sample_seed: int = 0


class AugmenterScore(Facts):
    """What a cheap augmenter, or none, reached in an augmentation experiment."""

    cell_type: str
    fraction: float
    subsample_seed: int = 0
    augmenter: str
    values: dict[str, float]


class MetricFacts(Facts):
    """A metric's declaration: see `metrics.declaration.Metric`."""

    name: str
    description: str = ""
    better: str
    ideal: float
    bounds: tuple[float, float]
    reference: str = ""
    cost: str = ""
    floors: tuple[str, ...] = ()
    experiment: str = "main"
    needs_types: bool = False
    default: bool = False
    group: str = "headline"
    exempt: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    alarm: float | None = None
    catches: tuple[str, ...] = ()
    judged_by: str | None = None
    least_cells: int | None = None


class ProtocolFacts(OpenFacts):
    """A protocol's choices, and how many cells a side it compares in this run."""

    n_cells: int


class DataFacts(OpenFacts):
    """Where a data set comes from: its ``uns["bench"]``."""

    name: str
    source: str
    checksum: str
    declared: str | None = None
    labels: str = ""
    notes: tuple[str, ...] = ()


class RunFacts(Facts):
    """What was known when a run began.

    Attributes
    ----------
    train_shape, n_test, n_cells
        Training cells and genes; test cells; cells a side.
    dataset_key
        Content key of the prepared cells.
    own_budgets, own_settings, own_cells
        Whether the request gave budgets of its own; the generators that it gave hyper-parameters; how many
        cells a side it asked for.
    papers
        Names of the papers whose figures it was made to stand beside (`reports.papers`).
    pieces
        The runs that it was merged of; none where it was made as one.
    """

    folder: str
    dataset: DataFacts
    dataset_key: str
    train_shape: tuple[int, int]
    n_test: int
    n_cells: int
    profile: str
    own_budgets: bool = False
    own_settings: tuple[str, ...] = ()
    own_cells: int | None = None
    papers: tuple[str, ...] = ()
    protocols: tuple[str, ...]
    protocol_facts: dict[str, ProtocolFacts] = Field(default={})
    hardware: Hardware
    versions: dict[str, str]
    bench_version: str = ""
    git_commit: str | None = None
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, eq=False)
class RunView:
    """A run as seen under one of its protocols.

    Attributes
    ----------
    run, protocol
        What is known of the run; under which protocol it is seen.
    records
        One a Job, in the order of the plan; of a Job that has not run yet, too.
    scores
        Job key → scores, under all protocols.
    baselines
        What the cheap augmenters reached in the augmentation experiment.
    metrics
        Declarations, scored or not.
    """

    run: RunFacts
    protocol: str
    records: Sequence[Record]
    scores: Mapping[str, Sequence[Score]]
    baselines: Sequence[AugmenterScore]
    metrics: Sequence[MetricFacts]
    _known: dict[object, object] = field(default_factory=dict, init=False, repr=False)

    def under(self, protocol: str) -> RunView:
        """Return the same run as seen under one of its protocols: every table and figure is of one."""
        if protocol == self.protocol:
            return self
        if protocol not in self._known:
            self._known[protocol] = seen = replace(self, protocol=protocol)
            seen._known[self.protocol] = self
        return cast("RunView", self._known[protocol])

    @property
    def machines(self) -> list[Hardware]:
        """The machines that Jobs of it were carried out on, each once; of a run without, that of the plan."""
        found = filter(None, map(self.machine_of, self.records))
        return list({machine.fingerprint: machine for machine in found}.values()) or [self.run.hardware]

    def machine_of(self, record: Record) -> Hardware | None:
        """Return the machine that a Job was carried out on; None of one that has not begun."""
        pieces = [piece.hardware for piece in self.run.pieces]
        known = filter(None, [record.machine.hardware, self.run.hardware, *pieces])
        return next((one for one in known if one.fingerprint == record.machine.fingerprint), None)

    @property
    def each_protocol(self) -> list[RunView]:
        """The run as seen under each of its protocols."""
        return [self.under(protocol) for protocol in self.run.protocols]

    @property
    def is_first(self) -> bool:
        """Whether it is seen under the run's first protocol: costs are the same under all."""
        return self.protocol == self.run.protocols[0]

    def records_of(self, kind: str) -> list[Record]:
        """Return the Records of an experiment: ``main``, ``augmentation`` or ``donors``."""
        return [record for record in self.records if record.job.experiment.kind == kind]

    def scores_of(self, record: Record) -> list[Score]:
        """Return a Job's scores under the protocol; those of other protocols never share its columns."""
        return [score for score in self.scores.get(record.key, ()) if score.protocol == self.protocol]

    @property
    def headline_fraction(self) -> float | None:
        """The kept fraction whose augmentation scores stand in the main table.

        The smallest that leaves at least ten cells of the type (else the largest); None where the experiment
        did not run.
        """
        experiments = [record.job.experiment.reduced for record in self.records_of("augmentation")]
        enough = [one.fraction for one in experiments if one.kept_cells >= MINIMUM_KEPT_CELLS]
        return min(enough) if enough else max((one.fraction for one in experiments), default=None)


class NamedRun(NamedTuple):
    """A run, its name, which no other run beside it has, and the command that makes it again (or nothing)."""

    name: str
    view: RunView
    command: str = ""


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """Return the second of each pair by the first, in the order in which they come."""
    groups: dict[Key, list[Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def once(compute: Callable[[RunView], Found]) -> Callable[[RunView], Found]:
    """Have what is computed of a view alone computed once for each view: pages ask dozens of times."""

    @wraps(compute)
    def known(view: RunView) -> Found:
        if compute not in view._known:
            view._known[compute] = compute(view)
        return cast("Found", view._known[compute])

    return known
