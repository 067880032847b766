"""Can a random forest tell synthetic cells from real ones? Area under the ROC curve, ideal 0.5.

Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), section 5.2, figures 2 and 5; after
Marouf et al. 2020 (doi:10.1038/s41467-019-14018-z).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metrics.declaration import Metric, NotApplicable, Score
from metrics.forest import forest_input, positive_share, random_forest
from metrics.seeds import derived_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metrics.evidence import RealEvidence, SampleEvidence
    from metrics.spaces import CellMatrix, Csr

MINIMUM_CELLS_OF_TYPE = 10
PROJECTIONS = 8
# Float32 rounding on the way through another space moves a cell by 1e-5; one more count moves it by far more.
SAME_CELL_DISTANCE = 1e-3


@dataclass(frozen=True)
class RfAuc:
    """Outcome of the cross-validated forest.

    Parameters
    ----------
    mean, sd
        Of the folds' areas; sd with n - 1 in the denominator.
    fold_auc
        Area of each fold.
    scores
        Out-of-fold share of votes for "synthetic": real cells first, then synthetic ones, in the given order.
    labels
        0 real, 1 synthetic; same order.
    folds
        In which fold the cell was held out; same order.
    notes
        Whether identical cells left fewer folds than asked for.
    """

    mean: float
    sd: float
    fold_auc: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    notes: list[str]


def projections(cells: Csr) -> NDArray[np.float64]:
    """Project cells on fixed random directions; points lie about as far apart as the cells do.

    Parameters
    ----------
    cells
        Cells × genes as `metrics.spaces.as_csr` returns them.

    Returns
    -------
    numpy.ndarray
        Cells × 8; what a cell gets depends on its contents alone.
    """
    directions = np.random.default_rng(0).normal(size=(cells.shape[1], PROJECTIONS))
    return np.asarray(cells @ (directions / np.sqrt(PROJECTIONS)), dtype=np.float64)


def groups_of_identical(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the groups of cells that are equal but for rounding, in the order of their first cells.

    A copy that went through another space differs from its original in the last bits. Along each
    projection such copies are neighbours, unless another cell happens to come between them there.

    Parameters
    ----------
    points
        Of each cell, from `projections`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    along = np.argsort(points, axis=0)
    first, second = along[:-1].ravel(), along[1:].ravel()
    same = np.linalg.norm(points[first] - points[second], axis=1) < SAME_CELL_DISTANCE
    pairs = (first[same], second[same])
    links = coo_array((np.ones(pairs[0].size), pairs), shape=(len(points), len(points)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def assign_folds(
    labels: NDArray[np.int64], identical: NDArray[np.int64], *, n_folds: int, seed: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Deal cells into stratified folds so that identical cells share one.

    Without duplicates this is plain stratified k-fold, as the paper has it. Where a side has so few
    distinct cells that a fold would hold none of it, there are fewer folds.

    Parameters
    ----------
    labels
        0 real, 1 synthetic, for each cell.
    identical
        Group number of each cell: the same for identical cells only.
    n_folds, seed
        Largest number of folds, and where the shuffling starts.

    Returns
    -------
    tuple
        The fold of each cell, from 0, and a note if there are fewer folds than asked for.

    Raises
    ------
    NotApplicable
        If all cells of a side are identical: no fold can then both train and test on that side. Or if
        not even two folds can be dealt.
    """
    distinct = [np.unique(identical[labels == label]).size for label in (0, 1)]
    fewest, side = min(zip(distinct, ("real", "synthetic"), strict=True))
    if fewest < 2:
        raise NotApplicable(f"collapsed: all {side} cells are identical")
    for n_dealt in range(min(n_folds, fewest), 1, -1):
        folds = _dealt(labels, identical, n_folds=n_dealt, seed=seed)
        if all(np.unique(folds[labels == label]).size == n_dealt for label in (0, 1)):
            note = f"only {fewest} distinct {side} cells, so {n_dealt} folds instead of {n_folds}"
            return folds, [note] if n_dealt < n_folds else []
    raise NotApplicable(f"only {fewest} distinct {side} cells; they fill no two folds")


def _dealt(
    labels: NDArray[np.int64], identical: NDArray[np.int64], *, n_folds: int, seed: int
) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if np.unique(identical).size == identical.size:
        splits = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels)
    else:
        splits = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(
            labels, labels, identical
        )
    folds = np.empty(labels.size, dtype=np.int64)
    for fold, (_, held_out) in enumerate(splits):
        folds[held_out] = fold
    return folds


