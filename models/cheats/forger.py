"""A cheat that is right on the components that most metrics look at, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.base import Budget, GeneratorError, Monitor
from models.baselines.knn_poisson import N_COMPONENTS
from models.baselines.shared import LIBRARY_SIZE, Baseline, Parameters, log_cp20k, reciprocal
from models.controls.control import RememberedCells

if TYPE_CHECKING:
    from anndata import AnnData

ROUNDS = 50


class ComponentForger(Baseline):
    """Cheat: cells that lie on the metrics' 50 principal components where training cells lie.

    The components are those of `metrics`: of the log-normalised training cells that no control draws from. A
    synthetic cell takes the place of a training cell from ``obs["control_pool"]`` (of its type, with
    replacement) on them. Off them it starts from the mean, and is brought to what a cell must be, not
    negative and of library size 20 000, by projecting in turns on the components' plane, on what is not
    negative and on the library size, 50 times. So it is smooth where real cells are zeros.
    """

    name = "component_forger"
    role = "cheat"
    space = "log_cp20k"
    framework = "scikit-learn"
    draws_from = "training cells"
    libraries = ("sklearn.decomposition",)

    def fit(
        self, train: AnnData, *, seed: int, device: str = "cpu", budget: Budget, monitor: Monitor
    ) -> None:
        """Learn the components, and where the cells of ``obs["control_pool"]`` lie; see `Baseline.fit`.

        Raises
        ------
        GeneratorError
            If ``layers["counts"]``, ``obs["cell_type"]`` or ``obs["control_pool"]`` is missing, or there are
            no cells to learn from.
        """
        if "control_pool" not in train.obs:
            raise GeneratorError(f'{self.name}: obs["control_pool"] is missing; prepare the data set first')
        self._in_pool = train.obs["control_pool"].to_numpy(dtype=bool)
        super().fit(train, seed=seed, device=device, budget=budget, monitor=monitor)

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        from sklearn.decomposition import PCA

        logged = log_cp20k(cells.counts)
        learnt_on = logged[~self._in_pool]
        n_components = min(N_COMPONENTS, min(learnt_on.shape) - 1)
        if n_components < 1:
            raise GeneratorError(f"{self.name}: {learnt_on.shape[0]} cells are too few; use more cells")
        with monitor.phase("pca"):
            pca = PCA(n_components, svd_solver="arpack", random_state=seed % 2**32).fit(learnt_on)
            places = np.asarray(pca.transform(logged), dtype=np.float64)
        return {"axes": pca.components_, "mean": pca.mean_, "places": places, "in_pool": self._in_pool}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        known = self._parameters
        rows = self.cells.rows_by_type[cell_type]
        own = rows[known["in_pool"][rows]]
        chosen = rng.choice(own if own.size else rows, n_cells)
        return csr_matrix(forged(known["places"][chosen], known["axes"], known["mean"]).astype(np.float32))


def forged(
    places: NDArray[np.float64], axes: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return log-normalised cells, n_cells × n_genes, that lie in given places on components.

    Parameters
    ----------
    places
        n_cells × n_components.
    axes, mean
        n_components × n_genes, orthonormal; n_genes: the components.
    """
    cells = np.tile(mean, (len(places), 1))
    for _ in range(ROUNDS):
        cells += (places - (cells - mean) @ axes.T) @ axes
        np.maximum(cells, 0, out=cells)
        linear = np.expm1(cells)
        cells = np.log1p(linear * (LIBRARY_SIZE * reciprocal(linear.sum(axis=1)))[:, None])
    return cells
