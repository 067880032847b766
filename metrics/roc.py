"""Areas under ROC curves of held-out cells: how sure they are, and how far from chance.

Nothing here trains a classifier; its scores of held-out cells are all that is looked at.
"""

from __future__ import annotations

import numpy as np

from metrics.arrays import Floats, Ints
from metrics.resampling import bootstrap_mean_interval


def placements(test: Floats, synthetic: Floats) -> Floats:
    """Share of synthetic values that are larger than each test value; equal ones count half.

    Parameters
    ----------
    test, synthetic
        n and m values.
    """
    ascending = np.sort(synthetic)
    smaller, not_larger = (np.searchsorted(ascending, test, side=side) for side in ("left", "right"))
    return np.asarray(1 - (smaller + not_larger) / (2 * synthetic.size), dtype=np.float64)


def fold_placements(scores: Floats, labels: Ints, folds: Ints) -> Floats:
    """Share of its fold's synthetic cells that score higher than each real cell; equal scores count half.

    Their mean within a fold is the area under its ROC curve (Mann & Whitney 1947,
    doi:10.1214/aoms/1177730491).

    Parameters
    ----------
    scores, labels, folds
        Share of votes for "synthetic", label (0 real, 1 synthetic) and fold of each held-out cell.

    Returns
    -------
    numpy.ndarray
        One value for each real cell, in their order.
    """
    real = labels == 0
    shares = np.empty(int(real.sum()))
    for fold in np.unique(folds):
        own = folds == fold
        shares[folds[real] == fold] = placements(scores[real & own], scores[~real & own])
    return shares


def fold_areas(scores: Floats, labels: Ints, folds: Ints) -> Floats:
    """Area under the ROC curve of each fold, in the order of their numbers; see `placements`."""
    shares, held_in = fold_placements(scores, labels, folds), folds[labels == 0]
    # Sorted, so that not even rounding depends on the order of cells.
    return np.array([np.sort(shares[held_in == fold]).mean() for fold in np.unique(folds)])


def area_interval(scores: Floats, labels: Ints, folds: Ints, *, seed: int) -> tuple[float, float]:
    """Bootstrap a 95 % interval of the mean of the folds' areas over the real cells.

    Real cells are drawn again within their folds; the synthetic cells and the classifiers stay as they
    are. So it says how much the area depends on which real cells were scored, not how much on which
    cells the classifiers learnt from.

    Parameters
    ----------
    scores, labels, folds
        Share of votes for "synthetic", label (0 real, 1 synthetic) and fold of each held-out cell.
    seed
        Everything random follows from it.
    """
    _, fold, sizes = np.unique(folds[labels == 0], return_inverse=True, return_counts=True)
    # Weighted so that each fold counts alike and the mean over cells is the mean of the areas.
    each = fold_placements(scores, labels, folds) * fold.size / (sizes.size * sizes[fold])
    return bootstrap_mean_interval(each, seed=seed, strata=fold)


def chance_p_value(scores: Floats, labels: Ints, folds: Ints) -> float:
    """Probability of a mean area so far from one half if all cells come from one distribution.

    Given the other folds' cells, the labels of a fold are exchangeable, so its area varies about one half
    as the Mann–Whitney statistic does (normal approximation, corrected for ties). But folds are not
    independent: two cells that are alike vote for each other's labels in either's fold, so that each pair
    of cells counts in two folds. Their areas then correlate by up to 1/(n_folds − 1), which up to doubles
    the variance of the mean; the double is taken. A classifier whose score is a sum over training cells
    reaches it; forests stay below (1.3 to 1.6 instead of 2), so that theirs is a cautious p-value.

    Parameters
    ----------
    scores, labels, folds
        Share of votes for "synthetic", label (0 real, 1 synthetic) and fold of each held-out cell.

    Returns
    -------
    float
        Two-sided: cells that repeat few prototypes are held out with all their likes, so that forests take
        them for real ones and the area falls below one half.
    """
    from scipy.stats import norm

    names = np.unique(folds)
    variances = [_area_variance(scores[folds == fold], labels[folds == fold]) for fold in names]
    inflation = 2.0 if names.size > 1 else 1.0
    deviation = np.sqrt(inflation * sum(variances)) / names.size
    # Equal scores everywhere: no ranks, no evidence.
    if deviation == 0:
        return 1.0
    return float(2 * norm.sf(abs(fold_areas(scores, labels, folds).mean() - 0.5) / deviation))


def _area_variance(scores: Floats, labels: Ints) -> float:
    n_cells, n_synthetic = labels.size, int(labels.sum())
    ties = np.unique(scores, return_counts=True)[1].astype(np.float64)
    tied = float(np.sum(ties**3 - ties)) / (n_cells * (n_cells - 1))
    return (n_cells + 1 - tied) / (12 * n_synthetic * (n_cells - n_synthetic))
