"""How many synthetic cells are not mere neighbours of one training cell? AuthPct.

Alaa et al. 2022 (doi:10.48550/arXiv.2102.08921), section 4.3: a synthetic cell is authentic if it is
farther from its nearest training cell than that training cell is from its nearest other training cell.
Cells of low variance come out as not authentic without being copies. Held-out cells are not all authentic
either, so theirs is the number to compare with. No interval: no test cell enters the number.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Bools, Floats, Ints
from metrics.by_type import Rows, score_with_types
from metrics.declaration import NotApplicable, Score, share_metric
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.neighbours import Neighbours


def nearest_other(points: Floats, rows: Ints) -> Floats:
    """Distance from some cells to the nearest other one.

    Parameters
    ----------
    points
        n_cells × n_components.
    rows
        Indices of the cells whose nearest other cell is wanted.

    Raises
    ------
    NotApplicable
        With fewer than 2 cells.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(points) < 2:
        raise NotApplicable("1 training cell; authenticity needs 2")
    search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(points)
    asked, inverse = np.unique(rows, return_inverse=True)
    found = search.kneighbors(points[asked], return_distance=False)
    # One of the two is the cell itself, or else both are its duplicates.
    distances = np.linalg.norm(points[asked][:, None, :] - points[found], axis=2).max(axis=1)
    return np.asarray(distances[inverse], dtype=np.float64)


def is_authentic(to_train: Neighbours, train: Floats) -> Bools:
    """Tell which cells are authentic.

    Parameters
    ----------
    to_train
        The nearest training cells of the synthetic ones.
    train
        Training cells on components, n_cells × n_components.
    """
    return to_train.distances > nearest_other(train, to_train.rows)


def authenticity(real: RealEvidence, sample: SampleEvidence) -> Score:
    """Share of authentic cells on the principal components, among synthetic and among test cells.

    Raises
    ------
    NotApplicable
        With fewer than 2 training cells.
    """
    of_test = is_authentic(real.test_to_train, real.train_pca_scores)
    of_synthetic = is_authentic(sample.to_train, real.train_pca_scores)

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        return {
            "authenticity": float(of_synthetic[synthetic].mean()),
            "authenticity_test": float(of_test[test].mean()),
        }

    return score_with_types(real, sample, measure, notes=real.pca_notes)


METRIC = share_metric(
    name="authenticity",
    description="AuthPct: share of synthetic cells that are no mere neighbours of one training cell",
    compute=authenticity,
    reference="doi:10.48550/arXiv.2102.08921",
    cost="nearest training cells",
    floors=("memorise",),
    group="memorisation",
    exempt=("real", "null"),
    judged_by="authenticity_test",
)
