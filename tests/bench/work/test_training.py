"""The cells that a Job trains on are the same in memory and on disk, and what cannot take them says so."""

import numpy as np
import pandas as pd
import pytest

from bench.request.plan import Experiment
from bench.work.training import Skipped, training_cells, training_set
from datasets import stored
from models.base import Generator
from tests.bench.work.test_executor import carry_out, make_run

EXPERIMENTS = [
    Experiment(),
    Experiment(kind="augmentation", cell_type="alpha", fraction=0.1, subsample_seed=0),
    Experiment(kind="donors", trained_donors=("d1", "d2"), left_out_donors=("d0",), reference_donors=("d3",)),
]


class Streams(Generator):
    streams = True


@pytest.fixture
def dataset(prepared, tmp_path, monkeypatch):
    cells = prepared.copy()
    cells.obs["donor"] = pd.Categorical([f"d{number % 7}" for number in range(cells.n_obs)])
    stored.write_cells(cells, tmp_path / "dataset.h5ad")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return cells, tmp_path / "dataset.h5ad"


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.kind)
def test_cells_on_disk_are_those_in_memory_and_are_gone_afterwards(experiment, dataset, tmp_path):
    cells, file = dataset
    expected = training_cells(experiment, cells)
    assert 0 < expected.n_obs < cells.n_obs
    with (
        pytest.warns(UserWarning, match="read from disk: they do not fit into memory"),
        training_set(file, experiment, Streams, memory=1) as train,
    ):
        assert list((tmp_path / "scratch").glob("*/train.h5ad"))
        for found, wanted in ((train.X, expected.X), (train.layers["counts"], expected.layers["counts"])):
            assert not hasattr(found, "toarray")
            np.testing.assert_array_equal(found[:].toarray(), wanted.toarray())
        pd.testing.assert_frame_equal(train.obs, expected.obs)
        assert train.var_names.tolist() == expected.var_names.tolist()
    assert not list((tmp_path / "scratch").iterdir())


def test_cells_that_fit_are_in_memory(dataset):
    for memory in (None, 10**9):
        with training_set(dataset[1], Experiment(), Streams, memory=memory) as train:
            assert train.X.toarray().any() and train.layers["counts"].nnz


def test_who_needs_all_cells_in_memory_is_skipped_only_where_a_limit_was_set(dataset, monkeypatch):
    with pytest.raises(Skipped, match="needs all cells in memory, for which --memory 1e-09GB is too little"):
        training_set(dataset[1], Experiment(), Generator, memory=1).__enter__()
    monkeypatch.setattr("bench.work.training.available_bytes", lambda: 1)
    with training_set(dataset[1], Experiment(), Generator, memory=None) as train:
        assert train.X.toarray().any()


@pytest.mark.slow
def test_a_job_trains_from_disk_as_from_memory(prepared, tmp_path):
    records = []
    for name, memory in (("whole", None), ("pieces", 1)):
        run, spec = make_run(tmp_path / name, prepared, ["FromDisk", "Mean"], memory=memory)
        records.append(carry_out(run, spec))
        (job,) = (job for job in run.jobs() if job.model == "from_disk")
        assert not list(run.job_folder(job).path.rglob("train.h5ad"))
    whole, pieces = records
    assert (whole["from_disk"].status, pieces["from_disk"].status) == ("ok", "ok")
    assert whole["from_disk"].samples["0"].sha256 == pieces["from_disk"].samples["0"].sha256
    assert whole["from_disk"].warnings == ()
    assert pieces["from_disk"].warnings == (
        "its training cells were read from disk: they do not fit into memory",
    )
    assert whole["mean"].status == "ok"
    assert (pieces["mean"].status, pieces["mean"].reason) == (
        "skipped",
        "needs all cells in memory, for which --memory 1e-09GB is too little: start a new run with more",
    )
