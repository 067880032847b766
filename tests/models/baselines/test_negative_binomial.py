import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix

from models.baselines.negative_binomial import Steps, draw_independent, fit_marginals

MEANS, SIZES = np.array([0.05, 0.6, 4.0, 60.0, 2.0]), np.array([0.3, 1.5, 0.8, 12.0, np.inf])


def distribution(gene: int):
    mean, size = MEANS[gene], SIZES[gene]
    return stats.poisson(mean) if np.isinf(size) else stats.nbinom(size, size / (size + mean))


def test_marginals_maximise_the_likelihood_of_each_gene():
    """Against scipy's own likelihood, maximised one gene at a time."""
    rng = np.random.default_rng(0)
    counts = np.stack([distribution(gene).rvs(3000, random_state=rng) for gene in range(4)], axis=1)
    means, sizes = fit_marginals(csr_matrix(counts.astype(np.float32)))
    assert means == pytest.approx(counts.mean(axis=0))
    for gene in range(4):

        def loss(log_size, x=counts[:, gene], mean=means[gene]):
            size = np.exp(log_size)
            return -stats.nbinom.logpmf(x, size, size / (size + mean)).sum()

        best = minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-6})
        assert np.log(sizes[gene]) == pytest.approx(best.x, abs=1e-3)
    assert np.log(sizes) == pytest.approx(np.log(SIZES[:4]), abs=0.5)


def test_genes_that_vary_less_than_poisson_and_silent_genes_are_poisson():
    counts = csr_matrix(np.array([[2, 0, 1], [2, 0, 0], [2, 0, 1], [2, 0, 0]], dtype=np.float32))
    means, sizes = fit_marginals(counts)
    assert means.tolist() == [2, 0, 0.5]
    assert np.isinf(sizes).all()


def test_independent_counts_follow_their_distributions():
    n_cells = 40_000
    counts = draw_independent(MEANS, SIZES, n_cells, np.random.default_rng(1)).toarray()
    for gene in range(len(MEANS)):
        last = int(distribution(gene).isf(50 / n_cells))
        observed = np.bincount(np.minimum(counts[:, gene].astype(int), last), minlength=last + 1)
        expected = distribution(gene).pmf(np.arange(last + 1))
        expected[last] = distribution(gene).sf(last - 1)
        common = expected * n_cells >= 5
        observed = np.append(observed[common], observed[~common].sum())
        expected = np.append(expected[common], expected[~common].sum()) * n_cells
        filled = expected > 0
        assert stats.chisquare(observed[filled], expected[filled], sum_check=False).pvalue > 0.001
    between_genes = np.corrcoef(counts.T)[np.triu_indices(len(MEANS), 1)]
    assert np.abs(between_genes).max() < 4.5 / np.sqrt(n_cells)
    assert np.abs(np.corrcoef(counts[:-1, 3], counts[1:, 3])[0, 1]) < 4.5 / np.sqrt(n_cells)


def test_steps_are_the_distribution_functions():
    steps = Steps.of(MEANS, SIZES)
    for gene, (start, stop) in enumerate(zip(steps.starts[:-1], steps.starts[1:], strict=True)):
        count = np.arange(stop - start)
        assert steps.upper[start : stop - 1] == pytest.approx(distribution(gene).cdf(count[:-1]), abs=1e-12)
        assert steps.upper[stop - 1] == 1
        assert distribution(gene).sf(count[-1]) <= 1e-9


def test_normal_values_become_counts_by_the_quantile_function():
    normal = np.random.default_rng(2).standard_normal((4000, len(MEANS)))
    counts = Steps.of(MEANS, SIZES).counts(normal)
    for gene in range(len(MEANS)):
        assert np.array_equal(counts[:, gene], distribution(gene).ppf(stats.norm.cdf(normal[:, gene])))


def test_normal_scores_are_the_means_of_truncated_normals():
    steps = Steps.of(MEANS, SIZES)
    scores = steps.normal_scores()
    assert np.isfinite(scores).all()
    for gene, (start, stop) in enumerate(zip(steps.starts[:-1], steps.starts[1:], strict=True)):
        counts = np.arange(int(distribution(gene).ppf(0.0005)), int(distribution(gene).isf(0.0005)))
        below, above = (stats.norm.ppf(distribution(gene).cdf(counts - step)) for step in (1, 0))
        assert scores[start + counts] == pytest.approx(stats.truncnorm.mean(below, above), abs=1e-6)
        probability = np.diff(steps.upper[start:stop], prepend=0)
        assert probability @ scores[start:stop] == pytest.approx(0, abs=1e-9)


def test_hermite_coefficients_are_moments_of_the_scores():
    """Against the polynomials themselves, averaged over a fine grid of normal values."""
    steps = Steps.of(MEANS, SIZES)
    normal = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    polynomials = [normal, (normal**2 - 1) / np.sqrt(2), (normal**3 - 3 * normal) / np.sqrt(6)]
    counts = steps.counts(np.repeat(normal[:, None], len(MEANS), axis=1)).astype(int)
    scores = steps.normal_scores()[steps.starts[:-1] + counts]
    expected = [np.mean(scores * polynomial[:, None], axis=0) for polynomial in polynomials]
    assert steps.hermite_coefficients(3) == pytest.approx(np.array(expected), abs=2e-3)
