import numpy as np
import pytest
from baseline_cases import as_training_cells, dense, fitted
from scipy import stats
from scipy.special import beta, gammaln, hyp1f1

from models.simulators.symsim import SymSim, kinetics

K_ON, K_OFF, SCALE = np.array([0.6, 2.0, 1.0]), np.array([1.5, 3.0, 8.0]), np.array([20.0, 40.0, 60.0])
N_CELLS = 60_000


def switching_cells(*, seed: int) -> np.ndarray:
    """Three genes that switch, a Poisson gene, one of bursts, and a large one that shows the efficiency."""
    rng = np.random.default_rng(seed)
    efficiency = rng.lognormal(0, 0.3, N_CELLS)[:, None]
    rates = SCALE * rng.beta(K_ON, K_OFF, (N_CELLS, 3))
    others = np.column_stack([np.full(N_CELLS, 5.0), rng.gamma(0.5, 8.0, N_CELLS), np.full(N_CELLS, 5e4)])
    return rng.poisson(efficiency * np.hstack([rates, others])).astype(np.float32)


@pytest.fixture(scope="module")
def counts():
    return switching_cells(seed=0)


def test_kinetics_are_recovered_under_unequal_efficiencies(counts):
    k_on, k_off = kinetics(as_training_cells(counts, ["a"] * N_CELLS).X)
    assert k_on[:3] == pytest.approx(K_ON, rel=0.1)
    assert k_off[:3] == pytest.approx(K_OFF, rel=0.2)
    # Gamma rates are the limit of rare bursts: nearly always off, with the burst's shape.
    assert np.isinf(k_off[4]) or k_off[4] > 20
    assert k_on[4] == pytest.approx(0.5, rel=0.1)


def test_drawn_counts_follow_the_stationary_law():
    """Against s^x/x! B(k_on + x, k_off)/B(k_on, k_off) ₁F₁(k_on + x, k_on + k_off + x, −s)."""
    rng = np.random.default_rng(1)
    n_cells, k_on, k_off, scale = 20_000, 0.6, 1.5, 20.0
    one = rng.poisson(scale * rng.beta(k_on, k_off, n_cells))
    train = as_training_cells(np.column_stack([one, np.full(n_cells, 10**6)]), ["a"] * n_cells)
    model = fitted(SymSim(), train)
    k_on, k_off = model._known("a")["k_on"][0], model._known("a")["k_off"][0]
    scale = one.mean() * (k_on + k_off) / k_on
    drawn = dense(model.sample(n_cells, seed=3))[:, 0].astype(int)
    value = np.arange(40)
    law = np.exp(value * np.log(scale) - gammaln(value + 1)) * beta(k_on + value, k_off) / beta(k_on, k_off)
    law *= hyp1f1(k_on + value, k_on + k_off + value, -scale)
    expected = n_cells * law
    kept = expected > 5
    observed = np.bincount(drawn, minlength=40)[:40][kept]
    rest = [n_cells - observed.sum(), n_cells - expected[kept].sum()]
    assert rest[1] < 100
    assert stats.chisquare(observed, expected[kept] * observed.sum() / expected[kept].sum()).pvalue > 1e-3


def test_genes_that_vary_no_more_than_poisson_counts_do_not_switch():
    counts = as_training_cells(np.array([[2, 0, 3], [2, 0, 3], [2, 0, 4]]), ["a"] * 3).X
    k_on, k_off = kinetics(counts)
    assert np.isinf(k_on).all() and np.isinf(k_off).all()
