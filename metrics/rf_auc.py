"""Can a random forest tell synthetic cells from real ones? Area under the ROC curve, ideal 0.5.

Heydari et al. 2022 (doi:10.1093/bioinformatics/btac095), section 5.2, figures 2 and 5; after
Marouf et al. 2020 (doi:10.1038/s41467-019-14018-z). Under the protocol ``groundgan2024``, on 50 principal
components with one split of 70 to 30 that is not stratified (Zinati et al. 2024,
doi:10.1038/s41467-024-48516-6). What that paper leaves open: the components are those of real and synthetic
training cells together, cells are not scaled gene by gene, and the forest is the same. Unlike there,
identical cells never lie on both sides of the split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.by_type import Rows, measure_by_type, order_of_contents
from metrics.declaration import Metric, NotApplicable, Score
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.folds import assign_folds, hold_out
from metrics.forest import columns_of, vote_shares
from metrics.principal_components import fitted_pca, restored_pca
from metrics.roc import area_interval, chance_p_value, fold_areas
from metrics.seeds import derived_seed
from metrics.spaces import CellMatrix, Csr, as_csr

if TYPE_CHECKING:
    from metrics.trees import Columns

FOLDS = 5
COMPONENTS = 50
CHANCE = 0.5
PROJECTIONS = 8
# Float32 rounding on the way through another space moves a logged cell, whose length is about 100, by 1e-5;
# one more count moves it by far more. Rounding grows with the length of cells that are not logged.
SAME_CELL_DISTANCE = 1e-3
LOGGED_LENGTH = 100.0


@dataclass(frozen=True)
class RfAuc:
    """Outcome of the forests.

    Parameters
    ----------
    mean, sd
        Mean and standard deviation of the folds' areas; sd with n - 1 in the denominator, None for a single
        split.
    fold_auc
        Area under the curve in each fold.
    interval
        95 % interval of the mean over the real cells, see `metrics.roc.area_interval`.
    p_value
        Probability of a mean so far from one half by chance, see `metrics.roc.chance_p_value`.
    scores
        Share of votes for "synthetic" when the cell was held out: real cells first, then synthetic ones, in
        the given order; NaN for cells that never were.
    labels
        Label of each cell, 0 real or 1 synthetic, in the same order.
    folds
        Fold in which each cell was held out, -1 if in none; same order.
    notes
        Whether identical cells left fewer folds, or few cells fewer components, than asked for.
    """

    mean: float
    sd: float | None
    fold_auc: Floats
    interval: tuple[float, float]
    p_value: float
    scores: Floats
    labels: Ints
    folds: Ints
    notes: list[str]

    @property
    def values(self) -> dict[str, float]:
        """``rf_auc`` and, where there are folds, ``rf_auc_sd``."""
        return {"rf_auc": self.mean} | ({} if self.sd is None else {"rf_auc_sd": self.sd})


def projections(cells: Csr) -> Floats:
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


def groups_of_identical(points: Floats) -> Ints:
    """Number the groups of cells that are equal but for rounding, in the order of their first cells.

    A copy that went through another space differs from its original in the last bits. Along each
    projection such copies are neighbours, unless another cell happens to come between them there.

    Parameters
    ----------
    points
        Projections of each cell, from `projections`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    along = np.argsort(points, axis=0)
    first, second = along[:-1].ravel(), along[1:].ravel()
    rounding = SAME_CELL_DISTANCE * np.maximum(1.0, np.linalg.norm(points[first], axis=1) / LOGGED_LENGTH)
    same = np.linalg.norm(points[first] - points[second], axis=1) < rounding
    pairs = (first[same], second[same])
    links = coo_array((np.ones(pairs[0].size), pairs), shape=(len(points), len(points)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def rf_auc(
    real: CellMatrix,
    synthetic: CellMatrix,
    *,
    n_trees: int = 1000,
    split: Literal["five_folds", "70/30"] = "five_folds",
    features: Literal["genes", "pca"] = "genes",
    seed: int,
    n_threads: int | None = None,
) -> RfAuc:
    """Tell real from synthetic cells with a random forest that has not seen them.

    Identical cells never lie on both sides of a split: a forest would recognise the copy. Few distinct
    cells therefore make fewer folds. The order of cells does not matter: they are put into an order
    of their contents first.

    Parameters
    ----------
    real, synthetic
        Cells × genes in the same space; as many of either, because the area grows with their number.
    n_trees
        Number of trees, 1000 by definition.
    split
        Five folds, each held out once, or 30 % of the cells held out once.
    features
        What the forest sees: genes, or 50 principal components fitted on its training cells.
    seed
        Everything random follows from it.
    n_threads
        Number of threads; None for `metrics.threads.usable_threads`.

    Raises
    ------
    ValueError
        If the shapes differ.
    NotApplicable
        If all cells of a side are identical, or so alike that they fill no two folds.

    Examples
    --------
    A gene that is on in one side alone tells all cells apart:

    >>> import numpy as np
    >>> from metrics.rf_auc import rf_auc
    >>> real = np.random.default_rng(0).poisson(5.0, size=(40, 3)) + 1.0
    >>> synthetic = real.copy()
    >>> synthetic[:, 0] = 0
    >>> rf_auc(real, synthetic, n_trees=20, seed=0).mean
    1.0
    """
    from scipy.sparse import vstack

    if real.shape != synthetic.shape:
        raise ValueError(f"real cells are {real.shape}, synthetic {synthetic.shape}; give as many of either")
    labels = np.repeat(np.array([0, 1]), real.shape[0])
    cells = as_csr(vstack([as_csr(real), as_csr(synthetic)], format="csr"))
    seeds = np.random.SeedSequence(seed).generate_state(2 + FOLDS).tolist()
    order, folds, notes = _split(cells, labels, split=split, seed=seeds[0])
    scores = np.full(labels.size, np.nan)
    genes = columns_of(cells) if features == "genes" else None
    for fold in range(int(folds.max()) + 1):
        held_out, kept = order[folds[order] == fold], order[folds[order] != fold]
        columns, remarks = (genes, []) if genes else _components(cells, kept, seed=seeds[1 + fold])
        notes += [remark for remark in remarks if remark not in notes]
        scores[held_out] = vote_shares(
            columns,
            labels,
            kept=kept,
            held_out=held_out,
            n_trees=n_trees,
            seed=seeds[1 + fold],
            n_threads=n_threads,
        )
    scored = folds >= 0
    outcome = scores[scored], labels[scored], folds[scored]
    areas = fold_areas(*outcome)
    sd = float(areas.std(ddof=1)) if areas.size > 1 else None
    interval = area_interval(*outcome, seed=seeds[1 + FOLDS])
    p_value = chance_p_value(*outcome)
    return RfAuc(float(areas.mean()), sd, areas, interval, p_value, scores, labels, folds, notes)


def _split(
    cells: Csr, labels: Ints, *, split: Literal["five_folds", "70/30"], seed: int
) -> tuple[Ints, Ints, list[str]]:
    """Return rows in an order of their contents, the fold of each cell in the given order, and notes."""
    points = projections(cells)
    order = np.lexsort((labels, points[:, 0]))
    identical = groups_of_identical(points[order])
    folds = np.empty(labels.size, dtype=np.int64)
    if split == "70/30":
        folds[order], notes = hold_out(labels[order], identical, seed=seed)
    else:
        folds[order], notes = assign_folds(labels[order], identical, n_folds=FOLDS, seed=seed)
    return order, folds, notes


def _components(cells: Csr, kept: Ints, *, seed: int) -> tuple[Columns, list[str]]:
    """Return all cells on the principal components of those that are kept, and notes."""
    from scipy.sparse import csr_array

    pca = restored_pca(fitted_pca(cells[kept], most_components=COMPONENTS, seed=seed))
    found = int(pca.n_components_)
    notes = [] if found == COMPONENTS else [f"{found} principal components instead of {COMPONENTS}"]
    return columns_of(csr_array(pca.transform(cells))), notes


def _compute(real: RealEvidence, sample: SampleEvidence) -> Score:
    result = rf_auc(
        real.test_cells,
        sample.cells,
        split=real.protocol.rf_auc_split,
        features=real.protocol.rf_auc_input,
        seed=derived_seed(real.seed, "rf_auc"),
    )
    scored = result.folds >= 0
    return Score(
        values=result.values,
        details={
            "fold_auc": result.fold_auc.tolist(),
            "scores": result.scores[scored].tolist(),
            "labels": result.labels[scored].tolist(),
            "folds": result.folds[scored].tolist(),
        },
        notes=[*sample.notes, *result.notes],
        interval=result.interval,
        p_value=result.p_value,
    )


def rf_auc_by_type(
    real: RealEvidence, sample: SampleEvidence, *, n_trees: int = 1000, n_threads: int | None = None
) -> Score:
    """Compute rf_auc within each cell type and how far it is from 0.5 on average, each type counting alike.

    Where one side has more cells of a type, as many as the other has are drawn from it. A lost type counts 1.

    Returns
    -------
    Score
        ``rf_auc_by_type``: 0.5 + mean over types of abs(rf_auc − 0.5), so that a type below one half does not
        make up for one above it. Details: rf_auc by type.

    Raises
    ------
    NotApplicable
        If there are no types, or none with at least 10 cells on either side or lost.
    """
    remarks: list[str] = []

    def measure(test: Rows, synthetic: Rows) -> dict[str, float]:
        cell_type = str(real.test_calls[test[0]])
        rng = np.random.default_rng(derived_seed(real.seed, f"cells of {cell_type}"))
        members = real.test_cells[test], sample.cells[synthetic]
        n_cells = min(test.size, synthetic.size)
        result = rf_auc(
            *(cells[rng.choice(order_of_contents(cells), n_cells, replace=False)] for cells in members),
            n_trees=n_trees,
            split=real.protocol.rf_auc_split,
            features=real.protocol.rf_auc_input,
            seed=derived_seed(real.seed, f"rf_auc_by_type/{cell_type}"),
            n_threads=n_threads,
        )
        remarks.extend(f"{cell_type}: {note}" for note in result.notes)
        return result.values

    found, notes = measure_by_type(real, sample, measure, worst={"rf_auc": 1.0})
    if not found:
        raise NotApplicable(f"no type could be scored: {'; '.join(notes)}")
    distance = np.mean([abs(numbers["rf_auc"] - CHANCE) for numbers in found.values()])
    values = {"rf_auc_by_type": CHANCE + float(distance)}
    return Score(values, {"by_type": found}, [*sample.notes, *notes, *remarks])


METRIC = Metric(
    name="rf_auc",
    description="area under the ROC curve of a random forest that tells synthetic from test cells",
    compute=_compute,
    better="lower",
    ideal=CHANCE,
    bounds=(0.0, 1.0),
    reference="doi:10.1093/bioinformatics/btac095",
    cost="five forests of 1000 trees on all genes",
    floors=("shuffle", "shuffle_within_type", "poisson"),
    default=True,
)

METRIC_BY_TYPE = Metric(
    name="rf_auc_by_type",
    description="rf_auc within each cell type: 0.5 + mean distance from 0.5 over types",
    compute=rf_auc_by_type,
    better="lower",
    ideal=CHANCE,
    bounds=(CHANCE, 1.0),
    reference="doi:10.1093/bioinformatics/btac095",
    cost="five forests of 1000 trees for each type",
    # Not shuffle: all its cells may be called one type.
    floors=("shuffle_within_type", "poisson"),
    needs_types=True,
)
