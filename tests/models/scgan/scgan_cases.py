"""Small cells and networks for scGAN's and cscGAN's tests."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

TINY = {"latent_dim": 4, "generator_sizes": (8, 12), "critic_sizes": (10, 6), "batch_size": 16}
FREQUENCIES = [0.2, 0.5, 0.3]
TYPES = ["B", "Mono", "T"]


def training_cells():
    """60 cells × 30 genes, 12 B, 30 monocytes, 18 T."""
    counts = np.random.default_rng(0).poisson(2.0, (60, 30)) + 1
    cells = (counts / counts.sum(1, keepdims=True) * 20_000).astype(np.float32)
    labels = np.repeat(TYPES, [12, 30, 18])
    obs = pd.DataFrame({"cell_type": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(60)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(30)])
    return AnnData(X=sparse.csr_matrix(cells), obs=obs, var=var)


def spread_types(network):
    """Make a fresh generator network's cells differ by type."""
    for norm in network.norms:
        norm.offset.assign(np.random.default_rng(1).normal(size=norm.offset.shape))
