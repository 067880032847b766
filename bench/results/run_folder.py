"""The run folder: the truth about a run. Everything else is a view of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from bench.errors import RequestError
from bench.request.plan import Job
from bench.request.spec import RunSpec
from bench.results.cells import is_sound
from bench.results.disk import is_disk_full
from bench.results.files import (
    damaged,
    link_or_copy,
    read_json,
    read_object,
    readable,
    readable_as,
    write_json,
    write_sealed,
)
from bench.results.records import StoredBaselines, as_declared_today, scores_under, unstarted_record
from datasets.cache import file_name
from reports.view import SKIPPED, MetricFacts, Record, RunFacts, RunView, Score

Found = TypeVar("Found")


class JobFolder:
    """Where one Job keeps its request, record, curves, model, cells and scores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.job = path / "job.json"
        self.record = path / "record.json"
        self.progress = path / "progress.json"
        self.curves = path / "curves.jsonl"
        self.resources = path / "resources.jsonl"
        self.log = path / "log.txt"
        self.model = path / "model"
        self.fitted = path / "fitted.json"
        self.checkpoint = path / "checkpoint"
        self.machine = path / "machine.json"
        self.at_work = path / "at_work.json"
        self.beside = path / "beside.json"
        self.scores = path / "scores"

    @property
    def scratch(self) -> Path:
        """Where its process keeps what it needs for a while: in here, or in a folder of its own in TMPDIR.

        What is trained from disk is copied there, and a run's folder may lie on a slow disk that many share.
        """
        named = os.environ.get("TMPDIR")
        if not named or not Path(named).is_dir() or not os.access(named, os.W_OK | os.X_OK):
            return self.path / "tmp"
        # The same one again after a kill, so that what was left is removed.
        return Path(named) / f"bench-{hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]}"

    def read_record(self) -> Record | None:
        """Return the Record, or None if the Job has not ended, or if the file is damaged: it is run again."""
        return readable_as(Record, self.record, "status", "job", key=self.path.name)

    def write_record(self, record: Record) -> None:
        """Store the Record, with a digest by which a later change is seen."""
        write_sealed(self.record, record.plain())

    def read_fitted(self) -> dict[str, Any] | None:
        """Return what the training took, or None if it has not ended, or if the file is damaged."""
        return readable(self.fitted, "clock", "peak_rss_bytes")

    def cells(self, sample_seed: int) -> Path:
        """Return where the cells drawn with a sample seed are stored."""
        return self.path / f"cells-{sample_seed}.h5ad"

    def cells_checksum(self, sample_seed: int) -> str | None:
        """Return the SHA-256 of a file of cells as it was written; None where the Record holds none."""
        record = self.read_record()
        sample = None if record is None else record.samples.get(str(sample_seed))
        return None if sample is None else sample.sha256

    def damaged_cells(self, sample_seeds: Sequence[int]) -> list[Path]:
        """Return the files of cells that are missing, cut off or changed."""
        files = {seed: self.cells(seed) for seed in sample_seeds}
        return [file for seed, file in files.items() if not is_sound(file, self.cells_checksum(seed))]

    def score_file(self, sample_seed: int, metric: str, protocol: str) -> Path:
        """Return where a metric's score of a sample under a protocol is stored."""
        return self.scores / f"{sample_seed}-{protocol}-{metric}.json"

    def read_scores(self) -> list[Score]:
        """Return every stored score; one that is damaged counts as missing: it can be computed again."""
        return [score for score in self._scores().values() if score is not None]

    def damaged_scores(self) -> list[Path]:
        """Return the files of scores that cannot be read."""
        return [file for file, score in self._scores().items() if score is None]

    def _scores(self) -> dict[Path, Score | None]:
        return {file: readable_as(Score, file) for file in sorted(self.scores.glob("*.json"))}


