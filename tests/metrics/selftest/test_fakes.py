"""Each crude fake is right in the respect that it claims, and in no other."""

import numpy as np
import pytest
from scipy import stats

from metrics.selftest.fakes import FAKES, TIMES_EACH
from tests.metrics.selftest_cells import self_test_cells
from tests.metrics.typed_cells import typed_cells


@pytest.fixture(scope="module")
def cells():
    return self_test_cells(*typed_cells(1500, seed=3), n_cells=200).draw(0)


def made(cells, what):
    matrix, space = FAKES[what](cells, 5)
    assert matrix.shape == cells.counts.shape
    return matrix.toarray(), space


def test_means_are_the_means_of_types_at_one_library_size(cells):
    means, space = made(cells, "the mean of each type")
    counts = cells.counts.toarray()
    scaled = 20_000 * counts / counts.sum(axis=1, keepdims=True)
    assert space == "cp20k"
    for name in "ABC":
        of_type = cells.types == name
        expected = np.tile(scaled[of_type].mean(axis=0), (of_type.sum(), 1))
        assert means[of_type] == pytest.approx(expected, rel=1e-4)


def test_empty_cells_are_empty(cells):
    assert made(cells, "empty cells")[0].sum() == 0


def test_library_sizes_are_kept_and_genes_are_even(cells):
    alone, _ = made(cells, "library sizes alone")
    assert np.array_equal(alone.sum(axis=1), cells.counts.toarray().sum(axis=1))
    assert stats.chisquare(alone.sum(axis=0)).pvalue > 0.001


def test_half_of_the_cells_are_left_as_they_are(cells):
    half, _ = made(cells, "half noise")
    counts = cells.counts.toarray()
    assert np.array_equal(half[::2], counts[::2])
    assert np.array_equal(half[1::2].sum(axis=1), counts[1::2].sum(axis=1))
    assert stats.chisquare(half[1::2].sum(axis=0)).pvalue > 0.001


def test_near_duplicates_lack_two_counts_of_a_hundred_of_one_cell(cells):
    near, _ = made(cells, "near-duplicates")
    originals = cells.counts.toarray()[np.arange(len(near)) // TIMES_EACH]
    assert (near <= originals).all()
    assert near.sum() / originals.sum() == pytest.approx(0.98, abs=0.005)
    assert len(np.unique(near, axis=0)) > 0.9 * len(near)


def test_a_fifth_of_the_genes_stay_and_the_others_keep_their_values_alone(cells):
    fake, _ = made(cells, "variable genes alone")
    counts = cells.counts.toarray()
    kept = (fake == counts).all(axis=0)
    scaled = 20_000 * counts / counts.sum(axis=1, keepdims=True)
    ratio = scaled.var(axis=0) / scaled.mean(axis=0)
    assert np.array_equal(np.flatnonzero(kept), np.sort(np.argsort(-ratio)[:24]))
    assert np.array_equal(np.sort(fake, axis=0), np.sort(counts, axis=0))
