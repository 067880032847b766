"""Each cheat is right in the one respect that it claims, and in no other that can be told."""

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestClassifier

from models.baselines.poisson_factors import factorise
from models.cheats import SUITE
from models.cheats.fitted import TIMES_EACH, NearDuplicates, Reconstruction
from models.cheats.flat import EmptyCells, LibrarySizesOnly, MeanCell
from models.cheats.forest_rejection import DRAWS_FOR_ONE, ForestRejection, nodes_of, share_drawn
from models.cheats.forger import ComponentForger, forged
from models.cheats.real_parts import HalfNoise, PermutedLabels, VariableGenesOnly, variable_genes
from tests.models.test_controls import N_CELLS, N_GENES, dense, fitted, training_cells

pytestmark = pytest.mark.slow

CHEATS = (
    Reconstruction,
    MeanCell,
    EmptyCells,
    PermutedLabels,
    HalfNoise,
    ComponentForger,
    ForestRejection,
    NearDuplicates,
    VariableGenesOnly,
    LibrarySizesOnly,
)


@pytest.fixture(scope="module")
def train():
    return training_cells()


@pytest.fixture(scope="module")
def counts(train):
    return train.layers["counts"].toarray()


def log_cp20k(counts):
    sums = counts.sum(axis=1, keepdims=True)
    return np.log1p(20_000 * counts / np.where(sums > 0, sums, 1))


def numbers(cells):
    """Gene 0 numbers the training cells from 1000 on."""
    return cells[:, 0].astype(int) - 1000


def test_the_suite_has_twelve_of_which_two_are_controls_of_every_run():
    assert len(set(SUITE)) == 12
    assert set(SUITE) == {"memorise", "poisson"} | {cheat.name for cheat in CHEATS}
    assert {(cheat.role, cheat.conditional) for cheat in CHEATS} == {("cheat", True)}


@pytest.mark.parametrize("cheat", CHEATS)
def test_requested_types_come_back_in_their_order_and_seeds_repeat(cheat, train):
    requested = ["NK", "B", "T", "B"] * 9
    first, again = (fitted(cheat, train, seed=3).sample(36, cell_types=requested, seed=5) for _ in range(2))
    assert list(first.obs["cell_type"]) == requested
    assert list(first.var_names) == list(train.var_names)
    assert np.array_equal(dense(first), dense(again))


def test_a_reconstruction_is_a_training_cell_decoded_with_poisson_noise(train):
    cells = dense(fitted(Reconstruction, train, seed=3).sample(20_000, cell_types=["T"] * 20_000, seed=0))
    matrix = train.layers["counts"]
    profiles, loadings = factorise(matrix.astype(np.float32), n_factors=60, seed=3)
    rates = np.asarray(matrix.sum(axis=1)).ravel()[:, None] * (loadings @ profiles)
    expected = rates[train.obs["cell_type"] == "T"]
    assert cells.mean(axis=0) == pytest.approx(expected.mean(axis=0), rel=0.03, abs=0.05)
    variance = expected.mean(axis=0) + expected.var(axis=0)
    assert cells.var(axis=0) == pytest.approx(variance, rel=0.1, abs=0.1)


def test_the_mean_cell_is_the_mean_of_its_type(train, counts):
    cells = fitted(MeanCell, train).sample(7, cell_types=["T", "B", "T", "NK", "B", "T", "B"], seed=0)
    scaled = 20_000 * counts / counts.sum(axis=1, keepdims=True)
    for cell, name in zip(dense(cells), cells.obs["cell_type"], strict=True):
        expected = scaled[train.obs["cell_type"] == name].mean(axis=0)
        assert cell == pytest.approx(expected, rel=1e-5)


def test_empty_cells_have_labels_and_no_count(train):
    cells = fitted(EmptyCells, train).sample(N_CELLS, seed=0)
    assert cells.X.nnz == 0
    assert sorted(cells.obs["cell_type"]) == sorted(train.obs["cell_type"])


def test_permuted_labels_stand_on_cells_of_the_pool_by_chance(train, counts):
    n_cells = 6000
    cells = fitted(PermutedLabels, train).sample(n_cells, seed=0)
    rows = numbers(dense(cells))
    assert train.obs["control_pool"].to_numpy()[rows].all()
    assert np.array_equal(dense(cells), counts[rows])
    own = train.obs["cell_type"].to_numpy()[rows]
    table = stats.contingency.crosstab(own, cells.obs["cell_type"].to_numpy()).count
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_half_noise_is_half_training_cells_and_half_even_noise_of_their_sizes(train, counts):
    cells = dense(fitted(HalfNoise, train).sample(4000, cell_types=["T", "B"] * 2000, seed=0))
    is_real = np.isin(numbers(cells), np.arange(N_CELLS))
    assert is_real.sum() == 2000
    assert np.array_equal(cells[is_real], counts[numbers(cells[is_real])])
    noise = cells[~is_real]
    assert set(noise.sum(axis=1)) <= set(counts.sum(axis=1))
    assert stats.chisquare(noise.sum(axis=0)).pvalue > 0.001


def test_library_sizes_are_those_of_the_type_and_genes_are_even(train, counts):
    cells = dense(fitted(LibrarySizesOnly, train).sample(2000, cell_types=["T"] * 2000, seed=0))
    assert set(cells.sum(axis=1)) == set(counts[train.obs["cell_type"] == "T"].sum(axis=1))
    assert stats.chisquare(cells.sum(axis=0)).pvalue > 0.001


