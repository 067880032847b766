import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from metrics.roc import area_interval, chance_p_value, fold_areas, fold_placements


def scored(seed, n_cells=60, n_folds=5, shift=0.5, decimals=1):
    """Scores with ties, labels and folds of n_cells real and n_cells synthetic cells in any order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], n_cells))
    scores = np.round(rng.normal(shift * labels), decimals)
    return scores, labels, rng.permutation(np.resize(np.arange(n_folds), 2 * n_cells))


def test_a_worked_example():
    scores, labels = np.array([0.1, 0.9, 0.5, 0.7, 0.5]), np.array([0, 0, 0, 1, 1])
    assert fold_placements(scores, labels, np.zeros(5, int)).tolist() == [1.0, 0.0, 0.75]


def test_areas_equal_scikit_learns():
    scores, labels, folds = scored(0)
    expected = [roc_auc_score(labels[folds == fold], scores[folds == fold]) for fold in range(5)]
    np.testing.assert_allclose(fold_areas(scores, labels, folds), expected)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_p_value_of_one_fold_is_mann_whitneys(decimals):
    scores, labels, _ = scored(1, shift=0.3, decimals=decimals)
    expected = mannwhitneyu(
        scores[labels == 1],
        scores[labels == 0],
        alternative="two-sided",
        use_continuity=False,
        method="asymptotic",
    )
    one_fold = np.zeros(labels.size, dtype=int)
    found = chance_p_value(scores, labels, one_fold)
    assert 0 < found == pytest.approx(expected.pvalue)
    assert chance_p_value(-scores, labels, one_fold) == pytest.approx(found)


def test_equal_scores_are_no_evidence():
    assert chance_p_value(np.full(20, 0.5), np.repeat([0, 1], 10), np.resize([0, 1], 20)) == 1.0


def test_the_areas_mean_stays_within_its_interval_however_folds_differ_in_size():
    scores, labels, folds = scored(3)
    folds = np.where(np.arange(folds.size) < 90, 0, folds)
    low, high = area_interval(scores, labels, folds, seed=0)
    mean = fold_areas(scores, labels, folds).mean()
    assert low < mean < high
    # Normal approximation: the deviation of a fold's mean placement, folds independent.
    held_in, shares = folds[labels == 0], fold_placements(scores, labels, folds)
    variances = [shares[held_in == fold].var() / np.sum(held_in == fold) for fold in range(5)]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(sum(variances)) / 5, rel=0.1)


def test_the_order_of_cells_does_not_matter():
    scores, labels, folds = scored(4)
    order = np.random.default_rng(0).permutation(labels.size)
    first = area_interval(scores, labels, folds, seed=1)
    assert area_interval(scores[order], labels[order], folds[order], seed=1) == pytest.approx(first)


def test_intervals_hold_the_area_of_these_synthetic_cells_nineteen_times_of_twenty():
    labels, folds = np.repeat([0, 1], 300), np.resize(np.arange(5), 600)
    synthetic = np.random.default_rng(1).normal(0.7, size=300)
    # A real cell's score is standard normal, so that a synthetic score of y beats it with probability Φ(y).
    area = norm.cdf(synthetic).mean()
    n_samples, held = 300, 0
    for sample in range(n_samples):
        scores = np.append(np.random.default_rng(100 + sample).normal(size=300), synthetic)
        low, high = area_interval(scores, labels, folds, seed=sample)
        held += low <= area <= high
    low, high = binom.ppf([0.001, 0.999], n_samples, 0.95) / n_samples
    assert low <= held / n_samples <= high


def test_cross_validated_scores_of_one_distribution_are_taken_for_different_at_the_stated_rate():
    """A classifier that adds up training cells by likeness: its folds depend on one another most."""
    rng = np.random.default_rng(0)
    n_samples, folds, labels = 1000, np.resize(np.arange(5), 80), np.repeat([0, 1], 40)
    p_values, independent = np.empty(n_samples), np.empty(n_samples)
    for sample in range(n_samples):
        cells = rng.normal(size=(80, 30))
        votes = (cells @ cells.T) * (folds[:, None] != folds)
        scores = votes @ (2.0 * labels - 1)
        p_values[sample] = chance_p_value(scores, labels, folds)
        independent[sample] = 2 * norm.sf(norm.isf(p_values[sample] / 2) * np.sqrt(2))
    low, high = binom.ppf([0.001, 0.999], n_samples, 0.05) / n_samples
    assert low <= np.mean(p_values < 0.05) <= high
    assert np.mean(independent < 0.05) > 0.09
