"""Training cells smoothed over their neighbours, and Poisson noise: the least that looks like a generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.base import GeneratorError, Monitor
from models.baselines.shared import Baseline, Parameters, log_cp20k, reciprocal
from models.controls.control import Labels, RememberedCells

N_COMPONENTS = 50


class KnnPoisson(Baseline):
    """Poisson counts around the mean proportions of neighbouring training cells.

    A synthetic cell takes a training cell of its type, drawn with replacement, the mean
    proportions of that cell's nearest training cells of the same type (itself included), and its
    library size; counts are Poisson. Neighbours are near in Euclidean distance on the first 50
    principal components of the log-normalised training cells. The fitted model holds the
    training cells, and with one neighbour it is next to a copy of them.

    Parameters
    ----------
    n_neighbours
        Number of cells that are averaged, the cell itself included; all of a type that has fewer.

    Raises
    ------
    GeneratorError
        If `n_neighbours` is below 1.
    """

    name = "knn_poisson"
    framework = "scikit-learn"
    libraries = ("sklearn.decomposition", "sklearn.neighbors")
    keeps_counts = True
    draws_from = "training cells"

    def __init__(self, *, n_neighbours: int = 5) -> None:
        if n_neighbours < 1:
            raise GeneratorError(f"n_neighbours is {n_neighbours}; give at least 1")
        self.n_neighbours = n_neighbours

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        with monitor.phase("pca"):
            scores = principal_scores(cells.counts, seed=seed)
        with monitor.phase("neighbours"):
            neighbours = neighbours_within_type(scores, cells.cell_types, n_neighbours=self.n_neighbours)
        return {"neighbours": neighbours}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        rows = rng.choice(self.cells.rows_by_type[cell_type], n_cells)
        neighbours = self._parameters["neighbours"][rows]
        is_cell = neighbours >= 0
        sizes = self._parameters["library_sizes"]
        # Each neighbour counts alike, whatever its library size.
        weights = (sizes[rows] / is_cell.sum(axis=1))[:, None] * reciprocal(sizes)[neighbours]
        ends = np.concatenate([[0], np.cumsum(is_cell.sum(axis=1))])
        mixing = csr_matrix(
            (weights[is_cell], neighbours[is_cell], ends), shape=(n_cells, self.cells.counts.shape[0])
        )
        counts = csr_matrix(mixing @ self.cells.counts)
        counts.data = rng.poisson(counts.data).astype(np.float32)
        counts.eliminate_zeros()
        counts.sort_indices()
        return counts


def principal_scores(counts: csr_matrix, *, seed: int) -> NDArray[np.float64]:
    """Return the first principal components of log-normalised cells, n_cells × at most 50."""
    from sklearn.decomposition import PCA

    logged = log_cp20k(counts)
    n_components = min(N_COMPONENTS, min(counts.shape) - 1)
    if n_components < 1:
        return np.zeros((counts.shape[0], 1))
    pca = PCA(n_components, svd_solver="arpack", random_state=seed % 2**32)
    return np.asarray(pca.fit_transform(logged), dtype=np.float64)


def neighbours_within_type(
    scores: NDArray[np.float64], cell_types: Labels, *, n_neighbours: int
) -> NDArray[np.int64]:
    """Return the rows of each cell's nearest cells of its type, nearest first.

    Parameters
    ----------
    scores
        n_cells × n_components.
    cell_types
        Label of each cell.
    n_neighbours
        Number of nearest cells, the cell itself among them.

    Returns
    -------
    numpy.ndarray
        n_cells × n_neighbours; -1 where the type has fewer cells.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = np.full((scores.shape[0], n_neighbours), -1, dtype=np.int64)
    for name in np.unique(cell_types):
        rows = np.flatnonzero(cell_types == name)
        n_found = min(n_neighbours, rows.size)
        search = NearestNeighbors(n_neighbors=n_found).fit(scores[rows])
        neighbours[rows, :n_found] = rows[search.kneighbors(scores[rows], return_distance=False)]
    return neighbours
