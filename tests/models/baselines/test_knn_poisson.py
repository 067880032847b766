import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn.metrics import pairwise_distances

from models.baselines.knn_poisson import KnnPoisson, neighbours_within_type, principal_scores
from tests.models.baselines.baseline_cases import as_training_cells, dense, fitted


def test_neighbours_are_the_nearest_cells_of_the_same_type():
    scores = np.array([[0.0], [1.0], [1.5], [10.0], [0.1], [4.0]])
    types = np.array(["a", "a", "a", "a", "b", "b"])
    neighbours = neighbours_within_type(scores, types, n_neighbours=3)
    assert neighbours.tolist() == [[0, 1, 2], [1, 2, 0], [2, 1, 0], [3, 2, 1], [4, 5, -1], [5, 4, -1]]


def test_scores_keep_the_distances_of_the_first_components():
    """Against a singular value decomposition of the dense, centred, log-normalised cells."""
    counts = np.random.default_rng(0).poisson(2.0, (90, 70)).astype(np.float32)
    logged = np.log1p(20_000 * counts / counts.sum(axis=1, keepdims=True))
    left, values, _ = np.linalg.svd(logged - logged.mean(axis=0), full_matrices=False)
    expected = left[:, :50] * values[:50]
    scores = principal_scores(csr_matrix(counts), seed=0)
    assert scores.shape == (90, 50)
    assert pairwise_distances(scores) == pytest.approx(pairwise_distances(expected), rel=1e-3)


def test_with_one_neighbour_counts_are_poisson_around_training_cells():
    train = as_training_cells(np.array([[3, 0, 40], [50, 2, 0]]), ["a", "b"])
    drawn = dense(fitted(KnnPoisson(n_neighbours=1), train).sample(20_000, cell_types=["a"] * 20_000, seed=0))
    assert drawn[:, 1].sum() == 0
    for gene, mean in ((0, 3), (2, 40)):
        values = np.arange(100)
        expected = stats.poisson(mean).pmf(values) * 20_000
        observed = np.bincount(drawn[:, gene].astype(int), minlength=100)
        common = expected >= 10
        assert (
            stats.chisquare(
                np.append(observed[common], observed[~common].sum()),
                np.append(expected[common], 20_000 - expected[common].sum()),
            ).pvalue
            > 0.001
        )
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1]) < 0.03


def test_neighbours_count_alike_whatever_their_library_sizes():
    """Cells (8, 2) and (0, 100): shares 0.8 and 0 of gene 0, mean 0.4, at 10 or 100 counts."""
    train = as_training_cells(np.array([[8, 2], [0, 100]]), ["a", "a"])
    drawn = dense(fitted(KnnPoisson(n_neighbours=2), train).sample(20_000, seed=0))
    large = drawn.sum(axis=1) > 40
    assert large.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn[large].mean(axis=0) == pytest.approx([40, 60], rel=0.01)
    assert drawn[~large].mean(axis=0) == pytest.approx([4, 6], rel=0.02)
    assert drawn[large].var(axis=0) == pytest.approx([40, 60], rel=0.05)
