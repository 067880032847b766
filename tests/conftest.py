"""What many tests share: a tiny prepared data set and throw-away generators."""

from __future__ import annotations

import signal
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from tests.places import SHARED_DATA

# Who starts the tests in the background has them ignore Ctrl-C, and with them every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def make_prepared(*, n_cells: int = 150, n_genes: int = 60, seed: int = 0) -> anndata.AnnData:
    """Return a small AnnData that keeps the data contract: three types, a fifth of the cells for testing."""
    rng = np.random.default_rng(seed)
    types = np.array(["alpha", "beta", "gamma"])[np.arange(n_cells) % 3]
    rates = rng.gamma(0.6, 2.0, size=(3, n_genes))
    counts = rng.poisson(rates[np.arange(n_cells) % 3]).astype(np.float32)
    counts[:, 0] += 1
    split = np.where(np.arange(n_cells) % 5 == 4, "test", "train")
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(types),
            "split": pd.Categorical(split, categories=["train", "valid", "test"]),
            "control_pool": (split == "train") & (np.arange(n_cells) % 2 == 0),
        },
        index=[f"cell{number}" for number in range(n_cells)],
    )
    obs["null_half"] = np.where(obs["control_pool"], 1 + np.cumsum(obs["control_pool"]) % 2, 0)
    var = pd.DataFrame(index=[f"gene{number}" for number in range(n_genes)])
    normalised = 20_000 * counts / counts.sum(axis=1, keepdims=True)
    adata = anndata.AnnData(sparse.csr_matrix(normalised.astype(np.float32)), obs=obs, var=var)
    adata.layers["counts"] = sparse.csr_matrix(counts)
    adata.uns["bench"] = {"name": "tiny", "source": "made by a test", "labels": "given", "notes": []}
    return adata


def pytest_collection_modifyitems(items):
    """Begin with what takes the longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: ("test_end_to_end" not in item.nodeid, "slow" not in item.keywords))


@pytest.fixture(scope="session")
def prepared() -> anndata.AnnData:
    """A tiny prepared data set, not to be modified."""
    return make_prepared()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real cells that lies beside a developer's checkout; absent from a user's clone."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED_DATA