def test_variable_genes_are_those_of_most_variance_over_mean(train, counts):
    scaled = 20_000 * counts / counts.sum(axis=1, keepdims=True)
    means = scaled.mean(axis=0)
    ratio = np.divide(scaled.var(axis=0), means, out=np.zeros(N_GENES), where=means > 0)
    expected = np.sort(np.argsort(-ratio)[: N_GENES // 5])
    assert np.array_equal(np.flatnonzero(variable_genes(train.layers["counts"])), expected)


def test_only_the_variable_genes_are_a_training_cells(train, counts):
    cells = dense(fitted(VariableGenesOnly, train).sample(8000, seed=0))
    pool = train.obs["control_pool"].to_numpy()
    is_variable = variable_genes(train.layers["counts"][pool])
    # One cell of the pool fits the variable genes and the library size of each.
    facts = {(*cell[is_variable], cell.sum()) for cell in counts[pool]}
    assert {(*cell[is_variable], cell.sum()) for cell in cells} == facts
    others, drawn = counts[pool][:, ~is_variable], cells[:, ~is_variable]
    assert drawn.sum(axis=0) / drawn.sum() == pytest.approx(others.sum(axis=0) / others.sum(), abs=0.003)


def test_the_forger_lies_on_the_components_where_cells_of_the_pool_lie(train, counts):
    """All of them at 39 components: only the place off them is left, of which too few genes leave none."""
    cells = fitted(ComponentForger, train).sample(60, seed=0)
    known = fitted(ComponentForger, train)._parameters
    pool = train.obs["control_pool"].to_numpy()
    learnt_on = log_cp20k(counts[~pool])
    _, _, axes = np.linalg.svd(learnt_on - learnt_on.mean(axis=0), full_matrices=False)
    centred = log_cp20k(counts)[pool] - learnt_on.mean(axis=0)
    assert np.abs(known["axes"] @ axes[: len(known["axes"])].T).max(axis=1) == pytest.approx(1, abs=1e-3)
    places = centred @ axes[:20].T
    of_cells = (dense(cells) - learnt_on.mean(axis=0)) @ axes[:20].T
    nearest = np.sqrt(((of_cells[:, None] - places) ** 2).sum(axis=2)).min(axis=1)
    assert nearest.max() < 0.05 * places.std(axis=0).max()
    assert np.expm1(dense(cells)).sum(axis=1) == pytest.approx(20_000, rel=1e-4)


def test_a_forged_cell_keeps_its_place_and_is_no_copy_off_it():
    rng = np.random.default_rng(0)
    cells = log_cp20k(rng.poisson(rng.gamma(1, 2, size=200), size=(50, 200)))
    mean = cells.mean(axis=0)
    axes = np.linalg.svd(cells - mean, full_matrices=False)[2][:5]
    places = (cells - mean) @ axes.T
    made = forged(places, axes, mean)
    assert (made - mean) @ axes.T == pytest.approx(places, abs=0.02 * places.std())
    assert made.min() >= 0
    assert np.expm1(made).sum(axis=1) == pytest.approx(20_000)
    assert (made > 0.01).mean() > (cells > 0).mean()
    assert np.abs(made - cells).mean() > 0.3


def test_the_stored_nodes_say_what_the_forest_says():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(300, 12)).astype(np.float32)
    labels = (cells[:, 0] + rng.normal(size=300) > 0).astype(int)
    forest = RandomForestClassifier(30, random_state=0).fit(cells[:200], labels[:200])
    nodes = nodes_of([tree.tree_ for tree in forest.estimators_])
    assert share_drawn(cells, nodes) == pytest.approx(forest.predict_proba(cells)[:, 1])


def test_of_each_eight_draws_the_most_real_is_kept(train, monkeypatch):
    from models.cheats import forest_rejection

    cheat = fitted(ForestRejection, train)
    shares = []

    def remembering(cells, nodes):
        shares.append(share_drawn(cells, nodes))
        return shares[-1]

    monkeypatch.setattr(forest_rejection, "share_drawn", remembering)
    cells = cheat.sample(150, cell_types=["B"] * 150, seed=0)
    least = np.concatenate(shares).reshape(150, DRAWS_FOR_ONE).min(axis=1)
    assert share_drawn(forest_rejection.dense_log(cells.X), cheat._parameters) == pytest.approx(least)
    assert least.mean() < np.concatenate(shares).mean() - 0.05


def test_near_duplicates_come_sixteen_at_a_time_and_hardly_two_are_alike(train):
    cells = dense(fitted(NearDuplicates, train).sample(10 * TIMES_EACH, cell_types=["T"] * 160, seed=0))
    # Of some 1000 counts; real cells have more.
    assert len(np.unique(cells, axis=0)) > 0.95 * len(cells)
    first = cells[:, 0].reshape(10, TIMES_EACH)
    # Gene 0 is near 1000 in every cell; 98 % of it is kept.
    assert (first.std(axis=1) < 3 * np.sqrt(first.mean(axis=1) * 0.02)).all()
    assert first.mean(axis=1).std() > 3 * first.std(axis=1).mean()


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_loaded_cheat_draws_the_same_cells(cheat, train, tmp_path):
    stored = fitted(cheat, train, seed=2)
    stored.save(tmp_path)
    loaded = cheat.load(tmp_path)
    assert np.array_equal(dense(loaded.sample(40, seed=1)), dense(stored.sample(40, seed=1)))
