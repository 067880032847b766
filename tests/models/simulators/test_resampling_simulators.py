import numpy as np
import pytest
from baseline_cases import as_training_cells, dense, fitted
from scipy import stats

from models.simulators.polyester import Polyester
from models.simulators.simseq import SimSeq
from models.simulators.thinning import Thinning

N_CELLS = 20_000


def agrees(values: np.ndarray, law) -> bool:
    """Whether whole numbers follow a distribution of scipy's, by a χ² test at 0.001."""
    last = int(law.isf(10 / len(values)))
    observed = np.bincount(np.minimum(values.astype(int), last), minlength=last + 1)
    expected = np.append(law.pmf(np.arange(last)), law.sf(last - 1)) * len(values)
    kept = expected >= 5
    observed = np.append(observed[kept], observed[~kept].sum())
    expected = np.append(expected[kept], expected[~kept].sum())
    filled = expected > 1e-9
    return stats.chisquare(observed[filled], expected[filled], sum_check=False).pvalue > 1e-3


def test_polyester_draws_negative_binomials_of_a_third_of_the_mean():
    """Every cell has 40 counts: 30 of one gene, 10 of the other; sizes 10 and 10/3."""
    model = fitted(Polyester(), as_training_cells(np.full((50, 2), [30, 10]), ["a"] * 50))
    drawn = dense(model.sample(N_CELLS, seed=0))
    assert agrees(drawn[:, 0], stats.nbinom(10, 10 / 40))
    assert agrees(drawn[:, 1], stats.nbinom(10 / 3, 1 / 4))
    assert drawn.var(axis=0) == pytest.approx([120, 40], rel=0.06)


def test_polyester_recovers_dispersions_under_unequal_library_sizes():
    rng = np.random.default_rng(0)
    sizes = np.array([0.5, 2.0, 8.0, np.inf, np.inf])
    means = np.array([4.0, 6.0, 12.0, 5.0, 4000.0]) * rng.lognormal(0, 0.4, N_CELLS)[:, None]
    rates = means.copy()
    rates[:, :3] *= rng.gamma(sizes[:3], 1 / sizes[:3], (N_CELLS, 3))
    train = as_training_cells(rng.poisson(rates), ["a"] * N_CELLS)
    fitted_sizes = fitted(Polyester(dispersion="fitted"), train)._known("a")["dispersions"]
    assert fitted_sizes[:3] == pytest.approx(sizes[:3], rel=0.08)
    assert fitted_sizes[3] > 100
    again = fitted(Polyester(dispersion="fitted"), train).sample(N_CELLS, seed=1)
    again.layers["counts"], again.obs["cell_type"] = again.X, "a"
    refitted = fitted(Polyester(dispersion="fitted"), again)._known("a")["dispersions"]
    assert refitted[:3] == pytest.approx(sizes[:3], rel=0.15)


def test_thinned_counts_are_binomial():
    train = as_training_cells(np.array([[40, 3, 0]]), ["a"])
    drawn = dense(fitted(Thinning(depth=0.3), train).sample(N_CELLS, seed=0))
    assert agrees(drawn[:, 0], stats.binom(40, 0.3))
    assert agrees(drawn[:, 1], stats.binom(3, 0.3))
    assert drawn[:, 2].sum() == 0


def test_thinned_negative_binomials_are_negative_binomials_of_a_smaller_mean():
    counts = stats.nbinom(2, 2 / 12).rvs((N_CELLS, 1), random_state=0)
    drawn = dense(fitted(Thinning(), as_training_cells(counts, ["a"] * N_CELLS)).sample(N_CELLS, seed=0))
    assert drawn.mean() == pytest.approx(8, rel=0.04)
    assert drawn.var() == pytest.approx(8 + 64 / 2, rel=0.1)


def test_at_the_whole_depth_cells_are_training_cells():
    counts = np.random.default_rng(0).poisson(3.0, (30, 6))
    drawn = dense(fitted(Thinning(depth=1.0), as_training_cells(counts, ["a"] * 30)).sample(50, seed=0))
    assert {tuple(row) for row in drawn} <= {tuple(row) for row in counts.astype(float)}


def test_simseq_keeps_each_genes_values_and_ties_none_to_another():
    """All cells have 20 counts, as have the new ones: each value is that of a training cell."""
    rng = np.random.default_rng(0)
    first = rng.choice([0, 3, 9], 400, p=[0.5, 0.3, 0.2])
    counts = np.column_stack([first, 20 - first])
    drawn = dense(fitted(SimSeq(), as_training_cells(counts, ["a"] * 400)).sample(N_CELLS, seed=0))
    observed = [(drawn[:, 0] == value).sum() for value in (0, 3, 9)]
    expected = [N_CELLS * (first == value).mean() for value in (0, 3, 9)]
    assert sum(observed) == N_CELLS
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03


def test_simseq_scales_values_to_the_new_cells_library_size():
    """Half the cells are four times as large, with the same proportions, which therefore stay."""
    counts = np.array([[2, 8]] * 50 + [[8, 32]] * 50)
    model = fitted(SimSeq(), as_training_cells(counts, ["a"] * 100))
    drawn = dense(model.sample(N_CELLS, seed=0))
    sizes = drawn.sum(axis=1)
    assert drawn[:, 0].sum() / sizes.sum() == pytest.approx(0.2, abs=0.003)
    logs = np.log([10.0, 40.0])
    assert np.log(sizes).mean() == pytest.approx(logs.mean(), abs=0.03)
    assert np.log(sizes).std() == pytest.approx(logs.std(), abs=0.03)
    # What is not whole is rounded up or down, both with its neighbour's probability.
    assert np.abs(drawn[:, 1] - 4 * drawn[:, 0]).max() <= 5
