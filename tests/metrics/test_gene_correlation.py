import numpy as np
import pytest
from scipy.stats import spearmanr

from metrics.declaration import NotApplicable
from metrics.gene_correlation import METRIC, correlation_errors, most_variable_genes, unbiased_squared_error
from metrics.spaces import as_csr
from tests.metrics.typed_cells import evidence, reordered, sample_of, shuffled, typed_cells


def pairs_of(matrix):
    return matrix[np.triu_indices(len(matrix), k=1)]


def test_errors_equal_numpys():
    real, synthetic = np.random.default_rng(0).normal(size=(2, 30, 6))
    synthetic[:, 1] += synthetic[:, 0]
    found, expected = pairs_of(np.corrcoef(synthetic.T)), pairs_of(np.corrcoef(real.T))
    mean, frobenius, n_constant = correlation_errors(real, synthetic)
    assert mean == pytest.approx(np.abs(found - expected).mean())
    assert frobenius == pytest.approx(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    assert n_constant == 0
    assert correlation_errors(synthetic, real)[0] == pytest.approx(mean)


def test_constant_genes_correlate_with_nothing():
    real = np.array([[1.0, 2, 5], [2, 4, 5], [3, 6, 5]])
    synthetic = np.array([[1.0, 7, 5], [2, 7, 4], [3, 7, 3]])
    # Pairs (0, 1), (0, 2), (1, 2): 1, 0, 0 against 0, -1, 0.
    mean, frobenius, n_constant = correlation_errors(real, synthetic)
    assert (mean, frobenius, n_constant) == (pytest.approx(2 / 3), pytest.approx(np.sqrt(2)), 2)
    with pytest.raises(NotApplicable, match="no two genes"):
        correlation_errors(np.ones((3, 2)), synthetic[:, :2])


def test_the_unbiased_error_is_free_of_noise_where_the_plain_one_is_not():
    rng = np.random.default_rng(0)
    truth = np.array([[1, 0.6], [0.6, 1]])
    unbiased, plain = {True: [], False: []}, []
    for seed in range(1500):
        real, same = (rng.multivariate_normal([0, 0], truth, size=40) for _ in range(2))
        other = rng.normal(size=(40, 2))
        unbiased[True].append(unbiased_squared_error(real, same, seed=seed))
        unbiased[False].append(unbiased_squared_error(real, other, seed=seed))
        plain.append(correlation_errors(real, same)[0] ** 2)
    # Standard errors are 0.001 and 0.006; correlations of 20 cells are themselves biased by 0.01.
    assert np.mean(unbiased[True]) == pytest.approx(0, abs=0.004)
    assert np.mean(unbiased[False]) == pytest.approx(0.36, abs=0.03)
    assert np.mean(plain) > 0.015


def test_the_most_variable_genes_and_never_constant_ones():
    cells = as_csr(np.array([[0, 5, 1, 3], [0, 5, 2, 9], [0, 5, 3, 0]]))
    assert most_variable_genes(cells, n_genes=1).tolist() == [3]
    assert most_variable_genes(cells, n_genes=4).tolist() == [2, 3]


def test_the_score_equals_that_of_numpy_and_scipy_on_all_pairs():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    test, synthetic = real.test_cells.toarray(), sample.cells.toarray()
    expected = np.abs(pairs_of(np.corrcoef(test.T)) - pairs_of(np.corrcoef(synthetic.T))).mean()
    assert score.headline == pytest.approx(expected, rel=1e-5)
    expected = np.abs(pairs_of(spearmanr(test)[0]) - pairs_of(spearmanr(synthetic)[0])).mean()
    assert score.values["gene_spearman_error"] == pytest.approx(expected, rel=1e-5)
    assert score.details["n_genes"] == 120
    assert METRIC.compute(real, reordered(sample, seed=0)).values == pytest.approx(score.values, rel=1e-4)


def test_correlations_lost_within_types_are_seen_through_the_noise():
    real = evidence(n_test=400)
    counts, types = typed_cells(400, seed=1)
    without = counts.copy()
    for name in "ABC":
        without[types == name] = shuffled(counts[types == name], seed=0)
    kept, lost = (METRIC.compute(real, sample_of(real, cells)).values for cells in (counts, without))
    assert lost["gene_correlation_error"] > kept["gene_correlation_error"]
    for name in ("gene_correlation2_unbiased", "gene_correlation2_unbiased_by_type"):
        assert lost[name] > 5 * abs(kept[name])
    same = METRIC.compute(real, reordered(sample_of(real, real.test_counts), seed=0)).values
    names = ("gene_correlation_error", "gene_correlation_frobenius", "gene_spearman_error")
    assert [same[name] for name in names] == pytest.approx([METRIC.ideal] * 3, abs=1e-12)


def test_all_zero_cells_have_no_correlations():
    real = evidence()
    score = METRIC.compute(real, sample_of(real, np.zeros(real.test_counts.shape)))
    assert score.headline == pytest.approx(np.abs(pairs_of(np.corrcoef(real.test_cells.toarray().T))).mean())
    assert score.values["constant_genes"] == 120
