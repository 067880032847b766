"""What a run has trained, loaded from MLflow by somebody else."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from rich.console import Console
from scipy import sparse

import bench
from bench.results.run_folder import RunFolder
from bench.tracking import TrackingUnavailable, sync
from bench.work.sampling import sample_from_run
from tests.places import THROWAWAY

pytestmark = pytest.mark.slow

LOAD = """
import json, sys
import mlflow, pandas as pd
from scipy import sparse
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
requests = pd.DataFrame({"n_cells": [50, 20, 3], "seed": [3, 0, 1], "cell_type": [None, "beta", None]})
cells = model.predict(requests)
few = model.predict(pd.DataFrame({"n_cells": [4]}))
sparse.save_npz(sys.argv[3], cells.sparse.to_coo())
told = {"columns": list(cells.columns), "index": list(cells.index), "name": cells.index.name}
told |= {"dtypes": sorted({str(dtype) for dtype in cells.dtypes}), "few": few.to_numpy().tolist()}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, prepared):
    """A run of one small generator beside a control, and a client of the store it went to."""
    home = tmp_path_factory.mktemp("home")
    counts = anndata.AnnData(prepared.layers["counts"], obs=prepared.obs[["cell_type"]], var=prepared.var)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("BENCH_CACHE", str(home / "cache"))
        result = bench.run(
            models=[f"{THROWAWAY}:Mean"],
            dataset=counts,
            profile="smoke",
            metrics=("library_size_error",),
            quiet=True,
            out=home / "runs",
        )
        run = RunFolder.open(result.folder)
        yield run, MlflowClient(f"sqlite:///{home / 'runs' / 'mlflow.db'}")


def models_of(client):
    (experiment,) = client.search_experiments(filter_string="name != 'Default'")
    return client.search_logged_models([experiment.experiment_id])


def location_of(model):
    return Path(model.artifact_location.removeprefix("file://"))


def drawn(run, folder, **options):
    path = folder / f"{'-'.join(map(str, options.values()))}.h5ad"
    options = {"cell_type": None, "seed": 0} | options
    sample_from_run(run, model="mean", out=path, device="auto", console=Console(quiet=True), **options)
    return anndata.read_h5ad(path)


def test_another_process_gets_the_cells_of_bench_sample(tracked, tmp_path):
    run, client = tracked
    (model,) = models_of(client)
    uri = f"sqlite:///{run.path.parent / 'mlflow.db'}"
    command = [sys.executable, "-c", LOAD, uri, f"models:/{model.model_id}", str(tmp_path / "cells.npz")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told, cells = json.loads(ended.stdout), sparse.load_npz(tmp_path / "cells.npz").toarray()
    expected = [
        drawn(run, tmp_path, n_cells=50, seed=3),
        drawn(run, tmp_path, n_cells=20, seed=0, cell_type="beta"),
        drawn(run, tmp_path, n_cells=3, seed=1),
    ]
    assert np.array_equal(cells, np.vstack([sample.X.toarray() for sample in expected]))
    assert cells[:50].any()
    assert told["columns"] == list(expected[0].var_names)
    assert told["index"] == ["alpha"] * 50 + ["beta"] * 20 + ["alpha"] * 3
    assert (told["name"], told["dtypes"]) == ("cell_type", ["Sparse[float32, 0]"])
    assert np.array_equal(told["few"], drawn(run, tmp_path, n_cells=4).X.toarray())


def test_the_model_says_what_it_takes_and_gives(tracked):
    run, client = tracked
    (model,) = models_of(client)
    described = Model.load(str(location_of(model)))
    asked = {column.name: (str(column.type), column.required) for column in described.signature.inputs}
    assert asked == {
        "n_cells": ("DataType.long", True),
        "seed": ("DataType.long", False),
        "cell_type": ("DataType.string", False),
    }
    (given,) = described.signature.outputs
    assert (given.shape, given.type) == ((-1, run.view().run.train_shape[1]), np.float32)
    assert described.metadata == {
        "model": "mean",
        "space": "counts",
        "dataset": run.view().run.dataset.name,
        "dataset_key": run.read_request()["dataset_key"],
    }


def test_its_files_are_those_of_the_run_and_no_pickle_is_among_them(tracked):
    run, client = tracked
    (model,) = models_of(client)
    (job,) = [job for job in run.jobs() if job.model == "mean"]
    location = location_of(model)
    stored = run.job_folder(job).model / "mean.json"
    assert stored.samefile(location / "artifacts" / "model" / "mean.json")
    names = {path.name for path in location.rglob("*") if path.is_file()}
    assert {"MLmodel", "stored_generator.py", "job.json", "mean.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle"))]


def test_the_run_shows_its_model_and_a_second_upload_adds_none(tracked):
    run, client = tracked
    (model,) = models_of(client)
    assert (model.name, model.status, model.params["seed"]) == ("mean", "READY", "0")
    for attempt in range(2):
        shown = client.get_run(model.source_run_id)
        assert shown.info.run_name.startswith("mean · ")
        assert [output.model_id for output in shown.outputs.model_outputs] == [model.model_id]
        view = run.view()
        records = [record.but(reason=f"attempt {attempt}") for record in view.records]
        view = replace(view, records=records)
        assert sync(view, folder=run.path).updated == len(view.records)
        assert [logged.model_id for logged in models_of(client)] == [model.model_id]


def test_a_model_whose_upload_was_cut_short_is_completed(tracked, monkeypatch):
    run, _ = tracked
    uri = f"sqlite:///{run.path.parent / 'second.db'}"

    def gone(*_, **__):
        raise MlflowException("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "finalize_logged_model", gone)
        with pytest.raises(TrackingUnavailable, match="gone"):
            sync(run.view(), folder=run.path, tracking_uri=uri)
    client = MlflowClient(uri)
    (begun,) = models_of(client)
    assert begun.status == "PENDING"
    sync(run.view(), folder=run.path, tracking_uri=uri)
    (model,) = models_of(client)
    assert (model.model_id, model.status) == (begun.model_id, "READY")
    assert len(client.get_run(model.source_run_id).outputs.model_outputs) == 1
