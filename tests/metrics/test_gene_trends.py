import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.declaration import NotApplicable
from metrics.gene_trends import METRIC, gene_moments, mean_and_variance, trend, trend_error
from metrics.spaces import as_csr
from tests.metrics.typed_cells import evidence, sample_of, typed_cells


def test_moments_equal_numpys_and_constant_genes_vary_by_nothing():
    cells = np.random.default_rng(0).poisson([0.1, 1, 30], size=(40, 3)).astype(np.float32) / 7
    cells = np.column_stack([cells, np.full(40, 0.3, np.float32), np.zeros(40, np.float32)])
    means, variances = gene_moments(as_csr(cells))
    np.testing.assert_allclose(means, cells.astype(float).mean(axis=0))
    np.testing.assert_allclose(variances[:3], cells.astype(float)[:, :3].var(axis=0, ddof=1))
    assert variances[3:].tolist() == [0, 0]


def test_a_trend_is_the_medians_of_neighbours():
    x = np.array([9.0, 1, 2, 3, 4, 5, 6, 7, 8, 0])
    y = np.array([9.0, 1, 2, 30, 4, 5, 6, 7, 8, 0])
    # The five smallest x carry y = 0, 1, 2, 30, 4.
    assert [part.tolist() for part in trend(x, y)] == [[2, 7], [2, 7]]


@given(order=st.permutations(range(12)))
def test_the_order_of_genes_does_not_matter_even_where_they_tie(order):
    x, y = np.repeat([1.0, 2.0], 6), np.arange(12.0)
    for part, moved in zip(trend(x, y), trend(x[order], y[order]), strict=True):
        assert part.tolist() == moved.tolist()


def test_four_genes_make_no_trend():
    with pytest.raises(NotApplicable, match="only 4 genes vary over the cells; a trend needs 5"):
        trend(np.arange(4.0), np.arange(4.0))


def test_a_worked_error():
    x = np.arange(10.0)
    # Synthetic medians (2, 4) and (7, 4): level. The real trend runs from 2 at 2 to 7 at 7, level beyond.
    expected = np.mean(np.abs(4 - np.clip(x, 2, 7)))
    assert trend_error((x, x), (x, np.full(10, 4.0))) == pytest.approx(expected)


def test_the_trend_is_moved_by_as_much_as_the_variances_are():
    x, y = np.random.default_rng(0).normal(size=(2, 200))
    assert trend_error((x, y), (x, y)) == 0
    assert trend_error((x, y), (x, y + 0.25)) == pytest.approx(0.25)


def test_single_cells_and_constant_genes_have_no_variance():
    with pytest.raises(NotApplicable, match="1 cells have no variance"):
        mean_and_variance(as_csr(np.ones((1, 9))))
    with pytest.raises(NotApplicable, match="only 0 genes vary"):
        trend(*mean_and_variance(as_csr(np.ones((9, 9)))))


def test_overdispersion_that_is_missing_is_seen():
    real = evidence()
    same = METRIC.compute(real, sample_of(real, real.test_counts))
    assert (same.headline, same.values["mean_variance_error_by_type"]) == (0, pytest.approx(0, abs=0.1))
    rates = np.tile(real.test_counts.toarray().mean(axis=0), (150, 1))
    other = METRIC.compute(real, sample_of(real, typed_cells(150, seed=1)[0]))
    poisson = METRIC.compute(real, sample_of(real, np.random.default_rng(0).poisson(rates)))
    assert poisson.headline > 3 * other.headline > 0
    assert np.diff(poisson.details["synthetic"]["log10_mean"]).min() > 0
    assert len(poisson.details["real"]["log10_variance"]) == 20


def test_all_zero_cells_have_no_trend():
    real = evidence()
    with pytest.raises(NotApplicable, match="only 0 genes vary"):
        METRIC.compute(real, sample_of(real, np.zeros(real.test_counts.shape)))
