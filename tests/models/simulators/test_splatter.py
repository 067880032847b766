import numpy as np
import pytest
from baseline_cases import as_training_cells, dense, fitted
from scipy import stats
from scipy.special import polygamma

from models.simulators.splatter import (
    Splatter,
    _inverse_trigamma,
    draw_means,
    fit_dropout,
    fit_means,
    fit_outliers,
    fit_variation,
)

N_CELLS, N_GENES = 600, 1500
SHAPE, RATE = 0.8, 0.3
OUTLIERS = 0.05, 4.0, 0.3
LIBRARY = 10.5, 0.25
COMMON, FREEDOM = 0.25, 20.0


def cells_of_the_model(*, seed: int, dropout: tuple[float, float] | None = None) -> np.ndarray:
    """Draw from the source's model, step by step, gene after gene."""
    rng = np.random.default_rng(seed)
    means = stats.gamma(SHAPE, scale=1 / RATE).rvs(N_GENES, random_state=rng)
    median = np.median(means)
    for gene in np.flatnonzero(rng.random(N_GENES) < OUTLIERS[0]):
        means[gene] = median * rng.lognormal(OUTLIERS[1], OUTLIERS[2])
    sizes = rng.lognormal(*LIBRARY, N_CELLS)
    shares, counts = means / means.sum(), np.empty((N_CELLS, N_GENES))
    for gene in range(N_GENES):
        of_cells = shares[gene] * sizes
        deviation = (COMMON + 1 / np.sqrt(of_cells)) * np.sqrt(FREEDOM / rng.chisquare(FREEDOM))
        varied = rng.gamma(deviation**-2.0, of_cells * deviation**2)
        counts[:, gene] = rng.poisson(varied)
        if dropout is not None:
            kept = rng.random(N_CELLS) > 1 / (1 + (np.exp(-dropout[0]) * varied) ** -dropout[1])
            counts[:, gene] *= kept
    return counts


@pytest.fixture(scope="module")
def model():
    return fitted(Splatter(), as_training_cells(cells_of_the_model(seed=0), ["a"] * N_CELLS))


def test_the_parameters_of_the_model_are_recovered(model):
    known = model._known("a")
    assert known["library"] == pytest.approx([*LIBRARY, 1.0], abs=0.06)
    assert known["mean_fit"][0] == pytest.approx(SHAPE, rel=0.15)
    share, location, scale = known["outlier_fit"]
    assert share == pytest.approx(OUTLIERS[0], abs=0.025)
    assert location == pytest.approx(OUTLIERS[1], abs=0.2)
    assert scale == pytest.approx(OUTLIERS[2], abs=0.2)
    common, freedom = known["variation_fit"]
    assert common == pytest.approx(COMMON, abs=0.05)
    assert freedom == pytest.approx(FREEDOM, rel=0.4)


def test_drawn_cells_have_the_moments_of_new_cells_of_the_same_kind(model):
    drawn, fresh = dense(model.sample(N_CELLS, seed=1)), cells_of_the_model(seed=1)
    for side in (np.mean, np.var):
        ours, theirs = (np.log1p(side(cells, axis=0)) for cells in (drawn, fresh))
        assert stats.ks_2samp(ours, theirs).statistic < 0.08
    assert (drawn == 0).mean() == pytest.approx((fresh == 0).mean(), abs=0.03)
    assert np.log(drawn.sum(axis=1)).std() == pytest.approx(LIBRARY[1], abs=0.05)


def test_without_further_variation_there_is_none_to_find():
    rng = np.random.default_rng(0)
    means = rng.gamma(1.0, 20.0, 400)
    deviation = 0.3 + 1 / np.sqrt(means)
    counts = rng.poisson(rng.gamma(deviation**-2.0, means * deviation**2, (900, 400)))
    common, freedom = fit_variation(as_training_cells(counts, ["a"] * 900).layers["counts"])
    assert common == pytest.approx(0.3, abs=0.03)
    assert freedom > 100
    # Poisson counts vary less than the model can.
    assert fit_variation(as_training_cells(rng.poisson(means, (900, 400)), ["a"] * 900).X)[0] == 0


def test_gamma_means_minimise_the_distance_of_scipys_test():
    """Winsorised tails, which are the source's, pull the shape up by a tenth."""
    means = stats.gamma(1.7, scale=1 / 0.4).rvs(3000, random_state=1)
    shape, rate = fit_means(means)
    assert (shape, rate) == pytest.approx((1.7, 0.4), rel=0.15)
    clipped = np.clip(means, *np.quantile(means, [0.1, 0.9]))

    def distance(shape, rate):
        return stats.cramervonmises(clipped, stats.gamma(shape, scale=1 / rate).cdf).statistic

    least = distance(shape, rate)
    for factor in (0.97, 1.03):
        assert distance(factor * shape, rate) > least
        assert distance(shape, factor * rate) > least


def test_outliers_are_found_where_there_are_some():
    rng = np.random.default_rng(0)
    means = np.exp(rng.normal(0, 0.3, 2000))
    assert fit_outliers(means)[0] < 0.04
    means[:100] = np.exp(rng.normal(3, 0.2, 100))
    share, location, scale = fit_outliers(means)
    bound = means > np.exp(2)
    assert share >= 0.05
    assert np.log(means[bound]).mean() == pytest.approx(3, abs=0.1)
    assert location < 3 and scale > 0.2
    assert draw_means(np.array([2.0, 1.0]), np.array([1.0, 2.0, 0.0]), 9, rng).std() == pytest.approx(0)


def test_inverse_trigamma_is_the_inverse_of_scipys():
    for value in (1e-3, 0.1, 1.0, 7.0, 300.0):
        assert polygamma(1, _inverse_trigamma(value)) == pytest.approx(value, rel=1e-9)
    assert np.isinf(_inverse_trigamma(0)) and np.isinf(_inverse_trigamma(-1))


def test_the_logistic_of_dropout_is_recovered():
    log_means = np.linspace(-3, 6, 200)
    assert fit_dropout(log_means, stats.logistic.cdf(-1.4 * (log_means - 1.2))) == pytest.approx([1.2, -1.4])


def test_dropout_is_on_only_where_it_is_asked_for_and_there_is_some():
    with_dropout = cells_of_the_model(seed=2, dropout=(2.0, -1.0))
    counts = np.concatenate([with_dropout, cells_of_the_model(seed=2)])
    train = as_training_cells(counts, ["drops"] * N_CELLS + ["keeps"] * N_CELLS)
    off, on = fitted(Splatter(), train), fitted(Splatter(dropout="fitted"), train)
    assert "dropout_fit" not in off._known("drops")
    assert "dropout_fit" not in on._known("keeps")
    middle, slope = on._known("drops")["dropout_fit"]
    assert 0 < middle < 3 and -3 < slope < -0.5
    real, without, fitted_zeros = (
        (cells == 0).mean()
        for cells in (
            with_dropout,
            *(dense(model.sample(N_CELLS, cell_types=["drops"] * N_CELLS, seed=0)) for model in (off, on)),
        )
    )
    assert without < real
    assert fitted_zeros > without