def rf_auc(
    real: CellMatrix,
    synthetic: CellMatrix,
    *,
    n_trees: int = 1000,
    n_folds: int = 5,
    seed: int,
    n_jobs: int = -1,
) -> RfAuc:
    """Tell real from synthetic cells with a random forest, cross-validated.

    Identical cells never lie on both sides of a fold: a forest would recognise the copy. Few distinct
    cells therefore make fewer folds. The order of cells does not matter: they are put into an order
    of their contents first.

    Parameters
    ----------
    real, synthetic
        Cells × genes in the same space; as many of either, because the area grows with their number.
    n_trees, n_folds
        1000 and 5 by definition; fewer folds where `assign_folds` finds too few distinct cells.
    seed
        Everything random follows from it.
    n_jobs
        Threads; see `metrics.forest.random_forest`.

    Raises
    ------
    ValueError
        If the shapes differ.
    NotApplicable
        If all cells of a side are identical, or so alike that they fill no two folds.
    """
    from scipy.sparse import vstack
    from sklearn.metrics import roc_auc_score

    from metrics.spaces import as_csr

    if real.shape != synthetic.shape:
        raise ValueError(f"real cells are {real.shape}, synthetic {synthetic.shape}; give as many of either")
    labels = np.repeat(np.array([0, 1]), real.shape[0])
    stacked = as_csr(vstack([as_csr(real), as_csr(synthetic)], format="csr"))
    points = projections(stacked)
    order = np.lexsort((labels, points[:, 0]))
    identical = groups_of_identical(points[order])
    seeds = np.random.SeedSequence(seed).generate_state(1 + n_folds)

    folds = np.empty(labels.size, dtype=np.int64)
    folds[order], notes = assign_folds(labels[order], identical, n_folds=n_folds, seed=int(seeds[0]))
    n_dealt = int(folds.max()) + 1
    cells = forest_input(stacked)
    scores = np.empty(labels.size)
    areas = np.empty(n_dealt)
    for fold in range(n_dealt):
        held_out, kept = order[folds[order] == fold], order[folds[order] != fold]
        forest = random_forest(n_trees=n_trees, seed=int(seeds[1 + fold]), n_jobs=n_jobs)
        forest.fit(cells[kept], labels[kept])
        scores[held_out] = positive_share(forest, cells[held_out])
        areas[fold] = roc_auc_score(labels[held_out], scores[held_out])
    return RfAuc(float(areas.mean()), float(areas.std(ddof=1)), areas, scores, labels, folds, notes)


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    result = rf_auc(real.log_test, sample.log_matrix, seed=derived_seed(real.seed, "rf_auc"))
    return Score(
        values={"rf_auc": result.mean, "rf_auc_sd": result.sd},
        details={
            "fold_auc": result.fold_auc.tolist(),
            "scores": result.scores.tolist(),
            "labels": result.labels.tolist(),
            "folds": result.folds.tolist(),
        },
        notes=[*sample.notes, *result.notes],
    )


def rf_auc_by_type(
    real: RealEvidence, sample: SampleEvidence, *, n_trees: int = 1000, n_jobs: int = -1
) -> Score:
    """Compute rf_auc within each cell type and its mean over types, each type counting alike.

    Types with fewer than 10 test or 10 synthetic cells are left out and named. Where one side has
    more cells of a type, as many as the other has are drawn from it.

    Raises
    ------
    NotApplicable
        If either side has no types, or no type is large enough.
    """
    if real.test_types is None or sample.cell_types is None:
        raise NotApplicable("the test cells or the synthetic cells carry no cell types")
    details: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for cell_type in sorted(set(real.test_types.tolist())):
        try:
            real_cells, synthetic_cells = _cells_of_type(real, sample, cell_type)
            seed = derived_seed(real.seed, f"rf_auc_by_type/{cell_type}")
            result = rf_auc(real_cells, synthetic_cells, n_trees=n_trees, seed=seed, n_jobs=n_jobs)
        except NotApplicable as reason:
            notes.append(f"left out {cell_type}: {reason}")
        else:
            n_cells = real_cells.shape[0]
            details[cell_type] = {"rf_auc": result.mean, "rf_auc_sd": result.sd, "n_cells": n_cells}
            notes += [f"{cell_type}: {note}" for note in result.notes]
    if not details:
        raise NotApplicable(f"no type could be scored: {'; '.join(notes)}")
    mean = float(np.mean([value["rf_auc"] for value in details.values()]))
    return Score({"rf_auc_by_type": mean}, {"by_type": details}, [*sample.notes, *notes])


def _cells_of_type(real: RealEvidence, sample: SampleEvidence, cell_type: str) -> tuple[Csr, Csr]:
    rows = [np.flatnonzero(types == cell_type) for types in (real.test_types, sample.cell_types)]
    n_cells = min(side.size for side in rows)
    if n_cells < MINIMUM_CELLS_OF_TYPE:
        raise NotApplicable(f"{rows[0].size} test and {rows[1].size} synthetic cells")
    rng = np.random.default_rng(derived_seed(real.seed, f"cells of {cell_type}"))
    chosen = [rng.choice(side, n_cells, replace=False) for side in rows]
    return real.log_test[chosen[0]], sample.log_matrix[chosen[1]]


METRIC = Metric(
    name="rf_auc",
    description="area under the ROC curve of a random forest that tells synthetic from test cells",
    compute=_compute,
    better="lower",
    ideal=0.5,
    bounds=(0.0, 1.0),
    reference="doi:10.1093/bioinformatics/btac095",
    cost="five forests of 1000 trees on all genes",
    floors=("shuffle", "shuffle_within_type", "poisson"),
)

METRIC_BY_TYPE = Metric(
    name="rf_auc_by_type",
    description="rf_auc within each cell type, mean over types",
    compute=rf_auc_by_type,
    better="lower",
    ideal=0.5,
    bounds=(0.0, 1.0),
    reference="doi:10.1093/bioinformatics/btac095",
    cost="five forests of 1000 trees for each type",
    # Not shuffle: its cells have no types.
    floors=("shuffle_within_type", "poisson"),
    needs_types=True,
    default=False,
)
