"""What a run will cost, judged by Records of the same models on the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plan import Job
from bench.records import OK
from bench.run_folder import read_json
from models.base import Budget


@dataclass(frozen=True)
class Prediction:
    """Expected cost of one Job; None where no Record on this machine tells.

    Attributes
    ----------
    seconds
        Training and sampling.
    peak_rss_bytes, disk_bytes
        Memory at its highest, and what the Job's folder will hold.
    """

    seconds: float | None
    peak_rss_bytes: float | None
    disk_bytes: float | None


def predict(job: Job, *, n_train: int, n_genes: int, records: list[dict[str, Any]]) -> Prediction:
    """Predict a Job from the newest Record of its model, scaled by steps and genes.

    The dense layers next to the genes do nearly all the work, so time per step and weights grow
    with the number of genes; memory does not shrink below what the libraries take.

    Parameters
    ----------
    job
        The Job.
    n_train, n_genes
        Shape of the training cells.
    records
        Records of this machine with their shape under ``"shape"``, oldest first.
    """
    same = [record for record in records if record["job"]["model"] == job.model and record["training"]]
    if not same or job.budget is None:
        return Prediction(None, None, None)
    last = same[-1]
    last_train, last_genes = last["shape"]
    growth = n_genes / last_genes
    budget, last_budget = Budget.parse(job.budget), Budget.parse(last["job"]["budget"])
    seconds: float | None = None
    if budget.unit == "seconds":
        seconds = budget.amount
    elif budget.unit == last_budget.unit:
        longer = budget.amount / last_budget.amount
        if budget.unit == "epochs":
            longer *= n_train / last_train
        seconds = last["training"]["seconds"] * longer * growth
    if seconds is not None and job.timing_cells and last["timing"]:
        per_cell = last["timing"]["median_seconds"] / last["timing"]["n_cells"]
        seconds += per_cell * growth * job.timing_cells * job.timing_repeats
    memory = last["memory"]["peak_rss_bytes"]
    return Prediction(seconds, memory and memory * max(1.0, growth), last["disk_bytes"] * growth)


def past_records(out: Path, fingerprint: str) -> list[dict[str, Any]]:
    """Return the Records under `out` that this machine made, oldest first, with shape and disk use."""
    return [record for record in _records(out) if record["machine"]["fingerprint"] == fingerprint]


def _records(out: Path) -> Iterator[dict[str, Any]]:
    for request_file in sorted(out.glob("*/request.json")):
        shape = read_json(request_file)["train_shape"]
        for record_file in sorted(request_file.parent.glob("jobs/*/record.json")):
            record = read_json(record_file)
            if record["status"] == OK:
                size = sum(file.stat().st_size for file in record_file.parent.rglob("*") if file.is_file())
                yield record | {"shape": shape, "disk_bytes": size}
