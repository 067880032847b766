"""What a run will cost, judged by what was measured on the same machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.request.plan import Job
from bench.results.files import DamagedFile, read_json
from bench.results.run_folder import RunFolder
from bench.work.left import START, UNKNOWN, Left, scores_left
from bench.work.processes import GIB, room_for, scoring_processes
from metrics.protocols import OBSERVED
from models.base import Budget
from reports.view import OK, Record, Score

STAGES = ("augmenters", "maps", "figures", "tracking")
"""What is done once a run (see `bench.results.run_folder.RunFolder.note_seconds`)."""
MOST_RUNS = 20
"""Of the latest on this machine that are read."""
Shape = Sequence[int]


@dataclass(frozen=True)
class Prediction:
    """Expected cost of one Job; None where no Record on this machine tells.

    Attributes
    ----------
    seconds
        Seconds from the start of the Job's process to its end.
    peak_rss_bytes, disk_bytes
        Highest memory of the Job, and size of its folder at the end, in bytes.
    phases
        Seconds of each of `PHASES`; empty if `seconds` is None.
    """

    seconds: float | None
    peak_rss_bytes: float | None
    disk_bytes: float | None
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """A Job that ended well.

    Attributes
    ----------
    record
        The Record of the Job that was measured.
    shape
        Numbers of training cells and of genes of the Job.
    disk_bytes
        Size of the Job's folder in bytes.
    """

    record: Record
    shape: Shape
    disk_bytes: int


def predict(job: Job, *, n_train: int, n_genes: int, records: Sequence[Measured]) -> Prediction:
    """Predict a Job from the newest Record of its model, scaled by steps, cells and genes.

    The dense layers next to the genes do nearly all the work, so time per step and weights grow
    with the number of genes; memory does not shrink below what the libraries take, and neither does the
    start of a process.

    Parameters
    ----------
    job
        The Job whose cost is predicted.
    n_train, n_genes
        Shape of the training cells.
    records
        Jobs measured on this machine, the oldest first.
    """
    same = [measured for measured in records if measured.record.job.model == job.model]
    if not same:
        return Prediction(None, None, None)
    newest, growth = same[-1], n_genes / same[-1].shape[1]
    memory = newest.record.memory.peak_rss_bytes
    beside = (memory and memory * max(1.0, growth), newest.disk_bytes * growth)
    # What Jobs took that others disturbed says nothing of one that is alone; their memory is as ever.
    alone = [measured for measured in same if not measured.record.beside]
    if not alone:
        return Prediction(None, *beside)
    last = alone[-1]
    fit, timing = _fit_seconds(job, last, (n_train, n_genes)), _timing_seconds(job, alone, n_genes)
    if fit is None or timing is None:
        return Prediction(None, *beside)
    phases = _other_phases(job, last, (n_train, n_genes)) | {"fit": fit, "sample_timing": timing}
    return Prediction(sum(phases.values()), *beside, phases)


def _fit_seconds(job: Job, last: Measured, shape: Shape) -> float | None:
    """Return the seconds of training, with what it compiles; None where the budgets do not compare."""
    cells, growth = shape[0] / last.shape[0], shape[1] / last.shape[1]
    whole = last.record.phases.get("fit", 0.0)
    if job.budget is None:
        return float(whole * cells * growth)
    if last.record.training is None or last.record.job.budget is None:
        return None
    budget, last_budget = Budget.parse(job.budget), Budget.parse(last.record.job.budget)
    trained = last.record.training.seconds
    compiled = float(max(0.0, whole - trained))
    if budget.unit == "seconds":
        return budget.amount + compiled
    if budget.unit != last_budget.unit:
        return None
    longer = budget.amount / last_budget.amount * (cells if budget.unit == "epochs" else 1.0)
    return float(trained * longer * growth + compiled)


def _timing_seconds(job: Job, same: Sequence[Measured], n_genes: int) -> float | None:
    """Return the seconds of all timed rounds, of which none begins behind the limit."""
    if not job.timing_cells:
        return 0.0
    timed = [(timing, measured.shape) for measured in same if (timing := measured.record.timing) is not None]
    if not timed:
        return None
    (timing, shape) = timed[-1]
    once = timing.median_seconds / timing.n_cells * n_genes / shape[1] * job.timing_cells
    return min(once * job.timing_repeats, job.timing_limit_seconds + once)


def _other_phases(job: Job, last: Measured, shape: Shape) -> dict[str, float]:
    seconds = {name: value for name, value in last.record.phases.items() if "/" not in name}
    cells, growth = shape[0] / last.shape[0], shape[1] / last.shape[1]
    drawn, last_drawn = (facts.n_cells * len(facts.sample_seeds) for facts in (job, last.record.job))
    scales = {"load": cells * growth, "prepare": cells * growth, "save": growth, "reload": growth}
    scales |= dict.fromkeys(("sample", "check", "write"), growth * drawn / max(1, last_drawn))
    start = max(0.0, (last.record.wall_seconds or 0.0) - sum(seconds.values()))
    return {START: start} | {name: seconds.get(name, 0.0) * scale for name, scale in scales.items()}


@dataclass(frozen=True)
class Past:
    """What this machine measured before.

    Attributes
    ----------
    records
        Measured Jobs, the oldest first.
    scores
        Metric → seconds of one score for each cell a side and gene, in the latest run that has it.
    stages
        Stage done once a run (`STAGES`) → its seconds for each Job, in the latest run that noted them.
    """

    records: list[Measured]
    scores: dict[str, float]
    stages: dict[str, float]


UNREADABLE = (OSError, DamagedFile, ArithmeticError, LookupError, TypeError, ValueError)
"""What reading a run raises that is damaged, of an earlier version, or just being written."""


def past(out: Path, fingerprint: str) -> Past:
    """Return what the latest runs under `out` tell of this machine; what cannot be read tells nothing."""
    found = Past([], {}, {})
    for folder, request in islice(_runs(out, fingerprint), MOST_RUNS):
        with suppress(*UNREADABLE):
            shape = request["train_shape"]
            records = list(_records(folder, shape, fingerprint))
            scores = _score_seconds(folder, shape, known=found.scores)
            n_jobs = len(read_json(folder / "plan.json"))
            noted = folder / "seconds.json"
            stages = read_json(noted) if noted.exists() else {}
            stages = {name: seconds / n_jobs for name, seconds in stages.items()}
            found.records[:0] = records
            found.scores.update(scores)
            found.stages.update(stages | found.stages)
    return found


def _runs(out: Path, fingerprint: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield this machine's runs, the latest first; one of an earlier version may lack what is needed."""
    for file in sorted(out.glob("*/request.json"), reverse=True):
        try:
            request = read_json(file)
        except (OSError, DamagedFile):
            continue
        here = request.get("hardware", {}).get("fingerprint") == fingerprint
        if here and "train_shape" in request and (file.parent / "plan.json").exists():
            yield file.parent, request


