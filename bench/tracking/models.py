"""Trained generators as MLflow's models: ``mlflow.pyfunc.load_model(uri).predict(...)`` returns cells.

Only MLflow's description is written anew. The generator's own files are those of the run folder: linked
into a store on the same disk, sent to a server.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from bench.results.files import link_or_copy
from bench.tracking.naming import model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import ModelSignature

    from reports.view import JobFacts, Record

CODE = Path(__file__).with_name("stored_generator.py")
# Controls draw from their training cells, and `bench sample` offers main Jobs alone.
ROLES = ("model", "baseline")
ARTIFACTS = {"job": "artifacts/job.json", "model": "artifacts/model"}


def log_model(client: MlflowClient, run: Run, record: Record, folder: Path, *, n_genes: int) -> None:
    """Log what a Job trained, once; a Job that stored no model has none.

    Parameters
    ----------
    client, run
        MLflow's client, and the Job's run there.
    record, folder
        The Job's Record, and the run folder.
    n_genes
        Width of the cells it makes.
    """
    job, stored = record.job, folder / "jobs" / record.key
    wanted = job.role in ROLES and job.experiment.kind == "main"
    if not (wanted and (stored / "model").is_dir()):
        return
    model = _logged(client, run, job)
    if model.status == "READY":
        return
    with tempfile.TemporaryDirectory() as scratch:
        description = Path(scratch) / "model"
        _describe(description, model, record, n_genes=n_genes)
        client.log_model_artifacts(model.model_id, str(description))
    _place(client, model, stored)
    _link_to_run(client, run, model)
    client.finalize_logged_model(model.model_id, "READY")


def _logged(client: MlflowClient, run: Run, job: JobFacts) -> LoggedModel:
    """Return the run's model: one that an upload cut short had begun, or a new one."""
    where = [run.info.experiment_id]
    for model in client.search_logged_models(where, f"source_run_id = '{run.info.run_id}'"):
        return model
    return client.create_logged_model(
        where[0],
        name=model_name(job.model),
        source_run_id=run.info.run_id,
        params={name: str(getattr(job, name)) for name in ("dataset", "seed", "budget")},
        model_type="generator",
    )


def _describe(target: Path, model: LoggedModel, record: Record, *, n_genes: int) -> None:
    """Write MLflow's own files: ``MLmodel``, the code that loads the generator, requirements."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    job = record.job
    mlflow.pyfunc.save_model(
        target,
        python_model=str(CODE),
        signature=signature(n_genes),
        input_example=pd.DataFrame({"n_cells": [100], "seed": [0]}),
        model_config={"device": "auto"},
        pip_requirements=[f"scgenbench=={version('scgenbench')}"],
        metadata={name: getattr(job, name) for name in ("model", "space", "dataset", "dataset_key")},
        mlflow_model=Model(model_id=model.model_id, run_id=model.source_run_id),
    )
    # Named here, because `save_model` would copy them, and a generator may have gigabytes.
    described = Model.load(str(target))
    places = {name: {"path": path, "uri": path} for name, path in ARTIFACTS.items()}
    described.flavors[mlflow.pyfunc.FLAVOR_NAME]["artifacts"] = places
    described.save(str(target / "MLmodel"))


def signature(n_genes: int) -> ModelSignature:
    """Return what a request is (a row: how many cells, which seed, which type) and what comes back."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    asked: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "n_cells"),
        ColSpec(DataType.long, "seed", required=False),
        ColSpec(DataType.string, "cell_type", required=False),
    ]
    return ModelSignature(Schema(asked), Schema([TensorSpec(np.dtype(np.float32), (-1, n_genes))]))


def _place(client: MlflowClient, model: LoggedModel, stored: Path) -> None:
    """Bring a Job's description and what it trained among a model's artifacts, linked if it can be."""
    location = urlparse(model.artifact_location)
    if location.scheme not in ("", "file"):
        client.log_model_artifact(model.model_id, str(stored / "job.json"), "artifacts")
        client.log_model_artifacts(model.model_id, str(stored / "model"), ARTIFACTS["model"])
        return
    root = Path(url2pathname(location.path)) / "artifacts"
    for file in [stored / "job.json", *(stored / "model").rglob("*")]:
        if file.is_file():
            target = root / file.relative_to(stored)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            link_or_copy(file, target)


def _link_to_run(client: MlflowClient, run: Run, model: LoggedModel) -> None:
    """Show the model among the run's outputs; MLflow refuses one that is there."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run.info.run_id).outputs
    if not (outputs and outputs.model_outputs):
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
