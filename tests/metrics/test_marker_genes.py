import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from metrics.marker_genes import rank_sum_scores, top_genes


def test_scores_equal_scipys_for_tied_sparse_values():
    rng = np.random.default_rng(0)
    cells = rng.poisson([0.2, 1, 3, 0.05, 8], size=(70, 5)).astype(np.float64)
    types = rng.choice(["B", "NK", "T"], 70)
    cells[types == "T", 1] += 2
    names, scores = rank_sum_scores(cells, types)
    assert names.tolist() == ["B", "NK", "T"]
    for row, name in zip(scores, names, strict=True):
        for gene in range(5):
            p = mannwhitneyu(
                cells[types == name, gene],
                cells[types != name, gene],
                alternative="greater",
                method="asymptotic",
                use_continuity=False,
            ).pvalue
            assert row[gene] == pytest.approx(norm.isf(p), abs=1e-6)
    assert scores[2].argmax() == 1


def test_a_worked_example():
    # Ranks 1.5, 1.5, 3, 4: the rank sum of A is 3 where 5 is expected; one tie of two.
    cells = np.array([[0.0], [0.0], [1.0], [2.0]])
    _, scores = rank_sum_scores(cells, np.array(["A", "A", "B", "B"]))
    variance = 2 * 2 / 12 * (5 - (2**3 - 2) / (4 * 3))
    assert scores[:, 0] == pytest.approx([-2 / np.sqrt(variance), 2 / np.sqrt(variance)])


def test_constant_genes_score_zero():
    cells = np.column_stack([np.zeros(6), np.full(6, 0.3), np.arange(6)])
    _, scores = rank_sum_scores(cells, np.array(["A", "B"] * 3))
    assert scores[:, :2].tolist() == [[0, 0], [0, 0]]
    assert scores[1, 2] > 0


def test_the_order_of_cells_does_not_matter():
    rng = np.random.default_rng(1)
    cells, types = rng.poisson(1.0, size=(50, 8)), rng.choice(["A", "B"], 50)
    order = rng.permutation(50)
    np.testing.assert_allclose(
        rank_sum_scores(cells, types)[1], rank_sum_scores(cells[order], types[order])[1]
    )


def test_a_gene_already_taken_gives_way_to_the_next_best():
    scores = np.array([[9.0, 8, 7, 0, 0, 0], [9.0, 1, 8, 7, 0, 6]])
    assert top_genes(scores, n_per_type=2).tolist() == [0, 1, 2, 3]
    assert top_genes(scores, n_per_type=3).tolist() == [0, 1, 2, 3, 5, 4]


def test_equal_scores_are_taken_in_gene_order():
    assert top_genes(np.array([[1.0, 3, 3, 3], [2, 2, 2, 2]]), n_per_type=2).tolist() == [1, 2, 0, 3]


def test_too_few_genes():
    with pytest.raises(ValueError, match="5 genes; 3 types of 2 genes need 6"):
        top_genes(np.zeros((3, 5)), n_per_type=2)
