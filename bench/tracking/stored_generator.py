"""The code of a model logged in MLflow: it reads a stored generator and answers with cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class StoredGenerator(PythonModel):
    """A trained generator behind MLflow's ``predict``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find the generator's class as the run did, and read its files."""
        from bench.hardware.environment import resolve_device
        from bench.request.plan import Job
        from bench.request.registry import resolve_model
        from bench.results.files import read_json
        from bench.work.sampling import native_noise_silenced

        device = resolve_device(context.model_config["device"])
        job = Job(**read_json(Path(context.artifacts["job"])))
        with native_noise_silenced():
            generator = resolve_model(job.reference).generator
            self.generator = generator.load(Path(context.artifacts["model"]), device=device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Generate the cells of every row of a request, those of the first row first.

        Parameters
        ----------
        context
            Unused, as everything was read when the model was loaded.
        model_input
            Columns ``n_cells``, ``seed`` (default 0), ``cell_type`` (default: the model's own mixture). A row
            gives the cells of ``bench sample`` with these options.
        params
            Unused parameter of MLflow's.

        Returns
        -------
        pandas.DataFrame
            Cells × genes, sparse float32 in the generator's space. The index is called ``cell_type`` and
            holds the types where the generator tells them, else it counts the cells.
        """
        from bench.work.sampling import pieces_of

        requests = model_input.to_dict("records")
        pieces = [piece for request in requests for piece in pieces_of(self.generator, **_options(request))]
        return _frame(pieces)


def _options(request: dict[Any, Any]) -> dict[str, Any]:
    cell_type, seed = request.get("cell_type"), request.get("seed")
    return {
        "n_cells": int(request["n_cells"]),
        "seed": 0 if pd.isna(seed) else int(seed),
        "cell_type": None if pd.isna(cell_type) else cell_type,
    }


def _frame(pieces: list[Any]) -> pd.DataFrame:
    from scipy import sparse

    # pandas' stubs do not know the accessor on the class.
    from_matrix: Any = pd.DataFrame.sparse.from_spmatrix  # type: ignore[attr-defined]
    matrix = sparse.vstack([piece.X for piece in pieces], format="csr")
    cells: pd.DataFrame = from_matrix(matrix, columns=pieces[0].var_names)
    if all("cell_type" in piece.obs for piece in pieces):
        types = [name for piece in pieces for name in piece.obs["cell_type"].astype(str)]
        cells.index = pd.Index(types, name="cell_type")
    return cells


set_model(StoredGenerator())
