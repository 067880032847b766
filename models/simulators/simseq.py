"""Real values, gene by gene, under normalisation factors: the idea of SimSeq (Benidt 2015)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from models.base import Monitor
from models.baselines.shared import Baseline, Parameters, reciprocal
from models.controls.control import RememberedCells
from models.simulators.shared import draw_sizes, learn_sizes


class SimSeq(Baseline):
    """Counts of training cells of the type, each gene from another cell, scaled to the new cell.

    The source simulates a bulk data set from a larger real one: it takes real samples, swaps the values of
    some genes for those of other samples, and multiplies what was swapped by the ratio of the two samples'
    normalisation factors. Here every gene of a cell takes its value from a training cell of the type, drawn
    with replacement for each gene apart; normalisation factors are library sizes, the new cell's from their
    kernel estimate over the type. Scaled counts are rounded at random, up with the probability of their
    fraction, which keeps means; bulk counts are so large that it does not matter how the source rounds.

    Every single value is that of a training cell, so it declares `draws_from`, and genes are independent
    within types.

    Benidt & Nettleton, Bioinformatics 31 (2015), 2131.
    """

    name = "simseq"
    paper = "doi:10.1093/bioinformatics/btv124"
    keeps_counts = True
    draws_from = "training cells"

    def _learn(self, cells: RememberedCells, seed: int, monitor: Monitor) -> Parameters:
        return {}

    def _remember(self, cells: RememberedCells, training_seed: int) -> None:
        super()._remember(cells, training_seed)
        by_type = {name: cells.counts[rows] for name, rows in cells.rows_by_type.items()}
        self._columns = {name: counts.tocsc() for name, counts in by_type.items()}
        self._factors = {name: learn_sizes(counts) for name, counts in by_type.items()}

    def _draw_block(self, cell_type: str, n_cells: int, rng: np.random.Generator) -> csr_matrix:
        rows = self.cells.rows_by_type[cell_type]
        columns = self._columns[cell_type]
        per_gene = np.diff(columns.indptr)
        # Which values are not 0 is one draw for each gene and cell; which of those, one for each that is not.
        cells, genes = np.nonzero(rng.random((n_cells, per_gene.size)) < per_gene / rows.size)
        taken = columns.indptr[genes] + rng.integers(per_gene[genes])
        former = self._parameters["library_sizes"][rows[columns.indices[taken]]]
        wanted = draw_sizes(self._factors[cell_type], n_cells, rng)[cells]
        scaled = columns.data[taken] * wanted * reciprocal(former)
        counts = csr_matrix(
            (np.floor(scaled + rng.random(scaled.size)), (cells, genes)), (n_cells, per_gene.size)
        )
        counts.eliminate_zeros()
        return counts.astype(np.float32)
