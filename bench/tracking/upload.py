"""One pass over a run: what MLflow lacks is written, what it has is left alone."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.tracking import naming, store
from bench.tracking.models import log_model
from bench.tracking.moved import follow_artifacts
from bench.tracking.points import curve_points, scalar_points
from bench.tracking.start_view import TAG as START_VIEW
from bench.tracking.start_view import start_view
from reports.curves import curves_file, read_curves, read_resources, resources_file
from reports.table import outcome, results, results_frame
from reports.view import NOT_RUN, Record, RunView, Score
from reports.words import hardware_in_words, machines_in_words

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

# MLflow takes a thousand entries a call, of which a hundred parameters and a hundred tags.
METRICS_A_CALL = 800
PAIRS_A_CALL = 100
DATASET_TAG = "bench.dataset"
SUMMARY_TAG = "bench.summary_of"
TAG_LENGTH = 5000
DIGEST_LENGTH = 12
RUNS_A_PAGE = 1000
RUN_STATUS = {"ok": "FINISHED", "skipped": "FINISHED", "killed": "KILLED"}

Report = Callable[[str, int, int | None], None]
Entries = Mapping[str, Any]


@dataclass(frozen=True)
class TrackingResult:
    """Where a run went.

    Attributes
    ----------
    uri
        Address of the tracking store or server, without its password.
    experiment_id, run_id
        Identities of the data set's experiment and of the parent run.
    created, updated, unchanged
        Numbers of child runs that were new, had changed, or were there already.
    """

    uri: str
    experiment_id: str
    run_id: str
    created: int
    updated: int
    unchanged: int


def sync(
    view: RunView, *, folder: Path, tracking_uri: str | None = None, report: Report | None = None
) -> TrackingResult:
    """Bring MLflow up to date with a run; what is there already is not written again.

    Parameters
    ----------
    view
        The run (see `reports`).
    folder
        The run folder; curves, models and figures are read from it.
    tracking_uri
        Store or server; None for what `uri_of` returns.
    report
        Function that is called with what is being done, how far it is and how far it goes.

    Returns
    -------
    TrackingResult

    Raises
    ------
    TrackingUnavailable
        If the store cannot be reached or written.
    """
    uri = tracking_uri or store.uri_of(folder.parent)
    report = report or (lambda what, done, total: None)
    with store.brief_and_quiet():
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if uri == f"sqlite:///{store.database_of(folder.parent)}":
                follow_artifacts(folder.parent)
            return _Upload(store.client_of(uri), uri, view, folder, report).run()
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            words = f"MLflow at {uri} {store.in_one_line(error)}"
            raise store.TrackingUnavailable(store.masked(words)) from error


class _Upload:
    """One pass over a run."""

    def __init__(self, client: MlflowClient, uri: str, view: RunView, folder: Path, report: Report) -> None:
        self.client, self.uri, self.view, self.folder, self.report = client, uri, view, folder, report
        self.dataset = view.run.dataset
        self.records = [record for record in view.records if record.status != NOT_RUN]
        self.experiment_id = self._experiment()

    def run(self) -> TrackingResult:
        parent = self._parent()
        children = list(self._children(parent))
        known = {run.data.tags.get("bench.job_key"): run for run in children}
        counts = {"created": 0, "updated": 0, "unchanged": 0}
        for done, record in enumerate(self.records):
            self.report("updating MLflow", done, len(self.records))
            counts[self._sync_job(record, parent, known.get(record.key))] += 1
        self._sync_summaries(parent, {run.data.tags.get(SUMMARY_TAG): run for run in children})
        self._finish_parent(parent)
        # Set again by each run: the last one's metrics are the columns.
        self.client.set_experiment_tag(self.experiment_id, START_VIEW, start_view(self.view))
        return TrackingResult(store.masked(self.uri), self.experiment_id, parent.info.run_id, **counts)

    def _experiment(self) -> str:
        """Return the data set's experiment; another data set of the same name has one of its own."""
        content = naming.digest(self.dataset.checksum)
        name = self.dataset.name
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None and experiment.tags.get(DATASET_TAG, content) != content:
            name = f"{name} ({content[:8]})"
            experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            # A server decides itself where artifacts go; without one they would land in the working folder.
            location = None if store.is_server(self.uri) else store.artifacts_of(self.folder.parent).as_uri()
            tags = dict([store.EXPERIMENT_KIND, (DATASET_TAG, content)])
            return str(self.client.create_experiment(name, location, tags=tags))
        identity = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            remedy = f"{_in_store(self.uri)}mlflow experiments restore -x {identity}"
            raise store.TrackingUnavailable(f"MLflow's experiment {name!r} was deleted: {remedy}")
        if DATASET_TAG not in experiment.tags:
            # An earlier version made it.
            self.client.set_experiment_tag(identity, DATASET_TAG, content)
        return identity

    def _parent(self) -> Run:
        facts, hardware = self.view.run, self.view.run.hardware
        identity = naming.digest([self.folder.name, hardware.fingerprint])
        found = self.client.search_runs([self.experiment_id], f"tags.`bench.run` = '{identity}'")
        if found:
            return found[0]
        started = min((record.started for record in self.records if record.started), default=None)
        tags = {"bench.run": identity, "hardware": hardware_in_words(hardware)}
        tags |= {"hardware.fingerprint": hardware.fingerprint}
        run = self.client.create_run(self.experiment_id, _milliseconds(started), tags, self.folder.name)
        params = {"profile": facts.profile, "protocol": self.view.protocol, "n_cells": facts.n_cells}
        self._log(run, params=params | {"dataset": self.dataset.name}, tags={})
        return run

    def _children(self, parent: Run) -> Iterator[Run]:
        wanted = [self.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        token = None
        while True:
            page = self.client.search_runs(*wanted, max_results=RUNS_A_PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _sync_job(self, record: Record, parent: Run, run: Run | None) -> str:
        scores, plain = self.view.scores_of(record), record.plain()
        values = [(score.metric, score.values, score.error) for score in scores]
        digest = naming.digest([plain, values, *map(_size, self._series(record))])
        if run is not None and run.data.tags.get("bench.digest") == digest:
            return "unchanged"
        action = "updated" if run else "created"
        if run is None:
            tags = {"mlflow.parentRunId": parent.info.run_id, "bench.job_key": record.key}
            started, name = _milliseconds(record.started), naming.run_name(record.job)
            run = self.client.create_run(self.experiment_id, started, tags, name)
        run_id, params = run.info.run_id, naming.params(record, self.view)
        self._log(run, params=params, tags=naming.tags(record), metrics=self._points(record, scores, run))
        self.client.log_inputs(run_id, [self._dataset_input(record)])
        self.client.log_dict(run_id, plain, "record.json")
        log_model(self.client, run, record, self.folder, n_genes=self.view.run.train_shape[1])
        status = RUN_STATUS.get(record.status, "FAILED")
        self.client.set_terminated(run_id, status, _milliseconds(record.finished))
        # Last, so that an upload cut short is taken up again.
        self.client.set_tag(run_id, "bench.digest", digest)
        return action

    def _sync_summaries(self, parent: Run, known: Mapping[str | None, Run]) -> None:
        """Give each generator a run with the mean of each metric over seeds, and its interval's ends."""
        for row in results(self.view).rows:
            values = naming.summary_scalars(row, self.view)
            run, digest = known.get(row.model), naming.digest([values, row.status])
            if not values or (run is not None and run.data.tags.get("bench.digest") == digest):
                continue
            if run is None:
                tags = {"mlflow.parentRunId": parent.info.run_id, SUMMARY_TAG: row.model}
                name = f"{row.model} · {self.dataset.name} · all seeds"
                run = self.client.create_run(self.experiment_id, parent.info.start_time, tags, name)
            run_id, now = run.info.run_id, int(time.time() * 1000)
            params = {"model": row.model, "seed": f"all {row.n_seeds}", "dataset": self.dataset.name}
            tags = {"status": row.status, "role": row.role}
            self._log(run, params=params, tags=tags, metrics=scalar_points(values, run, now=now))
            self.client.set_terminated(run_id, "FINISHED")
            self.client.set_tag(run_id, "bench.digest", digest)

    def _series(self, record: Record) -> tuple[Path, Path]:
        return curves_file(self.folder, record.key), resources_file(self.folder, record.key)

    def _points(self, record: Record, scores: Sequence[Score], run: Run) -> list[Metric]:
        """Return everything that this Job measured and MLflow does not know."""
        now, (curves_path, resources_path) = int(time.time() * 1000), self._series(record)
        curves, (started, resources) = read_curves(curves_path), read_resources(resources_path)
        scalars = naming.scalars(record, scores, self.view) | naming.curve_scalars(curves)
        return [
            *scalar_points(scalars, run, now=now),
            *curve_points(curves, run, self.client, group="training", since=now),
            *curve_points(resources, run, self.client, group="system", since=int(started * 1000), pace=1000),
        ]

    def _dataset_input(self, record: Record) -> DatasetInput:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        run = self.view.run
        facts = {"train_shape": run.train_shape, "n_test": run.n_test}
        facts |= {"labels": self.dataset.labels, "notes": self.dataset.notes}
        origin = {"uri": self.dataset.source, "checksum": self.dataset.checksum}
        dataset = Dataset(
            name=self.dataset.name,
            digest=record.job.dataset_key[:DIGEST_LENGTH],
            source_type="bench",
            source=json.dumps(origin, default=str),
            profile=json.dumps(facts, default=str),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])

    def _finish_parent(self, parent: Run) -> None:
        records, run_id = self.records, parent.info.run_id
        table = results_frame(self.view).to_csv(index=False)
        suspect = "; ".join(results(self.view).suspect)[:TAG_LENGTH]
        pages = self._pages()
        state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in pages]
        ends = [record.finished for record in records if record.finished]
        digest = naming.digest([table, suspect, state, ends])
        if not records or parent.data.tags.get("bench.digest") == digest:
            return
        status, _ = outcome(records)
        whole = all(RUN_STATUS.get(record.status) == "FINISHED" for record in records)
        self.client.log_text(run_id, table, "table.csv")
        for path, place in pages.items():
            self.client.log_artifact(run_id, str(path), place)
        self.client.log_inputs(run_id, [self._dataset_input(records[0])])
        machines = {
            "hardware": machines_in_words(self.view),
            "hardware.fingerprint": " ".join(machine.fingerprint for machine in self.view.machines),
        }
        self._log(parent, params={}, tags=naming.origin_tags(records[0]) | machines | {"status": status})
        if suspect:
            self.client.set_tag(run_id, "suspect", suspect)
        elif "suspect" in parent.data.tags:
            self.client.delete_tag(run_id, "suspect")
        finished = _milliseconds(max(ends, default=None))
        self.client.set_terminated(run_id, "FINISHED" if whole else "FAILED", finished)
        self.client.set_tag(run_id, "bench.digest", digest)

    def _pages(self) -> dict[Path, str | None]:
        """Return the run's figures and its report, and the folder of artifacts each goes to."""
        figures = sorted(path for path in (self.folder / "figures").glob("*") if path.is_file())
        reports = [path for path in [self.folder / "report.html"] if path.is_file()]
        return dict.fromkeys(figures, "figures") | dict.fromkeys(reports)

    def _log(self, run: Run, *, params: Entries, tags: Entries, metrics: Sequence[Metric] = ()) -> None:
        """Write in as few calls as MLflow's limits allow; a parameter that the run has stays as it is."""
        from mlflow.entities import Param, RunTag

        new = {name: value for name, value in params.items() if name not in run.data.params}
        some_params = [Param(naming.allowed(k), naming.text(v)) for k, v in new.items()]
        some_tags = [RunTag(naming.allowed(k), naming.text(v)) for k, v in tags.items()]
        limits = (METRICS_A_CALL, PAIRS_A_CALL, PAIRS_A_CALL)
        calls = map(_pieces, (metrics, some_params, some_tags), limits)
        for values, chosen, told in zip_longest(*calls, fillvalue=()):
            self.client.log_batch(run.info.run_id, values, chosen, told)


def _in_store(uri: str) -> str:
    """Return what goes before a command of MLflow's so that it means this store."""
    known = os.environ.get("MLFLOW_TRACKING_URI") == uri
    return "" if known else f"MLFLOW_TRACKING_URI={shlex.quote(store.masked(uri))} "


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _milliseconds(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)
