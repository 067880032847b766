"""Scores of stored cells: no model is needed, and editing a metric retrains nothing.

``python -m bench.scoring.tasks REQUEST PARENT`` is what `bench.scoring.processes.run_scoring` starts,
a process for each share of the Jobs.
"""

from __future__ import annotations

import inspect
import math
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.request.choices import exists_in
from bench.request.plan import Job
from bench.request.registry import resolve_metric
from bench.results.disk import ends_on_full_disk
from bench.results.files import read_json, readable, write_json, write_sealed
from bench.results.records import StoredBaselines, key_of_score
from bench.results.run_folder import RunFolder
from bench.scoring.comparison import Comparison
from bench.scoring.embeddings import store_embeddings
from bench.scoring.scorer import Scorer, metrics_code
from bench.work.processes import end_now
from bench.work.resources import die_with_parent
from datasets.code import imported_with, meaning_of
from metrics.shared_cost import EVIDENCE
from reports.view import Score

if TYPE_CHECKING:
    from metrics.declaration import Metric
    from metrics.declaration import Score as Found


@dataclass(frozen=True)
class ScoreTask:
    """One metric on one stored sample of one Job, in one comparison."""

    job: Job
    sample_seed: int
    metric: Metric
    comparison: Comparison

    @property
    def key(self) -> str:
        """See `bench.results.records.key_of_score`."""
        return key_of_score(
            self.job,
            sample_seed=self.sample_seed,
            metric=self.metric.name,
            code=source_hash(self.metric),
            protocol=self.comparison.protocol.name,
        )

    def file(self, run: RunFolder) -> Path:
        """Return where the score is stored."""
        return run.job_folder(self.job).score_file(
            self.sample_seed, self.metric.name, self.comparison.protocol.name
        )


def source_hash(metric: Metric) -> str:
    """Hash of what a metric's file says, with all that it imports, and of what metrics look at."""
    return _hash_of(Path(inspect.getfile(inspect.unwrap(metric.compute))))


@cache
def _hash_of(file: Path) -> str:
    import metrics

    packages = {"metrics": Path(metrics.__path__[0]).parent}
    return meaning_of(imported_with(file, packages=packages)) + metrics_code()


def score_tasks(run: RunFolder, metrics: Sequence[Metric], protocols: Sequence[str]) -> list[ScoreTask]:
    """Return the scores that stored cells can have, in an order that computes shared evidence once.

    A generator that outputs counts is the same in ``strict`` and ``strict+observed``: it is scored under
    ``strict`` for both. What a run was asked for under some protocols only it has under these.
    """
    request = run.read_request()
    only_under = request.get("only_under", {})
    tasks: dict[tuple[str, str, int, str], ScoreTask] = {}
    for name in protocols:
        for job in run.jobs():
            asked = [
                metric
                for metric in metrics
                if metric.experiment == job.experiment.kind
                and exists_in(metric, name)
                and name in only_under.get(metric.name, protocols)
            ]
            for sample_seed in job.sample_seeds:
                if run.job_folder(job).cells(sample_seed).exists():
                    comparison = Comparison.of_job(job, sample_seed, name, request=request)
                    for metric in asked:
                        task = ScoreTask(job, sample_seed, metric, comparison)
                        tasks.setdefault((comparison.protocol.name, job.key, sample_seed, metric.name), task)
    order = list(dict.fromkeys(protocol for protocol, *_ in tasks))
    return sorted(
        tasks.values(),
        key=lambda task: (order.index(task.comparison.protocol.name), task.comparison.real != "test"),
    )


def missing_scores(run: RunFolder, metrics: Sequence[Metric], protocols: Sequence[str]) -> list[ScoreTask]:
    """Return the scores that stored cells still lack, or whose metric has changed since."""
    return [task for task in score_tasks(run, metrics, protocols) if _key_in(task.file(run)) != task.key]


def score_of(metric: Metric, comparison: Comparison, compute: Callable[[], Found]) -> Score:
    """Run one metric's computation; a failure belongs to that metric alone.

    Parameters
    ----------
    metric, comparison
        The metric, and the comparison that it is computed for.
    compute
        Function that computes the metric.

    Returns
    -------
    Score
        What a score file holds.
    """
    from metrics.declaration import NotApplicable

    started, shared = time.perf_counter(), EVIDENCE.seconds
    stored = _without_value(metric, comparison)
    try:
        found = compute()
        if not math.isfinite(found.headline):
            raise ArithmeticError(f"{metric.name} came out as {found.headline}")
        stored = stored.but(**vars(found))
    except NotApplicable as reason:
        stored = stored.but(error=str(reason))
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - one metric's failure must not lose the others
        traceback.print_exc()
        message = (str(failure).splitlines() or [""])[0]
        stored = stored.but(failed=True, error=f"{type(failure).__name__}: {message}")
    shared = EVIDENCE.seconds - shared
    return stored.but(seconds=time.perf_counter() - started - shared, shared_seconds=shared)