def _records(folder: Path, shape: Shape, fingerprint: str) -> Iterator[Measured]:
    for file in sorted(folder.glob("jobs/*/record.json"), key=lambda file: file.stat().st_mtime):
        record = Record.model_validate({"key": file.parent.name} | read_json(file))
        # What another process is just writing may be gone again.
        if record.status == OK and record.machine.fingerprint == fingerprint:
            size = 0
            for path in file.parent.rglob("*"):
                with suppress(FileNotFoundError):
                    size += path.stat().st_size if path.is_file() else 0
            yield Measured(record, shape, size)


def _score_seconds(folder: Path, shape: Shape, *, known: Collection[str]) -> dict[str, float]:
    seconds: dict[str, list[float]] = {}
    for file in folder.glob("jobs/*/scores/*.json"):
        # Some hold a value for each cell: what need not be read is not.
        if file.stem.rpartition("-")[2] in known:
            continue
        score = Score.model_validate(read_json(file))
        if score.seconds is not None and score.n_cells:
            took = score.seconds + (score.shared_seconds or 0.0)
            seconds.setdefault(score.metric, []).append(took / score.n_cells / shape[1])
    return {name: fmean(values) for name, values in seconds.items()}


class Outlook:
    """How long a run will still take.

    Parameters
    ----------
    jobs
        All Jobs of the run.
    shape
        Numbers of training cells and of genes.
    experiments
        Metric → the kind of experiment that it scores.
    protocols
        Names of the protocols under which cells are scored.
    past
        What this machine measured before.
    only_under
        Metric → the protocols under which it is computed; all of them for a metric that is not named.
    dataset_bytes
        Size of the prepared cells in bytes.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        shape: Shape,
        experiments: Mapping[str, str],
        protocols: Sequence[str],
        past: Past,
        only_under: Mapping[str, Sequence[str]] | None = None,
        dataset_bytes: int = 0,
    ) -> None:
        self._jobs, self._shape, self._past = jobs, shape, past
        self._scoring_processes = scoring_processes(max(1, len(jobs)), dataset_bytes=dataset_bytes)
        self._experiments, self._protocols = experiments, protocols
        self._only_under = only_under or {}

    @classmethod
    def of(cls, run: RunFolder) -> Outlook:
        """Return that of a run, by what lies beside it."""
        request = run.read_request()
        return cls(
            run.jobs(),
            shape=request["train_shape"],
            experiments={metric.name: metric.experiment for metric in run.metrics()},
            protocols=request["protocols"],
            only_under=request.get("only_under"),
            past=past(run.path.parent, request["hardware"]["fingerprint"]),
            dataset_bytes=run.dataset_bytes,
        )

    def prediction(self, job: Job) -> Prediction:
        """Return what a Job is expected to cost."""
        n_train, n_genes = self._shape
        return predict(job, n_train=n_train, n_genes=n_genes, records=self._past.records)

    def learn(self, record: Record) -> None:
        """Take a Record that was just made for the next prediction."""
        if record.status == OK:
            self._past.records.append(Measured(record, self._shape, 0))

    def left_with(self, waiting: Sequence[Job]) -> Left:
        """Return how long Jobs that wait, and all that follows them, will take."""
        timed = self._jobs_left([job for job in waiting if job.is_timed])
        untimed = [job for job in waiting if not job.is_timed]
        beside = self._jobs_left(untimed)
        at_once = room_for(max(1, len(untimed)), bytes_each=GIB)
        jobs = timed + Left(beside.seconds / at_once, beside.whole)
        return jobs + self.scoring_left() + self.end_left()

    def _jobs_left(self, jobs: Sequence[Job]) -> Left:
        seconds = [self.prediction(job).seconds for job in jobs]
        return sum((UNKNOWN if s is None else Left(s) for s in seconds), Left(0.0))

    def scoring_left(self) -> Left:
        """Return how long the scoring of all Jobs will take."""
        waiting: Counter[str] = Counter()
        for job in self._jobs:
            kind = job.experiment.kind
            # No retraining is scored as observed (see `bench.request.choices.exists_in`).
            protocols = [p for p in self._protocols if kind == "main" or OBSERVED not in p]
            for name in (name for name, wanted in self._experiments.items() if wanted == kind):
                under = {job.scored_under(p) for p in self._only_under.get(name, protocols) if p in protocols}
                waiting[name] += len(job.sample_seeds) * len(under)
        # Jobs are shared out among so many processes.
        alone = scores_left(waiting, self.score_seconds, {})
        return Left(alone.seconds / self._scoring_processes, alone.whole)

    @property
    def score_seconds(self) -> dict[str, float]:
        """Metric → seconds expected of one score."""
        cells = max((job.n_cells for job in self._jobs), default=0)
        return {name: seconds * cells * self._shape[1] for name, seconds in self._past.scores.items()}

    def end_left(self) -> Left:
        """Return how long what is done once a run will take."""
        known = self._past.stages
        parts = [Left(known[name] * len(self._jobs)) if name in known else UNKNOWN for name in STAGES]
        return sum(parts, Left(0.0))
