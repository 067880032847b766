import numpy as np
import pytest

from metrics.selftest import corruptions
from metrics.spaces import as_csr
from tests.metrics.typed_cells import typed_cells

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells():
    counts, types = typed_cells(200, seed=1)
    return as_csr(counts), types


def others(n_cells):
    """Cells that can be told from those above: gene 0 numbers them from 1000."""
    counts, types = typed_cells(n_cells, seed=2)
    counts[:, 0] = 1000 + np.arange(n_cells)
    return as_csr(counts), types


def changed(counts, corrupted):
    return (counts != corrupted).toarray()


def test_shuffled_genes_keep_their_values_within_types_and_lose_their_correlation(cells):
    counts, types = cells
    shuffled = corruptions.shuffle_genes(counts, types, 1.0, seed=0)
    for name in np.unique(types):
        before, after = (np.sort(matrix.toarray()[types == name], axis=0) for matrix in (counts, shuffled))
        np.testing.assert_array_equal(before, after)
    of_type = types == "A"
    together, apart = (
        np.corrcoef(matrix.toarray()[of_type, :30].T)[np.triu_indices(30, 1)].mean()
        for matrix in (counts, shuffled)
    )
    assert together > 0.15
    assert abs(apart) < 0.03


def test_a_quarter_of_the_genes_is_shuffled_and_more_contain_them(cells):
    counts, types = cells
    quarter, half = (corruptions.shuffle_genes(counts, types, share, seed=0) for share in (0.25, 0.5))
    in_quarter, in_half = (changed(counts, matrix).any(axis=0) for matrix in (quarter, half))
    assert (in_quarter.sum(), in_half.sum()) == (30, 60)
    np.testing.assert_array_equal(quarter.toarray()[:, in_quarter], half.toarray()[:, in_quarter])
    assert not changed(counts, corruptions.shuffle_genes(counts, types, 0.0, seed=0)).any()


def test_dropped_counts_become_zero_and_more_contain_them(cells):
    counts, _ = cells
    few, many = (corruptions.drop_counts(counts, share, seed=0) for share in (0.05, 0.2))
    assert few.nnz / counts.nnz == pytest.approx(0.95, abs=0.01)
    assert many.nnz / counts.nnz == pytest.approx(0.8, abs=0.01)
    assert (few.toarray()[changed(counts, few)] == 0).all()
    assert (changed(counts, few) <= changed(counts, many)).all()


def test_thinned_cells_have_a_share_of_each_count(cells):
    counts, _ = cells
    thinned = corruptions.thin(counts, 0.5, seed=0)
    assert thinned.sum() / counts.sum() == pytest.approx(0.5, abs=0.005)
    assert (thinned.toarray() <= counts.toarray()).all()
    np.testing.assert_array_equal(thinned.data, np.round(thinned.data))


def test_scaled_cells_have_the_proportions_and_the_wrong_library_size(cells):
    counts, _ = cells
    scaled = corruptions.scale(counts, 0.8)
    np.testing.assert_allclose(scaled.sum(axis=1), 16_000, rtol=1e-5)
    proportions = counts.toarray() / counts.toarray().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled.toarray(), 16_000 * proportions, rtol=1e-5)


@pytest.mark.parametrize(("share", "n_lost"), [(0.0, 0), (0.5, 0.5), (1.0, 1.0)])
def test_a_lost_type_is_replaced_by_fresh_cells_of_other_types(cells, share, n_lost):
    counts, types = cells
    spare, spare_types = others(300)
    cells_left = corruptions.lose_type(
        counts, types, "C", share, others=spare, other_types=spare_types, seed=0
    )
    numbers = cells_left.toarray()[:, 0]
    is_new = numbers >= 1000
    assert set(types[is_new]) <= {"C"}
    assert is_new.sum() == round(n_lost * (types == "C").sum())
    assert np.unique(numbers[is_new]).size == is_new.sum()
    assert "C" not in spare_types[(numbers[is_new] - 1000).astype(int)]


def test_copied_cells_are_cells_of_the_others_each_once(cells):
    counts, _ = cells
    train, _ = others(300)
    numbers = corruptions.copy_cells(counts, train, 0.25, seed=0).toarray()[:, 0]
    assert np.unique(numbers[numbers >= 1000]).size == 50 == (numbers >= 1000).sum()


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_repeated_cells_leave_fewer_distinct_ones(share):
    counts, _ = others(200)
    numbers, times = np.unique(
        corruptions.repeat_cells(counts, share, seed=0).toarray()[:, 0], return_counts=True
    )
    assert numbers.size == 200 * (1 - share)
    assert times.max() == 2


def test_collapsed_cells_are_few_prototypes_equally_often_and_fewer_are_among_more():
    counts, _ = others(200)
    ten, two = (corruptions.collapse(counts, k, seed=0).toarray()[:, 0] for k in (10, 2))
    assert np.unique(ten, return_counts=True)[1].tolist() == [20] * 10
    assert np.unique(two, return_counts=True)[1].tolist() == [100] * 2
    assert set(two) < set(ten)


def test_shrunken_cells_keep_the_mean_of_their_type_and_a_quarter_of_its_variance(cells):
    counts, types = cells
    whole, shrunk = corruptions.scale(counts, 1.0), corruptions.shrink(counts, types, 0.5)
    for name in np.unique(types):
        before, after = (matrix.toarray()[types == name].astype(float) for matrix in (whole, shrunk))
        np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(after.var(axis=0), before.var(axis=0) / 4, rtol=1e-3)
