"""MLflow's view of a run folder: one experiment a data set, one parent run a run, one child run a Job.

Everything is read from the run folder, so it can be uploaded at any time and as often as one likes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import RunView
from reports.curves import curves_file, read_curves, thin
from reports.table import NOT_RUN, cost_values, outcome, results_frame, score_values, scores_of
from reports.words import hardware_in_words

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

CURVE_POINTS = 500
METRICS_A_CALL = 1000
PAIRS_A_CALL = 100
VALUE_LENGTH = 500
TAG_LENGTH = 5000
DIGEST_LENGTH = 36
RUNS_A_PAGE = 1000
RUN_STATUS = {"ok": "FINISHED", "skipped": "FINISHED", "killed": "KILLED"}
# A run must not wait minutes for a server that is down; what the user set counts.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
NOISY_LOGGERS = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3": logging.ERROR}


class TrackingUnavailable(Exception):
    """MLflow's store cannot be reached or written; the message is one line."""


@dataclass(frozen=True)
class TrackingResult:
    """Where a run went.

    Attributes
    ----------
    uri
        Of the tracking store or server.
    experiment_id, run_id
        The data set's experiment; the parent run.
    created, updated, unchanged
        How many child runs were new, had changed, or were there already.
    """

    uri: str
    experiment_id: str
    run_id: str
    created: int
    updated: int
    unchanged: int


def sync(view: RunView, *, folder: Path, tracking_uri: str | None = None) -> TrackingResult:
    """Bring MLflow up to date with a run; what is there already is not written again.

    Parameters
    ----------
    view
        The run (see `reports`).
    folder
        The run folder; curves and figures are read from it.
    tracking_uri
        Store or server; None: see `uri_of`.

    Returns
    -------
    TrackingResult

    Raises
    ------
    TrackingUnavailable
        If the store cannot be reached or written.
    """
    uri = tracking_uri or uri_of(folder)
    with _brief_and_quiet():
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        _hush()
        try:
            return _Upload(MlflowClient(tracking_uri=uri), uri, view, folder).run()
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise TrackingUnavailable(f"MLflow at {uri} {_in_one_line(error)}") from error


