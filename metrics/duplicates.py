"""How many synthetic cells equal a training cell, or one another? None, where cells are deep enough.

The share of identical records, as in Platzer & Reutterer 2021 (doi:10.3389/fdata.2021.679939). Cells are
compared in the protocol's genes and space: under ``strict`` counts in the same proportions are the same
cell. Shallow cells may coincide by chance, so the test cells' shares stand beside. No interval: no test cell
enters the number.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Bools
from metrics.by_type import Rows, score_with_types
from metrics.declaration import Score, error_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.rf_auc import groups_of_identical, projections
from metrics.spaces import Csr


def duplicated(cells: Csr, train: Csr) -> tuple[Bools, Bools]:
    """Find cells that are equal to a training cell, and cells that are equal to one another.

    Equal but for rounding; see `metrics.rf_auc.groups_of_identical`.

    Parameters
    ----------
    cells, train
        n × n_genes and m × n_genes, in the same space.

    Returns
    -------
    copies
        Which of the n cells equal a training cell.
    repeats
        Which equal another of the n.
    """
    groups = groups_of_identical(np.concatenate([projections(cells), projections(train)]))
    of_cells, of_train = groups[: cells.shape[0]], groups[cells.shape[0] :]
    return np.isin(of_cells, of_train), np.bincount(of_cells)[of_cells] > 1


def duplicates(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Share of synthetic cells that equal a training cell.

    Returns
    -------
    Score
        ``duplicates`` and its mean over types; ``repeats``, the share of synthetic cells that equal another
        synthetic cell; and both shares of the test cells.
    """
    copies, repeats = duplicated(sample.cells, real.train_cells)
    copies_test, repeats_test = duplicated(real.test_cells, real.train_cells)

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        return {
            "duplicates": float(copies[synthetic].mean()),
            "repeats": float(repeats[synthetic].mean()),
            "duplicates_test": float(copies_test[test].mean()),
            "repeats_test": float(repeats_test[test].mean()),
        }

    return score_with_types(real, sample, measure)


METRIC = error_metric(
    name="duplicates",
    description="share of synthetic cells that equal a training cell",
    compute=duplicates,
    bounds=(0.0, 1.0),
    reference="doi:10.3389/fdata.2021.679939",
    cost="eight projections of all cells",
    floors=("memorise",),
    group="memorisation",
    exempt=("real", "null"),
)
