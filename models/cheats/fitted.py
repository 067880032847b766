"""Cheats that are fitted: training cells decoded, draws that a forest lets pass, near-duplicates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from models.base import Monitor
from models.baselines.nb_copula import NbCopula
from models.baselines.poisson_factors import PoissonFactors, factorise
from models.baselines.shared import Parameters
from models.controls.control import RememberedCells

TIMES_EACH = 16
KEPT = 0.98


class Reconstruction(PoissonFactors):
    """Cheat: the posterior of training cells, decoded; nothing is drawn but noise.

    The factor model of `PoissonFactors`, decoded at the loadings of a training cell of the type and at its
    library size instead of loadings that are drawn anew, with Poisson counts: what an autoencoder scores
    that reconstructs its training cells and calls them generated.
    """

    name = "reconstruction"
    role = "cheat"
    draws_from = "training cells"

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        with monitor.phase("nmf"):
            profiles, loadings = factorise(cells.counts, n_factors=self.n_factors, seed=seed % 2**32)
        return {"profiles": profiles, "loadings": loadings}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        known = self._parameters
        rows = rng.choice(self.cells.rows_by_type[cell_type], n_cells)
        rates = (known["library_sizes"][rows, None] * known["loadings"][rows]) @ known["profiles"]
        return csr_matrix(rng.poisson(rates).astype(np.float32))


class NearDuplicates(NbCopula):
    """Cheat: cells of `NbCopula`, each sixteen times, hardly two alike: every count is kept with 98 %."""

    name = "near_duplicates"
    role = "cheat"

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        once = super()._draw_block(cell_type, -(-n_cells // TIMES_EACH), rng)
        cells = once[np.arange(n_cells) // TIMES_EACH]
        cells.data = rng.binomial(cells.data.astype(np.int64), KEPT).astype(np.float32)
        cells.eliminate_zeros()
        return cells
