import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from metrics import cell_correlation
from metrics.cell_correlation import METRIC, correlations_of_pairs
from metrics.declaration import NotApplicable
from tests.metrics.typed_cells import evidence, reordered, sample_of, shuffled, typed_cells


def pairs_of(matrix):
    return matrix[np.triu_indices(len(matrix), k=1)]


def test_correlations_equal_numpys():
    cells = np.random.default_rng(0).normal(size=(7, 20))
    np.testing.assert_allclose(correlations_of_pairs(cells), pairs_of(np.corrcoef(cells)))


def test_a_worked_example_with_an_empty_cell():
    cells = np.array([[1.0, 2, 3], [3, 2, 1], [0, 0, 0], [2, 4, 6]])
    # Pairs (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3).
    assert correlations_of_pairs(cells) == pytest.approx([-1, 0, 1, 0, -1, 0])


def test_a_single_cell_makes_no_pair():
    with pytest.raises(NotApplicable, match="1 cell makes no pair"):
        correlations_of_pairs(np.ones((1, 5)))


def test_the_score_on_all_cells_and_within_types():
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    test, synthetic = real.test_cells.toarray(), sample.cells.toarray()

    def expected(rows, made):
        sides = pairs_of(np.corrcoef(test[rows])), pairs_of(np.corrcoef(synthetic[made]))
        return wasserstein_distance(*sides), sides[1].mean() - sides[0].mean()

    everything = np.ones(150, dtype=bool)
    found = (score.values["cell_correlation_error"], score.values["cell_correlation_bias"])
    assert found == pytest.approx(expected(everything, everything), rel=1e-4)
    of_types = [expected(real.test_calls == name, sample.calls == name)[0] for name in "ABC"]
    assert score.values["cell_correlation_error_by_type"] == pytest.approx(np.mean(of_types), rel=1e-4)


def test_cells_that_are_drawn_do_not_hang_on_their_order(monkeypatch):
    monkeypatch.setattr(cell_correlation, "CELLS", 40)
    real = evidence()
    sample = sample_of(real, typed_cells(150, seed=1)[0])
    score = METRIC.compute(real, sample)
    assert METRIC.compute(real, reordered(sample, seed=0)).values == pytest.approx(score.values)
    monkeypatch.setattr(cell_correlation, "CELLS", 150)
    assert METRIC.compute(real, sample).headline != score.headline


def test_the_test_cells_themselves_reach_the_ideal_also_where_some_are_drawn(monkeypatch):
    monkeypatch.setattr(cell_correlation, "CELLS", 20)
    real = evidence()
    moved = reordered(sample_of(real, real.test_counts), seed=0)
    assert [*METRIC.compute(real, moved).values.values()] == pytest.approx([METRIC.ideal] * 3)


def test_shuffled_genes_make_cells_less_alike():
    real = evidence()
    counts = typed_cells(150, seed=1)[0]
    other = METRIC.compute(real, sample_of(real, counts))
    floor = METRIC.compute(real, sample_of(real, shuffled(counts, seed=0)))
    assert floor.headline > 3 * other.headline
