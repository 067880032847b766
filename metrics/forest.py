"""The random forest that rf_auc and augmentation_f1 share."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csc_array
    from sklearn.ensemble import RandomForestClassifier

    from metrics.spaces import CellMatrix

    Csc: TypeAlias = "csc_array[np.float32]"

DENSE_BYTES = 2**30


def random_forest(
    *, n_trees: int, seed: int, n_jobs: int, class_weight: Literal["balanced"] | None = None
) -> RandomForestClassifier:
    """Return the untrained forest of the paper: Gini, √n_genes genes a split, grown until leaves are pure.

    Parameters
    ----------
    n_trees
        1000 by definition: with 100 trees the same fold can score 0.75 where 1000 score 0.90.
    seed
        Everything random follows from it.
    n_jobs
        Threads; -1 takes the cores this process may use (affinity, container quota, LOKY_MAX_CPU_COUNT).
        Does not change the answer.
    class_weight
        None, or weights inverse to the classes' sizes.
    """
    from sklearn.ensemble import RandomForestClassifier

    # scikit-learn's threads race for the list of warning filters; left empty, each tree would warn.
    if not warnings.filters:
        warnings.simplefilter("default")
    return RandomForestClassifier(
        n_estimators=n_trees,
        criterion="gini",
        max_features="sqrt",
        min_samples_split=2,
        class_weight=class_weight,
        random_state=seed,
        n_jobs=n_jobs,
    )


def forest_input(matrix: CellMatrix) -> NDArray[np.float32] | Csc:
    """Return cells × genes as the forest trains fastest on them: dense float32 below 1 GiB, else CSC.

    Column by column either way: a tree looks at one gene of many cells, never at many genes of one cell.
    """
    from scipy.sparse import csc_array

    from metrics.spaces import as_csr

    n_cells, n_genes = matrix.shape
    csr = as_csr(matrix)
    return csr.toarray(order="F") if n_cells * n_genes * 4 < DENSE_BYTES else csc_array(csr)


def positive_share(forest: RandomForestClassifier, cells: Any) -> NDArray[np.float64]:
    """Mean over trees of the probability of the class with the larger label, for each cell.

    Threads add up the trees in any order; rounding makes the sum, and ties in it, reproducible.
    """
    return np.round(forest.predict_proba(cells)[:, 1], 9)
