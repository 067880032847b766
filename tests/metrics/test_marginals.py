import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix
from scipy.stats import ks_2samp, wasserstein_distance

from metrics.declaration import NotApplicable
from metrics.marginals import METRIC, gene_distances
from tests.metrics.typed_cells import evidence, reordered, sample_of, typed_cells

CELLS = arrays(np.int64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(0, 4))


def scipys(real, synthetic):
    genes = range(real.shape[1])
    wasserstein = [wasserstein_distance(real[:, gene], synthetic[:, gene]) for gene in genes]
    statistics = [ks_2samp(real[:, gene], synthetic[:, gene], method="asymp").statistic for gene in genes]
    return wasserstein, statistics


def test_distances_equal_scipys_for_tied_sparse_values_and_unequal_numbers():
    rng = np.random.default_rng(0)
    rates = [0.05, 0.3, 1, 4, 20]
    real = np.log1p(rng.poisson(rates, size=(70, 5)) * rng.integers(1, 3, size=(70, 1)))
    synthetic = np.log1p(rng.poisson(rates, size=(43, 5)) * 1.5)
    found = gene_distances(csr_matrix(real.astype(np.float32)), synthetic.astype(np.float32))
    for ours, theirs in zip(found, scipys(real, synthetic), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_worked_example():
    # Cumulative shares at 0, 1, 2, 3: 1/2, 3/4, 3/4, 1 and 1/2, 1/2, 1, 1.
    wasserstein, statistic = gene_distances(np.array([[0], [0], [1], [3]]), np.array([[0], [2]]))
    assert (wasserstein.tolist(), statistic.tolist()) == ([0.5], [0.25])


def test_empty_and_constant_genes():
    real, synthetic = np.array([[0, 2, 0], [0, 2, 0]]), np.array([[0, 2, 5]])
    wasserstein, statistic = gene_distances(real, synthetic)
    assert (wasserstein.tolist(), statistic.tolist()) == ([0, 0, 5], [0, 0, 1])


@settings(max_examples=50, deadline=None)
@given(real=CELLS, synthetic=CELLS, data=st.data())
def test_symmetry_identity_and_the_order_of_cells(real, synthetic, data):
    found = gene_distances(real, synthetic)
    order = data.draw(st.permutations(range(len(real))))
    for other in (gene_distances(synthetic, real), gene_distances(real[order], synthetic)):
        np.testing.assert_allclose(other, found, atol=1e-12)
    assert np.all(gene_distances(real, real[order]) == np.zeros(1))
    np.testing.assert_array_less(np.abs(real.mean(axis=0) - synthetic.mean(axis=0)) - 1e-12, found[0])


def test_other_genes_are_refused():
    with pytest.raises(ValueError, match="real cells have 3 genes, synthetic 2"):
        gene_distances(np.ones((2, 3)), np.ones((2, 2)))


def test_the_score_is_the_mean_over_genes_and_over_types():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    test, synthetic = real.test_cells.toarray(), sample.cells.toarray()
    expected = np.mean(scipys(test, synthetic), axis=1)
    assert [score.values["gene_wasserstein"], score.values["gene_ks"]] == pytest.approx(expected, rel=1e-5)
    by_type = [
        np.mean(scipys(test[real.test_calls == name], synthetic[sample.calls == name])[0]) for name in "ABC"
    ]
    assert score.values["gene_wasserstein_by_type"] == pytest.approx(np.mean(by_type), rel=1e-5)
    again = METRIC.compute(real, reordered(sample, seed=0))
    assert again.values == pytest.approx(score.values)


def test_the_test_cells_themselves_reach_the_ideal():
    real = evidence()
    score = METRIC.compute(real, sample_of(real, real.test_counts))
    assert set(score.values.values()) == {METRIC.ideal}


def test_all_zero_cells_are_as_far_as_expression_is_from_nothing():
    real = evidence()
    score = METRIC.compute(real, sample_of(real, np.zeros(real.test_counts.shape)))
    assert score.headline == pytest.approx(real.test_cells.toarray().mean(), rel=1e-5)
    assert score.notes[0] == "150 of 150 synthetic cells are all zero"


def test_impossible_values_fail_this_metric_alone():
    real = evidence()
    counts = real.test_counts.toarray()
    counts[0, 0] = np.nan
    with pytest.raises(NotApplicable, match="1 NaN or infinite"):
        METRIC.compute(real, sample_of(real, counts))
