import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn.decomposition import NMF

from models.baselines import poisson_factors
from models.baselines.poisson_factors import PoissonFactors, factorise, gaussian_mixture
from tests.models.baselines.baseline_cases import as_training_cells, dense, fitted


def mixed_cells(n_cells: int = 600, n_genes: int = 30, *, seed: int = 0):
    """Return Poisson counts of cells that mix three profiles, and the true shares of the genes."""
    rng = np.random.default_rng(seed)
    profiles = rng.dirichlet(np.full(n_genes, 0.2), 3)
    loadings = rng.dirichlet(np.full(3, 0.5), n_cells)
    proportions = loadings @ profiles
    return rng.poisson(rng.uniform(400, 1600, (n_cells, 1)) * proportions), proportions


def test_factors_recover_the_proportions_behind_the_counts():
    counts, proportions = mixed_cells()
    profiles, loadings = factorise(csr_matrix(counts.astype(np.float32)), n_factors=3, seed=0)
    assert profiles.sum(axis=1) == pytest.approx(np.ones(3))
    assert loadings.sum(axis=1) == pytest.approx(np.ones(600))
    # Raw proportions are off by their Poisson noise; three factors for 30 genes leave a part of it.
    raw = counts / counts.sum(axis=1, keepdims=True)
    assert np.abs(loadings @ profiles - proportions).sum() < 0.5 * np.abs(raw - proportions).sum()


def test_profiles_learned_on_some_cells_serve_all(monkeypatch):
    monkeypatch.setattr(poisson_factors, "MOST_CELLS_FACTORED", 200)
    counts, proportions = mixed_cells()
    profiles, loadings = factorise(csr_matrix(counts.astype(np.float32)), n_factors=3, seed=0)
    raw = counts / counts.sum(axis=1, keepdims=True)
    assert loadings.shape == (600, 3)
    assert np.abs(loadings @ profiles - proportions).sum() < 0.5 * np.abs(raw - proportions).sum()


@pytest.mark.parametrize("cells_factored", [5_000, 40])
def test_factors_are_those_of_scikit_learns_nmf(cells_factored, monkeypatch):
    monkeypatch.setattr(poisson_factors, "MOST_CELLS_FACTORED", cells_factored)
    # More cells than a block, genes and cells that nothing was counted of.
    counts, _ = mixed_cells()
    counts[[3, 599]], counts[:, 7] = 0, 0
    counts = csr_matrix(counts.astype(np.float32))
    rows = np.random.default_rng(5).choice(600, min(600, cells_factored), replace=False)
    nmf = NMF(
        4, init="random", solver="mu", beta_loss="kullback-leibler", max_iter=100, tol=0, random_state=5
    ).fit(counts[rows])
    theirs = nmf.set_params(max_iter=30).transform(counts) * nmf.components_.sum(axis=1)

    profiles, loadings = factorise(counts, n_factors=4, seed=5)
    np.testing.assert_allclose(
        profiles, nmf.components_ / nmf.components_.sum(axis=1)[:, None], rtol=1e-3, atol=1e-6
    )
    sums = theirs.sum(axis=1)[:, None]
    np.testing.assert_allclose(loadings, theirs / np.where(sums > 0, sums, 1), rtol=1e-3, atol=1e-5)


def test_one_factor_is_the_pooled_profile_at_real_library_sizes():
    """With one profile the best under the loss is the pooled proportions, whatever the cells are."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.array([[1.0, 6.0, 0.2]]) * rng.gamma(4, 1, (500, 1)))
    counts[:, 0] += 1
    pooled, sizes = counts.sum(axis=0) / counts.sum(), counts.sum(axis=1)
    model = fitted(PoissonFactors(n_factors=1), as_training_cells(counts, ["a"] * 500))
    drawn = dense(model.sample(30_000, seed=1))
    for gene in range(3):
        expected = np.mean([stats.poisson(size * pooled[gene]).pmf(np.arange(200)) for size in sizes], axis=0)
        observed = np.bincount(drawn[:, gene].astype(int), minlength=200)
        common = expected * 30_000 >= 10
        assert (
            stats.chisquare(
                np.append(observed[common], observed[~common].sum()),
                np.append(expected[common], 1 - expected[common].sum()) * 30_000,
            ).pvalue
            > 0.001
        )


def test_redrawn_loadings_keep_how_genes_go_together():
    counts, _ = mixed_cells(2000)
    drawn = dense(
        fitted(PoissonFactors(n_factors=6), as_training_cells(counts, ["a"] * 2000)).sample(2000, seed=0)
    )
    real, synthetic = (np.corrcoef((np.sqrt(cells)).T) for cells in (counts, drawn))
    off_diagonal = np.triu_indices(30, 1)
    assert np.corrcoef(real[off_diagonal], synthetic[off_diagonal])[0, 1] > 0.95
    assert drawn.sum(axis=1).std() == pytest.approx(counts.sum(axis=1).std(), rel=0.1)


def test_the_mixture_has_the_moments_of_its_points():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal([0, 5], [1, 0.1], (300, 2)), rng.normal([9, 5], [2, 0.1], (100, 2))])
    weights, means, deviations = gaussian_mixture(points, seed=0)
    assert len(weights) == 20
    mean = weights @ means
    variance = weights @ (deviations**2 + means**2) - mean**2
    assert mean == pytest.approx(points.mean(axis=0), abs=1e-6)
    assert variance == pytest.approx(points.var(axis=0), abs=2e-4)


def test_few_points_make_one_gaussian_and_a_single_point_does_not_vary():
    points = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    weights, means, deviations = gaussian_mixture(points, seed=0)
    assert weights.tolist() == [1]
    assert means[0] == pytest.approx([2, 2])
    assert deviations[0] ** 2 == pytest.approx([8 / 3 + 1e-4, 2 + 1e-4])
    weights, means, deviations = gaussian_mixture(points[:1], seed=0)
    assert (weights.tolist(), means.tolist(), deviations.tolist()) == ([1], [[0, 1]], [[0, 0]])