def uri_of(folder: Path) -> str:
    """Return where a run folder's run goes: ``MLFLOW_TRACKING_URI`` where set, else SQLite beside it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"


def ui_command(folder: Path) -> str:
    """Return what opens MLflow's pages on a run folder's store: a command, or for a server its address."""
    uri = uri_of(folder)
    if uri.startswith(("http://", "https://")):
        return uri
    store = shlex.quote(uri)
    return (
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "
        f"mlflow server --backend-store-uri {store} --host 127.0.0.1 --port 5000 --workers 1"
    )


class _Upload:
    """One pass over a run."""

    def __init__(self, client: MlflowClient, uri: str, view: RunView, folder: Path) -> None:
        self.client, self.uri, self.view, self.folder = client, uri, view, folder
        self.dataset = view["run"]["dataset"]
        self.records = [record for record in view["records"] if record["status"] != NOT_RUN]
        self.experiment_id = self._experiment()

    def run(self) -> TrackingResult:
        parent = self._parent()
        known = {run.data.tags.get("bench.job_key"): run for run in self._children(parent)}
        counts = {"created": 0, "updated": 0, "unchanged": 0}
        for record in self.records:
            counts[self._sync_job(record, parent, known.get(record["key"]))] += 1
        self._finish_parent(parent)
        return TrackingResult(self.uri, self.experiment_id, parent.info.run_id, **counts)

    def _experiment(self) -> str:
        name = str(self.dataset["name"])
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            # A server decides itself where artifacts go; without one they would land in the working folder.
            remote = self.uri.startswith(("http://", "https://"))
            location = None if remote else (self.folder.resolve().parent / "mlartifacts").as_uri()
            return str(self.client.create_experiment(name, artifact_location=location))
        if experiment.lifecycle_stage == "deleted":
            identity = experiment.experiment_id
            raise TrackingUnavailable(
                f"MLflow's experiment {name!r} was deleted: mlflow experiments restore -x {identity}"
            )
        return str(experiment.experiment_id)

    def _parent(self) -> Run:
        hardware = self.view["run"]["hardware"]
        identity = _digest([self.folder.name, hardware["fingerprint"]])
        found = self.client.search_runs([self.experiment_id], f"tags.`bench.run` = '{identity}'")
        if found:
            return found[0]
        started = min((record["started"] for record in self.records), default=None)
        tags = {"bench.run": identity, "hardware": hardware_in_words(hardware)}
        run = self.client.create_run(
            self.experiment_id,
            start_time=_milliseconds(started),
            tags=tags | {"hardware.fingerprint": hardware["fingerprint"]},
            run_name=self.folder.name,
        )
        params = {name: self.view["run"][name] for name in ("profile", "protocol", "n_cells")}
        self._log(run.info.run_id, params=params | {"dataset": self.dataset["name"]})
        return run

    def _children(self, parent: Run) -> Iterator[Run]:
        wanted, token = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], wanted, max_results=RUNS_A_PAGE, page_token=token
            )
            yield from page
            if not (token := page.token):
                return

    def _sync_job(self, record: Mapping[str, Any], parent: Run, run: Run | None) -> str:
        scores = scores_of(self.view, record)
        curves = curves_file(self.folder, record["key"])
        values = [{name: score[name] for name in ("metric", "values", "error")} for score in scores]
        digest = _digest([record, values, curves.stat().st_size if curves.exists() else 0])
        if run is not None and run.data.tags.get("bench.digest") == digest:
            return "unchanged"
        action = "updated" if run else "created"
        run = run or self._new_child(record, parent)
        run_id, now = run.info.run_id, int(time.time() * 1000)
        scalars = {
            name: value
            for name, value in _scalars(record, scores).items()
            if run.data.metrics.get(name) != value
        }
        params = {k: v for k, v in _params(record, self.view).items() if k not in run.data.params}
        self._log(run_id, params=params, tags=_tags(record), metrics=_points(scalars, now))
        self._log(run_id, metrics=self._curve_points(record, run, now))
        self.client.log_inputs(run_id, [self._dataset_input(record)])
        self.client.log_dict(run_id, dict(record), "record.json")
        status = RUN_STATUS.get(record["status"], "FAILED")
        self.client.set_terminated(run_id, status, _milliseconds(record["finished"]))
        # Last, so that an upload cut short is taken up again.
        self.client.set_tag(run_id, "bench.digest", digest)
        return action

    def _new_child(self, record: Mapping[str, Any], parent: Run) -> Run:
        tags = {"mlflow.parentRunId": parent.info.run_id, "bench.job_key": record["key"]}
        name = run_name(record["job"])
        return self.client.create_run(self.experiment_id, _milliseconds(record["started"]), tags, name)

    def _curve_points(self, record: Mapping[str, Any], run: Run, timestamp: int) -> list[Metric]:
        from mlflow.entities import Metric

        points = []
        for name, curve in read_curves(curves_file(self.folder, record["key"])).items():
            key, logged = _allowed(f"curves/{name}"), -1
            if key in run.data.metrics:
                logged = max(point.step for point in self.client.get_metric_history(run.info.run_id, key))
            new = [(step, value) for step, value in curve if step > logged]
            points += [Metric(key, value, timestamp, step) for step, value in thin(new, limit=CURVE_POINTS)]
        return points

    def _dataset_input(self, record: Mapping[str, Any]) -> DatasetInput:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        facts = {name: self.view["run"][name] for name in ("train_shape", "n_test")}
        facts |= {"labels": self.dataset["labels"], "notes": self.dataset["notes"]}
        origin = {"uri": self.dataset["source"], "checksum": self.dataset["checksum"]}
        dataset = Dataset(
            name=str(self.dataset["name"]),
            digest=record["job"]["dataset_key"][:DIGEST_LENGTH],
            source_type="bench",
            source=json.dumps(origin, default=str),
            profile=json.dumps(facts, default=str),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])

    def _finish_parent(self, parent: Run) -> None:
        records, run_id = self.records, parent.info.run_id
        frame = results_frame(self.view)
        table, suspect = frame.to_csv(index=False), "; ".join(frame.attrs["suspect"])[:TAG_LENGTH]
        figures = sorted(path for path in (self.folder / "figures").glob("*") if path.is_file())
        state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in figures]
        ends = [record["finished"] for record in records]
        digest = _digest([table, suspect, state, ends])
        if not records or parent.data.tags.get("bench.digest") == digest:
            return
        status, _ = outcome(records)
        failed = any(RUN_STATUS.get(record["status"], "FAILED") != "FINISHED" for record in records)
        self.client.log_text(run_id, table, "table.csv")
        for path in figures:
            self.client.log_artifact(run_id, str(path), "figures")
        self.client.log_inputs(run_id, [self._dataset_input(records[0])])
        self._log(run_id, tags=_origin_tags(records[0]) | {"status": status})
        if suspect:
            self.client.set_tag(run_id, "suspect", suspect)
        elif "suspect" in parent.data.tags:
            self.client.delete_tag(run_id, "suspect")
        self.client.set_terminated(run_id, "FAILED" if failed else "FINISHED", _milliseconds(max(ends)))
        self.client.set_tag(run_id, "bench.digest", digest)

    def _log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        metrics: Sequence[Metric] = (),
    ) -> None:
        """Write in as few calls as MLflow's limits allow."""
        from mlflow.entities import Param, RunTag

        for part in _pieces(list((params or {}).items()), PAIRS_A_CALL):
            self.client.log_batch(run_id, params=[Param(_allowed(k), _text(v)) for k, v in part])
        for part in _pieces(list((tags or {}).items()), PAIRS_A_CALL):
            self.client.log_batch(run_id, tags=[RunTag(_allowed(k), _text(v)) for k, v in part])
        for points in _pieces(metrics, METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=points)


