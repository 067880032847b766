"""Real cells in three parts: those that were trained on, those to make worse, those to compare with.

Three quarters of the control pool are withdrawn from the training cells: they are what a perfect generator
would make, for metrics of memorisation, too. The last quarter stays with the training cells, to be copied.
The PCA has not seen it, so that copies lie where fresh cells lie: components from few cells fit these cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metrics.arrays import Strings
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.seeds import derived_seed
from metrics.spaces import CellMatrix, Csr, Space, as_csr

if TYPE_CHECKING:
    from anndata import AnnData

WITHDRAWN = 0.75
MOST_CELLS = 500
FEWEST_CELLS = 30


@dataclass(frozen=True, eq=False)
class FreshCells:
    """Cells of one draw from the withdrawn cells, and those that were left over.

    Parameters
    ----------
    counts, types
        n_cells × n_genes, and the label of each cell.
    spare_counts, spare_types
        Counts and labels of other withdrawn cells, at least as many.
    copied_counts
        Counts of training cells that the PCA has not seen, at least half as many.
    real
        Real cells that the drawn ones are compared with.
    """

    counts: Csr
    types: Strings
    spare_counts: Csr
    spare_types: Strings
    copied_counts: Csr
    real: RealEvidence


class SelfTestCells:
    """The cells of a prepared data set as a self-test uses them.

    Parameters
    ----------
    adata
        A prepared data set: ``layers["counts"]``, ``obs["split"]``, ``obs["cell_type"]`` and
        ``obs["control_pool"]``.
    n_cells
        Cells a side; None for 500, or as many as the test split and half of the withdrawn cells are.
    seed
        Everything random follows from it.

    Raises
    ------
    ValueError
        If there are too few cells.
    """

    def __init__(self, adata: AnnData, *, n_cells: int | None, seed: int) -> None:
        self.seed = seed
        pool = np.flatnonzero(adata.obs["control_pool"])
        order = np.random.default_rng(derived_seed(seed, "withdrawn cells")).permutation(pool)
        n_withdrawn = round(WITHDRAWN * pool.size)
        fresh, copied = order[:n_withdrawn], order[n_withdrawn:]
        train = np.setdiff1d(np.flatnonzero(adata.obs["split"] == "train"), fresh)
        test = np.flatnonzero(adata.obs["split"] == "test")
        counts, types = as_csr(adata.layers["counts"]), adata.obs["cell_type"].to_numpy(dtype=str)
        self.fresh_counts, self.fresh_types, self._copied_counts = counts[fresh], types[fresh], counts[copied]
        most = min(test.size, fresh.size // 2)
        n_wanted = min(MOST_CELLS, most) if n_cells is None else n_cells
        if not FEWEST_CELLS <= n_wanted <= most:
            raise ValueError(
                f"n_cells is {n_wanted}; {test.size} test cells and {pool.size} in the control pool allow "
                f"{FEWEST_CELLS} to {most}"
            )
        self.real = RealEvidence(
            counts[train],
            counts[test],
            train_types=types[train],
            test_types=types[test],
            control_pool=np.isin(train, copied),
            gene_names=adata.var_names.to_numpy(dtype=str),
            n_cells=n_wanted,
            seed=seed,
        )

    @property
    def share_drawn(self) -> float:
        """Share of the withdrawn cells that one draw takes."""
        return self.real.n_cells / self.fresh_types.size

    def draw(self, number: int) -> FreshCells:
        """Draw withdrawn cells without replacement; each number is a draw of its own."""
        rng = np.random.default_rng(derived_seed(self.seed, f"draw {number}"))
        rows = rng.permutation(self.fresh_types.size)
        drawn, spare = rows[: self.real.n_cells], rows[self.real.n_cells :]
        return FreshCells(
            self.fresh_counts[drawn],
            self.fresh_types[drawn],
            self.fresh_counts[spare],
            self.fresh_types[spare],
            self._copied_counts,
            self.real,
        )

    def sample(self, matrix: CellMatrix, *, space: Space = "counts") -> SampleEvidence:
        """Put cells beside the real ones."""
        return SampleEvidence(self.real, matrix, space=space)
