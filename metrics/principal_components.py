"""The principal components that all metrics share, and how they are kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metrics.declaration import NotApplicable
from metrics.spaces import Csr

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

_LEARNT = ("components_", "mean_", "explained_variance_", "explained_variance_ratio_")


def fitted_pca(cells: Csr, *, most_components: int, seed: int) -> dict[str, NDArray[Any]]:
    """Fit principal components; return what `restored_pca` makes a `PCA` of.

    Solver arpack: exact on sparse cells, where the randomised one keeps too little variance.

    Parameters
    ----------
    cells
        n_cells × n_genes.
    most_components
        Fewer where cells or genes do not allow as many.
    seed
        Seed of arpack's starting vector.

    Raises
    ------
    NotApplicable
        If there are too few cells or genes for one component.
    """
    from sklearn.decomposition import PCA

    n_components = min(most_components, min(cells.shape) - 1)
    if n_components < 1:
        raise NotApplicable(f"{cells.shape[0]} cells × {cells.shape[1]} genes are too few for a PCA")
    pca = PCA(n_components, svd_solver="arpack", random_state=seed).fit(cells)
    return {name: np.asarray(getattr(pca, name)) for name in _LEARNT}


def restored_pca(arrays: Mapping[str, NDArray[Any]]) -> PCA:
    """Return a `PCA` that transforms as the one that was fitted."""
    from sklearn.decomposition import PCA

    n_components, n_genes = arrays["components_"].shape
    pca = PCA(n_components, svd_solver="arpack")
    for name, value in arrays.items():
        setattr(pca, name, value)
    pca.n_components_, pca.n_features_in_ = n_components, n_genes
    return pca
