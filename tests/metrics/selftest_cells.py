"""Cells as a self-test wants them: a test split, and training cells half of which controls may draw."""

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from metrics.selftest.cells import SelfTestCells


def self_test_cells(counts, types, *, n_cells, n_genes=None, seed=0):
    """Deal cells: n_cells for testing, three times as many to the control pool, the rest to no control."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(counts.shape[0])
    split = np.full(order.size, "train", dtype="<U5")
    split[order[:n_cells]] = "test"
    pool = np.zeros(order.size, dtype=bool)
    pool[order[n_cells : 4 * n_cells]] = True
    obs = pd.DataFrame({"cell_type": types, "split": split, "control_pool": pool})
    obs.index = obs.index.astype(str)
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    if n_genes is not None:
        expressed = np.diff(counts.tocsc().indptr)
        counts = counts[:, np.sort(np.argsort(-expressed, kind="stable")[:n_genes])]
    adata = anndata.AnnData(layers={"counts": counts}, obs=obs, shape=counts.shape)
    return SelfTestCells(adata, n_cells=n_cells, seed=0)
