import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

import metrics.forest
from metrics.forest import forest_input, positive_share, random_forest


def sparse_cells(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.gamma(2.0, size=(80, 30)) * (rng.random((80, 30)) < 0.3)).astype(np.float32)


def test_genes_lie_together_in_memory_and_values_stay():
    cells = sparse_cells()
    dense = forest_input(cells)
    assert dense.flags.f_contiguous and dense.dtype == np.float32
    np.testing.assert_array_equal(dense, cells)


def test_large_input_stays_sparse_by_columns(monkeypatch):
    monkeypatch.setattr(metrics.forest, "DENSE_BYTES", 80 * 30 * 4)
    sparse = forest_input(sparse_cells())
    assert sparse.format == "csc"
    np.testing.assert_array_equal(sparse.toarray(), sparse_cells())


@pytest.mark.parametrize("dense_bytes", [0, 2**30])
def test_votes_equal_those_of_a_plain_forest_on_dense_rows(monkeypatch, dense_bytes):
    monkeypatch.setattr(metrics.forest, "DENSE_BYTES", dense_bytes)
    cells, labels = sparse_cells(), np.resize([0, 1], 80)
    plain = RandomForestClassifier(200, random_state=3).fit(cells, labels)
    expected = plain.predict_proba(sparse_cells(1))[:, 1]
    forest = random_forest(n_trees=200, seed=3, n_jobs=2).fit(forest_input(cells), labels)
    found = positive_share(forest, forest_input(sparse_cells(1)))
    # Sparse columns are searched in another order of equal splits, dense ones in the same.
    np.testing.assert_allclose(found, expected, atol=1e-8 if dense_bytes else 0.1)
    assert np.corrcoef(found, expected)[0, 1] > 0.9
