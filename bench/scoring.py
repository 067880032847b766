"""Scores of stored cells: no model is needed, and editing a metric retrains nothing.

``python -m bench.scoring RUN PARENT`` is the process that `bench.executor.run_scoring` starts.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.plan import Experiment, Job
from bench.registry import hash_files, resolve_metric
from bench.resources import die_with_parent
from bench.run_folder import RunFolder, read_json, write_json
from bench.seeds import derive
from bench.worker import training_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from metrics.augmentation import AugmentationSetting
    from metrics.declaration import Metric, Score
    from metrics.evidence import RealEvidence, SyntheticCells

PROTOCOL: Literal["strict"] = "strict"
SPACE = "log_cp20k"


@dataclass(frozen=True)
class ScoreTask:
    """One metric on one stored sample of one Job."""

    job: Job
    sample_seed: int
    metric: Metric

    @property
    def key(self) -> str:
        """Hash of everything that may change the score: the Job, the metric's source, protocol, seeds."""
        text = json.dumps(
            [self.job.key, self.sample_seed, self.metric.name, source_hash(self.metric), PROTOCOL]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_hash(metric: Metric) -> str:
    """Hash of the file that computes a metric and of our metrics, whose parts it may share."""
    return hash_files([Path(inspect.getfile(metric.compute))]) + metrics_hash()


def metrics_hash() -> str:
    """Hash of the package `metrics`."""
    import metrics

    return hash_files(sorted(Path(metrics.__path__[0]).glob("*.py")))


class Scorer:
    """Holds what many scores of one run share: the real cells' evidence, computed once."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.seed = derive(0, "metrics")
        # One Job's evidence is enough: tasks come Job by Job, and memory must not grow with them.
        self._latest: tuple[tuple[str, int], SyntheticCells] | None = None

    @cached_property
    def adata(self) -> AnnData:
        """The run's data set."""
        import anndata

        return anndata.read_h5ad(self.run.dataset)

    @cache  # noqa: B019 - the scorer lives as long as its process
    def real(self, n_cells: int) -> RealEvidence:
        """Evidence of the real cells at n_cells a side."""
        from metrics.evidence import RealEvidence

        return RealEvidence.from_adata(self.adata, n_cells=n_cells, seed=self.seed, protocol=PROTOCOL)

    @lru_cache(maxsize=1)  # noqa: B019 - one experiment's cells are enough
    def setting(self, experiment: Experiment) -> AugmentationSetting:
        """The augmentation experiment's cells: what is left of the training cells, and the test cells."""
        from metrics.augmentation import AugmentationSetting

        train = training_cells(experiment, self.adata)
        test = self.adata[self.adata.obs["split"] == "test"]
        return AugmentationSetting(
            train_counts=train.layers["counts"],
            train_types=train.obs["cell_type"].to_numpy(dtype=str),
            test_counts=test.layers["counts"],
            test_types=test.obs["cell_type"].to_numpy(dtype=str),
            cell_type=str(experiment.cell_type),
            seed=self.seed,
        )

    def sample(self, job: Job, sample_seed: int) -> SyntheticCells:
        """A Job's stored cells, beside the test cells unless they were made to be added to training cells."""
        import anndata

        from metrics.evidence import SampleEvidence, SyntheticCells

        wanted = (job.key, sample_seed)
        if self._latest is None or self._latest[0] != wanted:
            cells = anndata.read_h5ad(self.run.job_folder(job).cells(sample_seed))
            types = cells.obs["cell_type"].to_numpy(dtype=str) if "cell_type" in cells.obs else None
            facts = {"space": cells.uns["bench"]["space"], "cell_types": types}
            if job.experiment.kind == "augmentation":
                self._latest = (wanted, SyntheticCells(cells.X, **facts))
            else:
                self._latest = (wanted, SampleEvidence(self.real(job.n_cells), cells.X, **facts))
        return self._latest[1]

    def compute(self, task: ScoreTask) -> Score:
        """Compute one score."""
        experiment = task.job.experiment
        main = experiment.kind == "main"
        real = self.real(task.job.n_cells) if main else self.setting(experiment)
        return task.metric.compute(real, self.sample(task.job, task.sample_seed))

    def baselines(self, experiment: Experiment) -> list[dict[str, Any]]:
        """Score no augmentation and the cheap augmenters in one augmentation experiment."""
        from metrics.augmentation import augmentation_baselines
        from metrics.declaration import NotApplicable

        facts = {name: getattr(experiment, name) for name in ("cell_type", "fraction", "subsample_seed")}
        try:
            scores = augmentation_baselines(self.setting(experiment), n_added=experiment.added_cells or 0)
        except NotApplicable:
            # The same reason stands beside the models' own scores.
            return []
        return [facts | {"augmenter": name, "values": score.values} for name, score in scores.items()]


def missing_scores(run: RunFolder, metrics: list[Metric]) -> list[ScoreTask]:
    """Return the scores that stored cells still lack, or whose metric has changed since."""
    return [
        task
        for job in run.jobs()
        for sample_seed in job.sample_seeds
        if run.job_folder(job).cells(sample_seed).exists()
        for metric in metrics
        if metric.experiment == job.experiment.kind
        for task in [ScoreTask(job, sample_seed, metric)]
        if not _is_current(run, task)
    ]


def score_of(metric: Metric, compute: Any) -> dict[str, Any]:
    """Run one metric's computation; a failure belongs to that metric alone.

    ``error`` says why there is no value; ``failed`` tells a fault from a metric that does not apply.
    """
    from metrics.declaration import NotApplicable

    started = time.perf_counter()
    values, details, notes, error, failed = {}, {}, [], None, False
    try:
        score: Score = compute()
        values, details, notes = score.values, score.details, score.notes
    except NotApplicable as reason:
        error = str(reason)
    except Exception as failure:  # noqa: BLE001 - one metric's failure must not lose the others
        traceback.print_exc()
        failed = True
        error = f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"
    return {
        "metric": metric.name,
        "protocol": PROTOCOL,
        "values": values,
        "details": details,
        "notes": notes,
        "error": error,
        "failed": failed,
        "seconds": time.perf_counter() - started,
    }


def failed_score(run: RunFolder, current: dict[str, Any], cause: str) -> None:
    """Store the failure of the score that was being computed when the scoring process died."""
    job = next(job for job in run.jobs() if job.key == current["job"])
    task = ScoreTask(job, current["sample_seed"], resolve_metric(current["metric"]))
    empty: dict[str, Any] = {
        "protocol": PROTOCOL,
        "values": {},
        "details": {},
        "notes": [],
        "error": cause,
        "failed": True,
        "seconds": None,
    }
    _store(run, task, {"metric": task.metric.name, **empty})


def main(arguments: list[str]) -> int:
    """Score a run as its ``scoring.json`` asks, telling there which score is being computed."""
    die_with_parent(int(arguments[1]))
    run = RunFolder.open(Path(arguments[0]))
    request_file = run.path / "scoring.json"
    request = read_json(request_file)
    metrics = [resolve_metric(name) for name in request["metrics"]]
    scorer = Scorer(run)
    for task, position in _announced(run, metrics, request, request_file):
        score = score_of(task.metric, lambda task=task: scorer.compute(task))
        _store(run, task, score)
        print(f"{position} {task.job.title} {task.metric.name} {score['seconds']:.2f} s", flush=True)  # noqa: T201
    if any(metric.experiment == "augmentation" for metric in metrics):
        _store_baselines(run, scorer)
    return 0


def _announced(
    run: RunFolder, metrics: list[Metric], request: dict[str, Any], request_file: Path
) -> Iterator[tuple[ScoreTask, str]]:
    tasks = missing_scores(run, metrics)
    for number, task in enumerate(tasks):
        current = {
            "title": task.job.title,
            "phase": task.metric.name,
            "done": number,
            "total": len(tasks),
            "job": task.job.key,
            "sample_seed": task.sample_seed,
            "metric": task.metric.name,
        }
        write_json(request_file, request | {"current": current})
        yield task, f"{number + 1}/{len(tasks)}"
    write_json(request_file, request | {"current": None})


def _store_baselines(run: RunFolder, scorer: Scorer) -> None:
    """Score the baselines of each experiment that has none yet; each is kept as soon as it is there."""
    experiments = dict.fromkeys(job.experiment for job in run.jobs() if job.experiment.kind == "augmentation")
    for experiment in experiments:
        file = run.baselines / f"{experiment.slug}.json"
        if not file.exists() or read_json(file)["key"] != metrics_hash():
            write_json(file, {"key": metrics_hash(), "scores": scorer.baselines(experiment)})


def _store(run: RunFolder, task: ScoreTask, score: dict[str, Any]) -> None:
    file = run.job_folder(task.job).score_file(task.sample_seed, task.metric.name)
    facts = {"key": task.key, "sample_seed": task.sample_seed, "n_cells": task.job.n_cells}
    write_json(file, score | facts)


def _is_current(run: RunFolder, task: ScoreTask) -> bool:
    file = run.job_folder(task.job).score_file(task.sample_seed, task.metric.name)
    return file.exists() and read_json(file)["key"] == task.key


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