class RunFolder:
    """One ``bench run``: ``request.json``, ``plan.json``, ``dataset.h5ad`` and a folder for each Job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.request = path / "request.json"
        self.plan = path / "plan.json"
        self.dataset = path / "dataset.h5ad"
        self.baselines = path / "augmentation_baselines"
        self.figures = path / "figures"
        self.seconds = path / "seconds.json"

    @classmethod
    def create(cls, out: Path, dataset_name: str) -> RunFolder:
        """Make a new run folder named after the time and the data set."""
        stem = f"{datetime.now():%Y%m%d-%H%M%S}-{file_name(dataset_name)}"
        out.mkdir(parents=True, exist_ok=True)
        for suffix in ["", *(f"-{number}" for number in range(2, 100))]:
            path = out / f"{stem}{suffix}"
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return cls(path.resolve())
        raise RequestError(f"--out {str(out)!r}: too many runs called {stem}")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises
        ------
        RequestError
            If the folder is none.
        """
        run = cls(path.resolve())
        for file in (run.plan, run.request):
            if not file.exists():
                raise RequestError(f"{str(path)!r} is not a run folder: it has no {file.name}")
        return run

    def scoring_request(self, share: int | str) -> Path:
        """Return the file that tells a scoring process what to do, and by which it tells how far it is."""
        return self.path / f"scoring-{share}.json"

    def scoring_log(self, share: int | str) -> Path:
        """Return the file that takes what a scoring process prints."""
        return self.path / f"scoring-{share}.log"

    def write_request(self, spec: RunSpec, jobs: list[Job], **context: Any) -> None:
        """Store the request, the plan and what was known when the run began."""
        write_sealed(self.request, {"spec": spec.model_dump(mode="json"), **context})
        # The plan comes last: a folder without it is no run.
        write_json(self.plan, [job.model_dump(mode="json") for job in jobs])

    def read_request(self) -> dict[str, Any]:
        """Return the stored request with its context.

        Raises
        ------
        RequestError
            If an earlier version stored it, which kept one protocol a run: its scores lack what tables need.
        """
        request = read_object(self.request, "spec")
        if "protocols" not in request:
            raise RequestError(
                f"{str(self.path)!r} was made by an earlier version (its request names no protocols): "
                "run it again"
            )
        return request

    def update_request(self, **context: Any) -> None:
        """Replace parts of the stored context."""
        write_sealed(self.request, self.read_request() | context)

    def read_spec(self) -> RunSpec:
        """Return the stored request as a `RunSpec`."""
        return RunSpec.checked(**self.read_request()["spec"])

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while this one works on the run; `bench job` may carry out Jobs of it.

        Raises
        ------
        RequestError
            If one is at work already.
        """
        lock = _lock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RequestError(f"{str(self.path)!r}: another bench process is at work on this run") from error
        try:
            yield
        finally:
            lock.release()

    def require_locks(self) -> None:
        """Raise a RequestError if nothing can be locked in the folder: processes could not keep apart."""
        try:
            with _lock(self.path / ".probe.lock"):
                pass
        except OSError as error:
            if is_disk_full(error):
                raise
            raise RequestError(
                f"{str(self.path)!r} cannot be locked here ({error.strerror}): carry it out where it can be "
                "written, on a file system that keeps locks"
            ) from error

    def job_lock(self, job: Job) -> FileLock:
        """Return the lock that whoever carries out a Job holds."""
        return _lock(self.path / f".{job.key}.lock")

    def work_lock(self, key: str = "") -> FileLock:
        """Return the lock that who is at work on a Job holds; without a key, that of who looks for others."""
        return _lock(self.path / f".{key}.work.lock")

    def jobs(self) -> list[Job]:
        """Return the plan.

        Raises
        ------
        DamagedFile
            If it holds anything else.
        """
        try:
            return [Job(**job) for job in read_json(self.plan)]
        except (TypeError, ValidationError) as error:
            raise damaged(self.plan, "no plan") from error

    def job_folder(self, job: Job) -> JobFolder:
        """Return the folder of a Job."""
        return JobFolder(self.path / "jobs" / job.key)

    def good_record(self, job: Job) -> Record | None:
        """Return the Record of a Job that ended well and need not run again."""
        folder = self.job_folder(job)
        record = folder.read_record()
        if record is None or not record.has_ended:
            return None
        # Cells that are gone or damaged are drawn again, from the stored model.
        is_whole = record.status == SKIPPED or not folder.damaged_cells(job.sample_seeds)
        return record if is_whole else None

    def begun(self) -> list[JobFolder]:
        """Return the folders of the Jobs that are at work, or were when their processes were killed."""
        return [JobFolder(file.parent) for file in self.path.glob("jobs/*/at_work.json")]

    def note_seconds(self, stage: str, seconds: float) -> None:
        """Keep how long something took that is done once a run; doing it again, in part, takes no less."""
        # Scoring processes may note at once.
        with FileLock(self.path / ".seconds.lock"):
            noted = readable(self.seconds) or {}
            write_json(self.seconds, noted | {stage: max(seconds, noted.get(stage, 0.0))})

    @property
    def dataset_bytes(self) -> int:
        """Size of the prepared cells, 0 where they are missing."""
        return self.dataset.stat().st_size if self.dataset.exists() else 0

    def link_dataset(self, source: Path) -> None:
        """Keep the prepared data set in the run folder; a hard link, where the file system allows."""
        link_or_copy(source, self.dataset)

    def facts(self) -> RunFacts:
        """Return what was known when the run began.

        Raises
        ------
        DamagedFile
            If the request lacks any of it.
        """
        request = self.read_request()
        spec = request["spec"]
        known = {
            "folder": str(self.path),
            "profile": spec["profile"],
            "own_budgets": bool(spec["budget"]),
            "own_settings": tuple(spec["settings"]),
            "own_cells": spec["cells"],
        }
        return self._checked(TypeAdapter(RunFacts), request | known)

    def sealed_files(self) -> list[Path]:
        """Return the files that hold a digest of themselves: request, Records, scores, augmenters."""
        folders = [self.job_folder(job) for job in self.jobs()]
        records = [folder.record for folder in folders if folder.record.exists()]
        scores = [file for folder in folders for file in sorted(folder.scores.glob("*.json"))]
        return [self.request, *records, *scores, *sorted(self.baselines.glob("*.json"))]

    def metrics(self) -> list[MetricFacts]:
        """Return the declarations of the metrics that were asked for."""
        return self._checked(TypeAdapter(list[MetricFacts]), self.read_request()["metrics"])

    def _checked(self, kind: TypeAdapter[Found], content: Any) -> Found:
        try:
            return kind.validate_python(content)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise damaged(self.request, where) from error

    def view(self) -> RunView:
        """Return records, scores and context: what `reports` and the tracking read."""
        run, jobs = self.facts(), self.jobs()
        return RunView(
            run=run,
            protocol=run.protocols[0],
            records=[self.job_folder(job).read_record() or unstarted_record(job) for job in jobs],
            scores={
                job.key: scores_under(run.protocols, job, self.job_folder(job).read_scores()) for job in jobs
            },
            baselines=[
                score
                for file in sorted(self.baselines.glob("*.json"))
                for score in (readable_as(StoredBaselines, file) or StoredBaselines()).scores
            ],
            metrics=[as_declared_today(metric) for metric in self.metrics()],
        )


def _lock(file: Path) -> FileLock:
    # A lock of another kind would outlive whoever is killed, and keep the next one out for ever.
    return FileLock(file, fallback_to_soft=False)