def failed_score(run: RunFolder, current: dict[str, Any], cause: str) -> None:
    """Store the failure of the score that was being computed when the scoring process died."""
    job = next(job for job in run.jobs() if job.key == current["job"])
    sample_seed, metric = current["sample_seed"], resolve_metric(current["metric"])
    comparison = Comparison.of_job(job, sample_seed, current["protocol"], request=run.read_request())
    score = _without_value(metric, comparison).but(error=cause, failed=True)
    _store(run, ScoreTask(job, sample_seed, metric, comparison), score)


@ends_on_full_disk
def main(arguments: list[str]) -> int:
    """Score a share of a run's Jobs as a file asks, telling there which score is being computed."""
    die_with_parent(int(arguments[1]))
    request_file = Path(arguments[0])
    request = read_json(request_file)
    run = RunFolder.open(request_file.parent)
    metrics = [resolve_metric(name) for name in request["metrics"]]
    scorer = Scorer(run)
    took: dict[str, list[float]] = {}
    for task, position in _announced(run, metrics, request, request_file, took):
        compute = partial(scorer.compute, task.metric, task.job, task.sample_seed, task.comparison)
        score = score_of(task.metric, task.comparison, compute)
        _store(run, task, score)
        took.setdefault(task.metric.name, []).append((score.seconds or 0.0) + (score.shared_seconds or 0.0))
        cost = f"{score.seconds:.2f} s, evidence {score.shared_seconds:.2f} s"
        print(f"{position} {task.job.title} {task.metric.name} {cost}", flush=True)  # noqa: T201

    if request["only"] is not None:
        return 0

    def begin(title: str, phase: str) -> None:
        write_json(request_file, request | {"current": None, "beside": {"title": title, "phase": phase}})

    share, n_shares = request["share"], request["n_shares"]
    # What stands beside augmentation belongs to no Job, and so to the last share.
    if share == n_shares - 1 and any(metric.experiment == "augmentation" for metric in metrics):
        begin("cheap augmenters", "augmentation_f1")
        started = time.perf_counter()
        _store_baselines(run, scorer)
        run.note_seconds("augmenters", time.perf_counter() - started)
    if request["maps"]:
        started = time.perf_counter()
        store_embeddings(run, scorer, share=share, n_shares=n_shares, begin=begin)
        run.note_seconds("maps", time.perf_counter() - started)
    return 0


def _announced(
    run: RunFolder, metrics: list[Metric], request: dict[str, Any], file: Path, took: dict[str, list[float]]
) -> Iterator[tuple[ScoreTask, str]]:
    """Yield the scores that are missing, each written down first, with what is left and what others took."""
    own = {job.key for job in run.jobs()[request["share"] :: request["n_shares"]]}
    if request["only"] is not None:
        own = {request["only"]}
    tasks = [task for task in missing_scores(run, metrics, request["protocols"]) if task.job.key in own]
    for number, task in enumerate(tasks):
        waiting = Counter(waiting.metric.name for waiting in tasks[number:])
        current = {
            "title": task.job.title,
            "phase": f"{task.metric.name}, {task.comparison.protocol.name}",
            "done": number,
            "total": len(tasks),
            "job": task.job.key,
            "sample_seed": task.sample_seed,
            "metric": task.metric.name,
            "protocol": task.comparison.protocol.name,
        }
        write_json(file, request | {"current": current, "waiting": waiting, "took": took})
        yield task, f"{number + 1}/{len(tasks)}"
    write_json(file, request | {"current": None})


def _store_baselines(run: RunFolder, scorer: Scorer) -> None:
    """Score the baselines of each experiment that has none yet; each is kept as soon as it is there."""
    experiments = dict.fromkeys(job.experiment for job in run.jobs() if job.experiment.kind == "augmentation")
    for experiment in experiments:
        file = run.baselines / f"{experiment.slug}.json"
        if _key_in(file) != metrics_code("augmentation"):
            found = StoredBaselines(key=metrics_code("augmentation"), scores=scorer.baselines(experiment))
            write_sealed(file, found.plain())


def _without_value(metric: Metric, comparison: Comparison) -> Score:
    return Score(metric=metric.name, protocol=comparison.protocol.name, n_cells=comparison.n_cells, values={})


def _store(run: RunFolder, task: ScoreTask, score: Score) -> None:
    known = score.but(key=task.key, code=source_hash(task.metric), sample_seed=task.sample_seed)
    write_sealed(task.file(run), known.plain())


def _key_in(file: Path) -> str | None:
    """Return the key that a file holds, or None if it is missing or damaged: it is made again."""
    return (readable(file) or {}).get("key")


if __name__ == "__main__":
    end_now(main(sys.argv[1:]))
