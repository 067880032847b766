import numpy as np
import pytest
from baseline_cases import as_training_cells, dense, fitted
from scipy import stats
from scipy.sparse import csc_matrix

from models.simulators.spsimseq import DEGREE, N_BINS, SPsimSeq, lindsey, log_linear_marginals, quantiles


def test_lindseys_method_is_a_poisson_regression():
    """Against statsmodels, gene by gene, with the carrier as its offset."""
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    middles = np.linspace(-1, 1, N_BINS)
    carrier = np.stack([-(middles**2) / 0.4, -((middles - 0.3) ** 2) / 1.2])
    observed = rng.poisson([np.exp(3 + middles - middles**2), np.exp(4 - 2 * (middles - 0.2) ** 4)]) + 1.0
    fitted_logs = lindsey(observed, carrier)
    design = np.vander(middles, DEGREE + 1)
    for gene in range(2):
        family = api.families.Poisson()
        model = api.GLM(observed[gene], design, family=family, offset=carrier[gene]).fit(tol=1e-12)
        assert np.exp(fitted_logs[gene]) == pytest.approx(model.fittedvalues, rel=1e-4)


def test_bins_of_two_values_stay_finite():
    observed = np.zeros((1, N_BINS))
    observed[0, [0, -1]] = 15, 25
    logs = lindsey(observed, np.zeros((1, N_BINS)))
    assert np.exp(logs)[0, [0, -1]] == pytest.approx([15, 25], rel=0.05)
    assert np.exp(logs)[0, 5:15].max() < 1


def test_marginals_follow_the_density_of_the_values():
    """A mixture of two normals, a normal, one with few values, a constant and a silent gene."""
    rng = np.random.default_rng(0)
    two = np.where(rng.random(5000) < 0.4, rng.normal(3, 0.4, 5000), rng.normal(6, 0.7, 5000))
    few = np.zeros(5000)
    few[:12] = rng.normal(4, 0.5, 12)
    values = np.column_stack([two, rng.normal(8, 1, 5000), few, np.full(5000, 2.5), np.zeros(5000)])
    edges, reached = log_linear_marginals(csc_matrix(values))
    ranks = (np.arange(2000) + 0.5) / 2000
    drawn = [quantiles(edges, reached, np.full(2000, gene), ranks) for gene in range(4)]
    # A polynomial of degree 4 is what it can be: two sharp modes come out blunter.
    assert stats.ks_2samp(drawn[0], two).statistic < 0.06
    assert stats.kstest(drawn[1], stats.norm(8, 1).cdf).statistic < 0.03
    assert drawn[2].mean() == pytest.approx(few[:12].mean(), abs=0.15)
    assert (few[:12].min(), few[:12].max()) == pytest.approx((drawn[2].min(), drawn[2].max()), abs=0.05)
    assert drawn[3] == pytest.approx(2.5)
    assert edges[4].tolist() == [0, 0]


def test_quantiles_are_those_of_linear_interpolation():
    rng = np.random.default_rng(0)
    reached = np.zeros((3, N_BINS + 1))
    reached[:, 1:] = np.cumsum(rng.dirichlet(np.ones(N_BINS), 3), axis=1)
    edges = np.array([[0.0, 1.0], [2.0, 9.0], [5.0, 6.0]])
    genes, ranks = rng.integers(3, size=500), rng.random(500)
    grid = [np.linspace(*edges[gene], N_BINS + 1) for gene in range(3)]
    expected = [np.interp(rank, reached[gene], grid[gene]) for gene, rank in zip(genes, ranks, strict=True)]
    assert quantiles(edges, reached, genes, ranks) == pytest.approx(expected)


def test_marginals_zeros_and_correlations_are_recovered():
    """Normal log values with a known correlation, 30 % zeros in one gene, all cells of one library size."""
    rng = np.random.default_rng(0)
    n_cells, latent = 8000, np.array([[1, 0.7, 0], [0.7, 1, -0.4], [0, -0.4, 1]])
    normal = rng.multivariate_normal(np.zeros(3), latent, n_cells)
    counts = np.rint(np.exp([5.0, 6.0, 7.0] + 0.4 * normal))
    counts[rng.random(n_cells) < 0.3, 2] = 0
    filler = 10_000 - counts.sum(axis=1)
    assert filler.min() > 0
    train = as_training_cells(np.column_stack([counts, filler]), ["a"] * n_cells)
    drawn = dense(fitted(SPsimSeq(), train).sample(n_cells, seed=1))
    assert (drawn[:, 2] == 0).mean() == pytest.approx(0.3, abs=0.02)
    for gene in range(3):
        positive = [side[side[:, gene] > 0, gene] for side in (drawn, counts)]
        assert stats.ks_2samp(*positive).statistic < 0.04
    ours, theirs = (np.corrcoef(np.log1p(side[:, :3]).T) for side in (drawn, counts))
    # A Gaussian copula of correlations that zeros dilute: near theirs, not beyond.
    assert np.abs(ours - theirs).max() < 0.1
    assert ours[0, 1] == pytest.approx(0.7, abs=0.04)
