import numpy as np
import pytest
from baseline_cases import as_training_cells, dense, fitted, training_cells
from scipy import stats
from scipy.sparse import csr_matrix

from models.base import GeneratorError
from models.simulators.polyester import Polyester
from models.simulators.shared import draw_sizes, excess_variance, learn_sizes
from models.simulators.simseq import SimSeq
from models.simulators.splatter import Splatter
from models.simulators.spsimseq import SPsimSeq
from models.simulators.sugar import Sugar
from models.simulators.symsim import SymSim
from models.simulators.thinning import Thinning

COUNTS = [Splatter, SymSim, SPsimSeq, SimSeq, Polyester, Thinning]


def counts_of_sizes(sizes) -> csr_matrix:
    return csr_matrix(np.asarray(sizes, dtype=np.float32)[:, None])


def test_sizes_are_drawn_from_the_kernel_estimate():
    """Against scipy's Gaussian kernel density, of values drawn together so that the variance stays."""
    rng = np.random.default_rng(0)
    logs = np.concatenate([rng.normal(5, 0.2, 150), rng.normal(8, 0.3, 50)])
    known = learn_sizes(counts_of_sizes(np.exp(logs)))
    drawn = np.log(draw_sizes(known, 40_000, rng))
    width = 1.06 * 200**-0.2
    centres = logs.mean() + (logs - logs.mean()) / np.sqrt(1 + width**2)
    bandwidth = width * logs.std() / np.sqrt(1 + width**2)
    density = stats.gaussian_kde(centres, bw_method=bandwidth / centres.std(ddof=1))
    for bound in (4.5, 5, 6, 7, 8):
        assert (drawn < bound).mean() == pytest.approx(density.integrate_box_1d(-np.inf, bound), abs=0.01)
    assert (drawn.mean(), drawn.var()) == pytest.approx((logs.mean(), logs.var()), rel=0.02)
    # None is the sum of a training cell.
    assert not np.isin(np.round(np.exp(drawn), 6), np.round(np.exp(logs), 6)).any()


def test_cells_without_counts_keep_their_share():
    known = learn_sizes(counts_of_sizes([0] * 30 + [100] * 70))
    drawn = draw_sizes(known, 20_000, np.random.default_rng(0))
    assert (drawn == 0).mean() == pytest.approx(0.3, abs=0.015)
    assert drawn[drawn > 0] == pytest.approx(100, rel=1e-6)
    assert draw_sizes(learn_sizes(counts_of_sizes([0, 0])), 5, np.random.default_rng(0)).tolist() == [0] * 5


def test_excess_variance_by_hand():
    """Sizes 4 and 12, shares 1/4 and 3/4: means 1, 3 and 3, 9; squared deviations 4 + 4 of either gene."""
    counts = csr_matrix(np.array([[3.0, 1.0], [1.0, 11.0]]))
    assert excess_variance(counts, np.array([0.25, 0.75])) == pytest.approx([2 * 8 - 4, 2 * 8 - 12])


@pytest.mark.parametrize("simulator", COUNTS)
def test_each_type_has_the_means_of_its_own_cells(simulator):
    """Gene by gene, but for Splatter, which draws means anew and gives them by rank."""
    train = training_cells()
    model = fitted(simulator(), train)
    depth = 0.8 if simulator is Thinning else 1.0
    real = train.layers["counts"].toarray()
    for name in ("B", "T"):
        of_type = depth * real[train.obs["cell_type"] == name]
        drawn = dense(model.sample(4000, cell_types=[name] * 4000, seed=0))
        assert drawn[:, 29].sum() == 0
        assert drawn.sum(axis=1).mean() == pytest.approx(of_type.sum(axis=1).mean(), rel=0.06)
        if simulator is Splatter:
            assert stats.spearmanr(drawn.mean(axis=0), of_type.mean(axis=0)).statistic > 0.95
        else:
            # Gene 28 is 2 in every cell; under normalisation no gene is.
            assert drawn.mean(axis=0)[:28] == pytest.approx(of_type.mean(axis=0)[:28], rel=0.12, abs=0.3)


@pytest.mark.parametrize("simulator", [*COUNTS, Sugar])
def test_cells_without_counts_and_types_of_one_cell(simulator):
    counts = np.array([[0, 0, 0]] * 12 + [[3, 1, 0], [1, 4, 0]] * 6 + [[9, 0, 7]])
    train = as_training_cells(counts, ["empty"] * 12 + ["a"] * 12 + ["single"])
    model = fitted(simulator(), train)
    cells = dense(model.sample(60, cell_types=["empty", "a", "single"] * 20, seed=0))
    if simulator is not Sugar:
        assert cells[::3].sum() == 0
        assert cells[1::3, 2].sum() == 0
    assert cells[1::3, :2].sum() > 20
    assert cells[2::3, 1].max() < 1.5


@pytest.mark.parametrize("simulator", [SimSeq, Thinning, Sugar])
def test_what_starts_from_one_training_cell_says_so(simulator):
    assert simulator.draws_from == "training cells"


def test_no_other_declares_copies():
    assert not any(simulator.draws_from != "model" for simulator in (Splatter, SymSim, SPsimSeq, Polyester))


@pytest.mark.parametrize("simulator", [*COUNTS, Sugar])
def test_a_stored_simulator_draws_the_same_cells(simulator, tmp_path):
    model = fitted(simulator(), training_cells())
    model.save(tmp_path)
    loaded = simulator.load(tmp_path)
    assert np.array_equal(dense(loaded.sample(70, seed=4)), dense(model.sample(70, seed=4)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Thinning(depth=0), "depth is 0; give more than 0 and at most 1"),
        (lambda: Thinning(depth=1.5), "depth is 1.5"),
        (lambda: SPsimSeq(maximum_genes=0), "maximum_genes is 0; give at least 1"),
        (lambda: Sugar(n_neighbours=0), "n_neighbours is 0; give at least 1"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(make, words):
    with pytest.raises(GeneratorError, match=words):
        make()