def run_name(job: Mapping[str, Any]) -> str:
    """Return a Job's name in MLflow's lists: ``activa · zheng · seed 0``."""
    name = f"{job['model']} · {job['dataset']} · seed {job['seed']}"
    experiment = job["experiment"]
    if experiment["kind"] == "main":
        return name
    share = f"{100 * experiment['fraction']:g} % {experiment['cell_type']}"
    return f"{name} · {share} · subsample {experiment['subsample_seed']}"


def _scalars(record: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures of the results table, then seconds and steps of every phase."""
    named = cost_values(record) | score_values(scores)
    named |= {f"seconds/{phase}": float(value) for phase, value in record["phases"].items()}
    named |= {f"steps/{phase}": float(value) for phase, value in record["steps"].items()}
    return {_allowed(name): value for name, value in named.items()}


def _params(record: Mapping[str, Any], view: RunView) -> dict[str, Any]:
    job = record["job"]
    names = ("model", "framework", "space", "dataset", "seed", "sample_seeds", "budget", "device", "threads")
    experiment = {name: value for name, value in job["experiment"].items() if value is not None}
    experiment["experiment"] = experiment.pop("kind")
    run = {"profile": view["run"]["profile"], "protocol": view["run"]["protocol"], "n_cells": job["n_cells"]}
    return job["hyperparameters"] | {name: job[name] for name in names} | experiment | run


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    tags = {name: record[name] for name in ("status", "reason", "failed_phase") if record[name]}
    return tags | _origin_tags(record) | {"role": record["job"]["role"]}


def _origin_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Return where a Record comes from: commit, machine, versions."""
    tags = {"hardware.fingerprint": record["machine"]["fingerprint"]}
    if record["git_commit"]:
        # The first is what MLflow's pages show as the version of the source.
        tags |= {"mlflow.source.git.commit": record["git_commit"], "git_commit": record["git_commit"]}
    return tags | {f"version.{name}": version for name, version in record["versions"].items()}


def _points(scalars: Mapping[str, float], timestamp: int) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, value, timestamp, 0) for name, value in scalars.items()]


def _allowed(name: str) -> str:
    """Replace what MLflow does not allow in a name (``CD14+ Monocyte`` → ``CD14_ Monocyte``)."""
    return re.sub(r"[^\w.\- :/]", "_", name)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _milliseconds(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)


def _in_one_line(error: BaseException) -> str:
    from requests import ConnectionError, Timeout

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | Timeout):
            return "does not answer"
        cause = cause.__cause__ or cause.__context__
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"could not be written: {reason[:300]}"


@contextlib.contextmanager
def _brief_and_quiet() -> Iterator[None]:
    """Keep MLflow from waiting long and from talking, and leave the process as it was."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if before[name] is None})
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def _hush() -> None:
    for name, level in NOISY_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
