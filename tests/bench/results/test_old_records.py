"""Records and scores as an earlier version wrote them: some facts missing, one that is no longer known."""

import json

from bench.results.run_folder import JobFolder
from reports.facts import Hardware
from reports.table import cost_values, results
from reports.view import RunView
from tests.reports.run_view import built, make_run_view

RECORD = """{
 "schema": 1, "key": "0a1b", "status": "ok", "reason": "", "failed_phase": null, "seconds_to_failure": null,
 "job": {"model": "activa", "reference": "activa", "version": "0.1.0", "source_hash": "77aa", "role": "model",
  "framework": "pytorch", "conditional": true, "space": "cp20k", "copies": true,
  "hyperparameters": {"latent_dim": 128},
  "dataset": "zheng", "dataset_key": "5ca1", "seed": 0, "sample_seeds": [0],
  "experiment": {"kind": "main", "cell_type": null, "fraction": null, "subsample_seed": null,
   "kept_cells": null, "added_cells": null},
  "budget": "40 epochs", "device": "cpu", "threads": 2, "n_cells": 140, "timing_cells": 2000},
 "phases": {"fit": 31.5}, "steps": {}, "training": {"seconds": 30.0, "steps": 200, "steps_per_second": 6.5},
 "timing": {"n_cells": 2000, "seconds": [1.0, 1.5], "median_seconds": 1.25},
 "memory": {"peak_rss_bytes": 1610612736, "peak_device_bytes": null, "by_phase": {}},
 "samples": {"0": {"file": "cells-0.h5ad", "density": 0.68, "n_cells": 140}},
 "warnings": [], "started": "2026-01-02T03:00:05+00:00", "finished": "2026-01-02T03:00:45+00:00",
 "weather": "rain"
}"""
SCORE = """{"metric": "mmd", "protocol": "strict", "n_cells": 140, "values": {"mmd": 0.4}, "details": {},
 "notes": [], "interval": null, "p_value": null, "error": null, "key": "k", "sample_seed": 0}"""


def old_job(path):
    folder = JobFolder(path / "0a1b")
    folder.scores.mkdir(parents=True)
    folder.record.write_text(RECORD)
    folder.score_file(0, "mmd", "strict").write_text(SCORE)
    return folder


def test_an_old_record_is_reported(tmp_path):
    folder = old_job(tmp_path)
    record, scores = folder.read_record(), folder.read_scores()
    assert record.job.draws_from == "training cells"
    assert (record.wall_seconds, record.git_commit, record.versions) == (None, None, {})
    assert cost_values(record) == {
        "training_seconds": 30.0,
        "steps_per_second": 6.5,
        "sample_cells": 2000.0,
        "sample_seconds": 1.25,
        "peak_rss_gib": 1.5,
    }
    usual = built(make_run_view(seeds=1))
    view = RunView(usual.run, "strict", [record], {"0a1b": scores}, [], usual.metrics)
    (row,) = results(view).rows
    assert (row.model, row.status, row.n_seeds, row.mean("mmd")) == ("activa", "ok", 1, 0.4)


def test_an_old_record_is_scored_again(tmp_path):
    folder = old_job(tmp_path)
    # No checksum was kept: that the file opens as one of cells is all that can be asked.
    assert folder.cells_checksum(0) is None
    assert folder.read_record().has_ended
    assert folder.damaged_scores() == []
    assert folder.read_scores()[0].code == "unknown"


def test_what_is_no_record_counts_as_damaged(tmp_path):
    folder = old_job(tmp_path)
    folder.record.write_text(json.dumps(json.loads(RECORD) | {"training": {"seconds": "long"}}))
    folder.score_file(0, "cd", "strict").write_text('{"metric": "cd", "protocol": "strict", "values": {}}')
    assert folder.read_record() is None
    assert folder.damaged_scores() == [folder.score_file(0, "cd", "strict")]


def test_what_nobody_reports_of_a_machine_is_kept():
    facts = {"cpu_model": "x", "physical_cores": 1, "logical_cores": 2, "memory_bytes": 5, "gpus": []}
    facts |= {"fingerprint": "f", "threads": {"OMP_NUM_THREADS": "2"}}
    assert Hardware.model_validate(facts).plain().items() >= {"threads": {"OMP_NUM_THREADS": "2"}}.items()
