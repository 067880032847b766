import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.correlation_discrepancy import (
    METRIC,
    correlation_discrepancy,
    correlation_matrix,
    discrepancy_interval,
)
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence

GENES = [f"g{i}" for i in range(14)]


def test_correlations_equal_numpys():
    cells = np.random.default_rng(0).gamma(1.0, size=(50, 6))
    correlations, constant = correlation_matrix(cells)
    np.testing.assert_allclose(correlations, np.corrcoef(cells.T), atol=1e-12)
    assert not constant.any()


def test_a_constant_gene_correlates_with_nothing_but_itself():
    cells = np.array([[1, 0.1, 1], [2, 0.1, 2], [3, 0.1, 3.0]])
    correlations, constant = correlation_matrix(cells)
    assert constant.tolist() == [False, True, False]
    np.testing.assert_allclose(correlations, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-12)


def test_two_genes_turned_from_one_to_minus_one_differ_by_two():
    together, _ = correlation_matrix(np.array([[0, 0], [1, 1.0]]))
    against, _ = correlation_matrix(np.array([[0, 1], [1, 0.0]]))
    assert correlation_discrepancy(together, against) == pytest.approx(2.0)
    assert correlation_discrepancy(together, together) == 0


def test_the_largest_column_sum_counts_not_the_largest_entry():
    real = np.array([[1, 0.5, 0.5], [0.5, 1, 0], [0.5, 0, 1]])
    assert correlation_discrepancy(real, np.eye(3)) == pytest.approx(1.0)


def two_type_evidence():
    """Training cells in which A over-expresses genes 0-4, and B genes 5-9; 10-13 are noise."""
    rng = np.random.default_rng(0)
    types = np.repeat(["A", "B"], 60)
    rates = np.full((120, 14), 3.0)
    rates[:60, :5], rates[60:, 5:10] = 12.0, 12.0
    return RealEvidence(
        rng.poisson(rates),
        rng.poisson(rates),
        train_types=types,
        test_types=types,
        control_pool=None,
        gene_names=GENES,
        seed=0,
    )


def test_the_metric_compares_marker_genes_of_test_and_synthetic_cells():
    real = two_type_evidence()
    assert sorted(real.cd_genes[:5]) == [0, 1, 2, 3, 4]
    assert sorted(real.cd_genes[5:]) == [5, 6, 7, 8, 9]
    made = np.random.default_rng(1).poisson(6.0, size=(120, 14))
    made[:, 10:] = 0
    score = METRIC.compute(real, SampleEvidence(real, made, space="counts"))
    log = np.log1p(made / made.sum(axis=1, keepdims=True) * 20_000)
    difference = np.corrcoef(log[:, real.cd_genes].T) - np.corrcoef(
        real.test_cells.toarray()[:, real.cd_genes].T
    )
    assert score.headline == pytest.approx(np.linalg.norm(difference, 1), abs=1e-4)
    low, high = score.interval
    assert 0 <= low < score.headline < high
    assert score.values["cd_constant_genes"] == 0
    assert score.details["genes"] == [GENES[i] for i in real.cd_genes]
    assert score.details["types"] == ["A"] * 5 + ["B"] * 5
    np.testing.assert_allclose(
        np.subtract(score.details["synthetic"], score.details["real"]), difference, atol=1e-4
    )


def test_an_all_zero_generator_is_scored_and_its_constant_genes_are_counted():
    real = two_type_evidence()
    score = METRIC.compute(real, SampleEvidence(real, np.zeros((120, 14)), space="cp20k"))
    correlations = np.corrcoef(real.test_cells.toarray()[:, real.cd_genes].T)
    assert score.headline == pytest.approx(np.linalg.norm(correlations - np.eye(10), 1), abs=1e-4)
    assert score.values["cd_constant_genes"] == 10
    assert score.notes == [
        "120 of 120 synthetic cells are all zero",
        "10 of 10 genes are constant on one side",
    ]


@pytest.mark.parametrize("types", [None, ["A"] * 20])
def test_one_type_or_none_is_named(types):
    counts = np.random.default_rng(0).poisson(3.0, size=(20, 14))
    real = RealEvidence(
        counts, counts, train_types=types, test_types=types, control_pool=None, gene_names=GENES, seed=0
    )
    with pytest.raises(NotApplicable, match="at least two cell types"):
        METRIC.compute(real, SampleEvidence(real, counts, space="counts"))


def test_too_few_genes_are_named():
    counts = np.random.default_rng(0).poisson(3.0, size=(20, 14))
    types = np.repeat(["A", "B", "C", "D"], 5)
    real = RealEvidence(
        counts, counts, train_types=types, test_types=types, control_pool=None, gene_names=GENES, seed=0
    )
    with pytest.raises(NotApplicable, match="14 genes; five for each of 4 types are 20"):
        real.cd_genes  # noqa: B018


def test_intervals_hold_the_expected_discrepancy():
    mixing = np.linalg.cholesky(np.full((6, 6), 0.5) + 0.5 * np.eye(6)).T
    synthetic = np.eye(6)

    def cells(seed):
        return np.random.default_rng(seed).normal(size=(100, 6)) @ mixing

    def discrepancy(seed):
        return correlation_discrepancy(np.corrcoef(cells(seed).T), synthetic)

    expectation = np.mean([discrepancy(seed) for seed in range(2000)])
    held = 0
    for seed in range(60):
        low, high = discrepancy_interval(cells(5000 + seed), synthetic, seed=seed)
        held += low <= expectation <= high
    # 0.9 of the time it does; of 60, 46 or fewer would be less than once in 1000.
    assert held >= 47


def test_the_interval_knows_no_order_of_cells():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(50, 4))
    first = discrepancy_interval(cells, np.eye(4), seed=1)
    assert discrepancy_interval(rng.permutation(cells), np.eye(4), seed=1) == pytest.approx(first)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_is_symmetric_and_bounded_by_the_genes_and_the_same_for_permuted_genes(seed):
    rng = np.random.default_rng(seed)
    real, made = (correlation_matrix(rng.gamma(1.0, size=(12, 5)))[0] for _ in range(2))
    found = correlation_discrepancy(real, made)
    assert 0 < found <= 2 * 4
    assert found == pytest.approx(correlation_discrepancy(made, real))
    order = rng.permutation(5)
    assert correlation_discrepancy(real[order][:, order], made[order][:, order]) == pytest.approx(found)
