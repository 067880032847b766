import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn.covariance import ledoit_wolf

from models.baselines import nb_copula
from models.baselines.nb_copula import NbCopula, shrunk_correlations
from tests.models.baselines.baseline_cases import as_training_cells, dense, fitted

MEANS, SIZES = np.array([0.3, 0.4, 8.0, 30.0]), np.array([1.0, 2.0, 3.0, 5.0])
LATENT = np.array([[1, 0.6, 0.3, 0], [0.6, 1, 0, -0.4], [0.3, 0, 1, 0.5], [0, -0.4, 0.5, 1]])


def correlated_counts(n_cells: int, *, seed: int) -> np.ndarray:
    """Draw from the very model: a Gaussian copula with negative-binomial margins."""
    normal = np.random.default_rng(seed).multivariate_normal(np.zeros(4), LATENT, n_cells)
    return stats.nbinom.ppf(stats.norm.cdf(normal), SIZES, SIZES / (SIZES + MEANS))


@pytest.fixture(scope="module")
def model():
    return fitted(NbCopula(), as_training_cells(correlated_counts(20_000, seed=0), ["a"] * 20_000))


def test_the_latent_correlation_is_recovered_for_rare_genes_too(model):
    factor = model._parameters["factor_0"]
    assert np.linalg.norm(factor, axis=1) == pytest.approx(np.ones(4), rel=1e-5)
    assert np.abs(factor @ factor.T - LATENT).max() < 0.06


def test_drawn_cells_have_the_moments_and_correlations_of_new_cells_of_the_same_kind(model):
    n_cells = 20_000
    drawn, fresh = dense(model.sample(n_cells, seed=1)), correlated_counts(n_cells, seed=1)
    assert drawn.mean(axis=0) == pytest.approx(fresh.mean(axis=0), rel=0.06)
    assert drawn.var(axis=0) == pytest.approx(MEANS + MEANS**2 / SIZES, rel=0.1)
    assert np.abs(np.corrcoef(drawn.T) - np.corrcoef(fresh.T)).max() < 0.05
    for gene in range(4):
        both = [
            np.bincount(np.minimum(side[:, gene].astype(int), 40), minlength=41) for side in (drawn, fresh)
        ]
        table = np.array(both)[:, np.sum(both, axis=0) >= 20]
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_shrinkage_is_that_of_ledoit_and_wolf(monkeypatch):
    """Against scikit-learn on standardised columns; blocks must not matter."""
    monkeypatch.setattr(nb_copula, "BLOCK_OF_SCORES", 7)
    rng = np.random.default_rng(0)
    scores = rng.poisson(1.0, (40, 15)) + rng.normal(0, 1, (40, 1)) * (rng.random(15) < 0.5)
    correlations, deviations = shrunk_correlations(csr_matrix(scores))
    assert deviations == pytest.approx(scores.std(axis=0))
    expected, shrinkage = ledoit_wolf((scores - scores.mean(axis=0)) / deviations, assume_centered=True)
    assert 0.05 < shrinkage < 0.95
    assert correlations == pytest.approx(expected, abs=1e-9)


def test_the_most_widely_seen_genes_are_correlated():
    rng = np.random.default_rng(0)
    seen = np.array([0.1, 0.9, 0.5, 1.0, 0.7, 0.15])
    counts = (rng.random((200, 6)) < seen) * rng.integers(1, 9, (200, 6))
    counts[:, 3] = 4
    types = ["many"] * 195 + ["few"] * 5
    model = fitted(NbCopula(maximum_genes=2), as_training_cells(counts, types))
    assert model._parameters["genes_1"].tolist() == [1, 4]
    assert model._parameters["genes_0"].size == 0
    wide = fitted(NbCopula(), as_training_cells(counts, types))
    assert wide._parameters["genes_1"].tolist() == [1, 2, 4]
