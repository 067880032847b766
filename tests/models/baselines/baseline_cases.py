"""Small training cells for the baselines' tests."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from models.base import Budget, SilentMonitor

N_CELLS, N_GENES = 240, 30


def as_training_cells(counts: np.ndarray, cell_types) -> AnnData:
    matrix = csr_matrix(np.asarray(counts, dtype=np.float32))
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(cell_types)}, index=[f"cell{i}" for i in range(matrix.shape[0])]
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(matrix.shape[1])])
    adata = AnnData(matrix.copy(), obs=obs, var=var)
    adata.layers["counts"] = matrix
    return adata


def training_cells() -> AnnData:
    """Two types of many cells, one of three, one of a single cell; gene 28 is always 2, gene 29 silent."""
    rng = np.random.default_rng(3)
    types = np.array(["B"] * 120 + ["T"] * 116 + ["NK"] * 3 + ["Mast"])
    profiles = {name: rng.gamma(0.7, 3.0, N_GENES) for name in ("B", "T", "NK", "Mast")}
    rates = np.array([profiles[name] * rng.gamma(6, 1 / 6) for name in types])
    counts = rng.poisson(rates)
    counts[:, 28] = 2
    counts[:, 29] = 0
    order = rng.permutation(N_CELLS)
    return as_training_cells(counts[order], types[order])


def fitted(baseline, train: AnnData, *, seed: int = 0):
    baseline.fit(train, seed=seed, budget=Budget(1, "steps"), monitor=SilentMonitor())
    return baseline


def dense(adata: AnnData) -> np.ndarray:
    return adata.X.toarray()
