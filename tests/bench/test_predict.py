import json

import pytest

from bench.predict import past_records, predict
from tests.bench.test_plan import facts, plan  # noqa: F401 - a fixture


def record(budget="100 steps", seconds=50.0, shape=(200, 100), fingerprint="here"):
    return {
        "status": "ok",
        "job": {"model": "mean", "budget": budget},
        "training": {"seconds": seconds},
        "timing": {"median_seconds": 2.0, "n_cells": 1000},
        "memory": {"peak_rss_bytes": 10**9},
        "machine": {"fingerprint": fingerprint},
        "shape": shape,
        "disk_bytes": 10**6,
    }


def test_cost_grows_with_steps_genes_and_sampled_cells(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "300steps"}, profile="smoke")[0]
    cost = predict(job, n_train=300, n_genes=200, records=[record()])
    # 50 s × 3 as many steps × 2 as many genes, and 2 000 cells once at 2 s per thousand × 2.
    assert cost.seconds == pytest.approx(50 * 3 * 2 + 2 * 2 * 2)
    assert cost.peak_rss_bytes == 2 * 10**9
    assert cost.disk_bytes == 2 * 10**6


def test_epochs_grow_with_cells_too(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "10epochs"}, profile="smoke")[0]
    cost = predict(job, n_train=400, n_genes=100, records=[record(budget="5 epochs")])
    assert cost.seconds == pytest.approx(50 * 2 * 2 + 4)


def test_nothing_is_predicted_from_nothing(facts):  # noqa: F811
    job = plan(facts, budget={"mean": "10epochs"})[0]
    assert predict(job, n_train=400, n_genes=100, records=[]).seconds is None
    assert predict(job, n_train=400, n_genes=100, records=[record(budget="5 steps")]).seconds is None


def test_only_records_of_this_machine_count(tmp_path):
    for number, fingerprint in enumerate(("here", "there")):
        folder = tmp_path / f"run{number}" / "jobs" / "abc"
        folder.mkdir(parents=True)
        (tmp_path / f"run{number}" / "request.json").write_text(json.dumps({"train_shape": [200, 100]}))
        (folder / "record.json").write_text(json.dumps(record(fingerprint=fingerprint)))
    (found,) = past_records(tmp_path, "here")
    assert found["machine"]["fingerprint"] == "here"
    assert found["shape"] == [200, 100]
