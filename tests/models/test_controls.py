import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from scipy.sparse import csr_matrix

from models.base import Budget, GeneratorError, SilentMonitor, TooFewCells, Unsupported
from models.controls import Memorise, Null, Poisson, Real, Shuffle, ShuffleWithinType

pytestmark = pytest.mark.slow

N_CELLS, N_GENES = 300, 40
CONTROLS = [Real, Null, Memorise, Shuffle, ShuffleWithinType, Poisson]
CONDITIONAL = [Real, Null, Memorise, ShuffleWithinType, Poisson]


def training_cells() -> AnnData:
    """Three types with profiles and depths of their own; gene 0 numbers the cells, gene 39 is silent.

    Genes 1 and 2 are proportional in every cell, so that their correlation is 1.
    """
    rng = np.random.default_rng(7)
    types = rng.choice(["B", "T", "NK"], N_CELLS, p=[0.5, 0.4, 0.1])
    profiles = {name: rng.gamma(0.5, 1.0, N_GENES) for name in ("B", "T", "NK")}
    depth = {"B": 2.0, "T": 5.0, "NK": 1.0}
    rates = np.array([profiles[name] * depth[name] * rng.gamma(5, 0.2) for name in types])
    counts = rng.poisson(rates).astype(np.float32)
    counts[:, 0] = 1000 + np.arange(N_CELLS)
    counts[:, 2] = 3 * counts[:, 1]
    counts[:, 39] = 0
    obs = pd.DataFrame({"cell_type": pd.Categorical(types)}, index=[f"cell{i}" for i in range(N_CELLS)])
    obs["control_pool"] = rng.random(N_CELLS) < 0.5
    obs["null_half"] = np.where(obs["control_pool"], 1 + np.arange(N_CELLS) % 2, 0)
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    adata = AnnData(csr_matrix(counts / counts.sum(1, keepdims=True) * 20_000), obs=obs, var=var)
    adata.layers["counts"] = csr_matrix(counts)
    return adata


def fitted(control_class, train=None, seed=0):
    control = control_class()
    train = training_cells() if train is None else train
    control.fit(train, seed=seed, budget=Budget(1, "steps"), monitor=SilentMonitor())
    return control


def dense(adata: AnnData) -> np.ndarray:
    return adata.X.toarray()


@pytest.fixture(scope="module")
def train() -> AnnData:
    return training_cells()


@pytest.mark.parametrize("control_class", CONTROLS)
def test_returns_whole_counts_in_csr_float32_with_the_training_genes(control_class, train):
    cells = fitted(control_class, train).sample(50, seed=1)
    assert isinstance(cells.X, csr_matrix)
    assert cells.X.dtype == np.float32
    assert cells.shape == (50, N_GENES)
    assert list(cells.var_names) == list(train.var_names)
    assert (cells.X.data == np.round(cells.X.data)).all()
    assert (cells.X.data > 0).all()
    assert cells.X.has_canonical_format


@pytest.mark.parametrize("control_class", CONTROLS)
def test_same_seeds_same_cells_and_other_seeds_other_cells(control_class, train):
    first = dense(fitted(control_class, train, seed=3).sample(60, seed=5))
    again = dense(fitted(control_class, train, seed=3).sample(60, seed=5))
    other_sample = dense(fitted(control_class, train, seed=3).sample(60, seed=6))
    other_training = dense(fitted(control_class, train, seed=4).sample(60, seed=5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other_sample)
    assert not np.array_equal(first, other_training)


@pytest.mark.parametrize("control_class", CONTROLS)
def test_a_loaded_control_draws_the_same_cells(control_class, train, tmp_path):
    control = fitted(control_class, train, seed=2)
    control.save(tmp_path)
    expected = control.sample(60, seed=9)
    loaded = control_class.load(tmp_path).sample(60, seed=9)
    assert np.array_equal(dense(loaded), dense(expected))
    assert loaded.obs.equals(expected.obs)
    assert loaded.var_names.equals(expected.var_names)


@pytest.mark.parametrize("control_class", CONTROLS)
def test_the_training_cells_are_not_modified(control_class):
    train = training_cells()
    control = fitted(control_class, train)
    sample = control.sample(60, seed=0)
    sample.X.data[:] = -1
    control.sample(60, seed=1)
    untouched = training_cells()
    assert np.array_equal(train.layers["counts"].toarray(), untouched.layers["counts"].toarray())
    assert train.obs.equals(untouched.obs)


def test_real_draws_each_cell_of_the_pool_at_most_once(train):
    pool = train.obs["control_pool"].to_numpy()
    cells = fitted(Real, train).sample(int(pool.sum()), seed=0)
    rows = dense(cells)[:, 0].astype(int) - 1000
    assert sorted(rows) == list(np.flatnonzero(pool))
    assert np.array_equal(dense(cells), train.layers["counts"].toarray()[rows])
    assert list(cells.obs["cell_type"]) == list(train.obs["cell_type"].iloc[rows])
    assert list(rows) != sorted(rows)


def test_real_refuses_more_cells_than_the_pool_holds(train):
    pool = train[train.obs["control_pool"].to_numpy()]
    n_pool, n_nk = pool.n_obs, int((pool.obs["cell_type"] == "NK").sum())
    control = fitted(Real, train)
    with pytest.raises(TooFewCells, match=rf"{n_pool + 1} cells asked, there are {n_pool} "):
        control.sample(n_pool + 1, seed=0)
    with pytest.raises(TooFewCells, match=rf"{n_nk + 1} cells of type 'NK' asked, there are {n_nk} "):
        control.sample(n_nk + 1, cell_types=["NK"] * (n_nk + 1), seed=0)


def test_null_draws_the_cells_of_its_half_at_most_once(train):
    half = np.flatnonzero(train.obs["null_half"] == 2)
    cells = fitted(Null, train).sample(len(half), seed=0)
    rows = dense(cells)[:, 0].astype(int) - 1000
    assert sorted(rows) == list(half)
    with pytest.raises(TooFewCells, match=f"null: {len(half) + 1} cells asked, there are {len(half)} "):
        fitted(Null, train).sample(len(half) + 1, seed=0)


def test_memorise_repeats_cells_of_the_pool_and_no_others(train):
    pool = np.flatnonzero(train.obs["control_pool"])
    cells = dense(fitted(Memorise, train).sample(5_000, seed=0))
    rows = cells[:, 0].astype(int) - 1000
    assert set(rows) == set(pool)
    assert np.array_equal(cells, train.layers["counts"].toarray()[rows])
    times = np.bincount(rows, minlength=N_CELLS)[pool]
    assert stats.chisquare(times).pvalue > 0.001


@pytest.mark.parametrize("control_class", [Real, Null, Memorise])
def test_chunks_of_real_cells_together_are_the_sample(control_class, train):
    control = fitted(control_class, train)
    types = ["T", "B", "B", "T"] * 10
    for requested in (None, types):
        whole = control.sample(40, cell_types=requested, seed=4)
        chunks = list(control.sample_chunks(40, cell_types=requested, seed=4, chunk_size=7))
        assert [chunk.n_obs for chunk in chunks] == [7, 7, 7, 7, 7, 5]
        assert np.array_equal(np.vstack([dense(chunk) for chunk in chunks]), dense(whole))
        assert [t for chunk in chunks for t in chunk.obs["cell_type"]] == list(whole.obs["cell_type"])


def test_shuffle_keeps_the_marginal_of_every_gene_and_nothing_else(train):
    real = train.layers["counts"].toarray()
    shuffled = dense(fitted(Shuffle, train).sample(N_CELLS, seed=0))
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(real, axis=0))
    assert np.corrcoef(real[:, 1], real[:, 2])[0, 1] == pytest.approx(1)
    assert abs(np.corrcoef(shuffled[:, 1], shuffled[:, 2])[0, 1]) < 0.2
    # Gene 0 numbers the training cells: rows must hold them in random order.
    assert abs(np.corrcoef(shuffled[:, 0], np.arange(N_CELLS))[0, 1]) < 0.2


def test_shuffle_goes_round_the_training_cells_when_more_are_asked(train):
    real = np.sort(train.layers["counts"].toarray(), axis=0)
    shuffled = dense(fitted(Shuffle, train).sample(2 * N_CELLS + 17, seed=0))
    first, second, rest = np.split(shuffled, [N_CELLS, 2 * N_CELLS])
    assert np.array_equal(np.sort(first, axis=0), real)
    assert np.array_equal(np.sort(second, axis=0), real)
    assert not np.array_equal(first, second)
    assert len(set(rest[:, 0])) == 17


def test_part_of_a_shuffle_is_drawn_like_rows_of_a_permutation():
    """Against rows 0–3 of permutations drawn outright: all 2-gene tables of counts are equally frequent."""
    columns = np.array([[0, 0, 0, 2, 5, 7], [1, 1, 0, 1, 3, 0]], dtype=np.float32).T
    adata = AnnData(
        csr_matrix(columns),
        obs=pd.DataFrame({"cell_type": ["a"] * 6}, index=list("uvwxyz")),
        var=pd.DataFrame(index=["g", "h"]),
    )
    adata.layers["counts"] = adata.X
    control = fitted(Shuffle, adata)
    rng = np.random.default_rng(0)
    drawn, expected = [], []
    for seed in range(1500):
        drawn.append(dense(control.sample(4, seed=seed)))
        expected.append(rng.permuted(columns, axis=0)[:4])
    drawn, expected = np.array(drawn), np.array(expected)
    assert all(np.unique(part[:, 0][part[:, 0] > 0]).size == (part[:, 0] > 0).sum() for part in drawn)
    for summary in (
        lambda cells: (cells > 0).sum(axis=1) @ [10, 1],
        lambda cells: cells[:, 0, 0],
        lambda cells: cells[:, 3, 0],
        lambda cells: cells[:, 0, 1],
        lambda cells: cells[:, 0, 0] * 10 + cells[:, 1, 0],
    ):
        values, codes = np.unique(np.concatenate([summary(drawn), summary(expected)]), return_inverse=True)
        table = [np.bincount(part, minlength=len(values)) for part in np.split(codes, 2)]
        assert stats.chi2_contingency(np.array(table)).pvalue > 0.001


def test_chunks_of_a_shuffle_hold_no_training_value_twice_and_keep_the_means(train):
    real = train.layers["counts"].toarray()
    chunks = [dense(chunk) for chunk in fitted(Shuffle, train).sample_chunks(3_000, seed=0, chunk_size=150)]
    assert [len(chunk) for chunk in chunks] == [150] * 20
    assert all(len(np.unique(chunk[:, 0])) == 150 for chunk in chunks)
    mean = np.vstack(chunks).mean(axis=0)
    standard_error = real.std(axis=0) / np.sqrt(3_000)
    assert (np.abs(mean - real.mean(axis=0)) <= 4 * standard_error).all()


def test_shuffle_refuses_cell_types(train):
    assert not Shuffle.conditional
    with pytest.raises(Unsupported, match="shuffle: cannot draw cells of a given type"):
        fitted(Shuffle, train).sample(2, cell_types=["B", "T"], seed=0)


def test_shuffle_within_type_keeps_the_marginals_of_every_type(train):
    real, types = train.layers["counts"].toarray(), train.obs["cell_type"].to_numpy()
    cells = fitted(ShuffleWithinType, train).sample(N_CELLS, seed=0)
    for name in ("B", "T", "NK"):
        shuffled = dense(cells)[cells.obs["cell_type"] == name]
        assert np.array_equal(np.sort(shuffled, axis=0), np.sort(real[types == name], axis=0))
    t_cells = dense(cells)[cells.obs["cell_type"] == "T"]
    assert abs(np.corrcoef(t_cells[:, 1], t_cells[:, 2])[0, 1]) < 0.3


def test_shuffle_within_type_goes_round_a_small_type(train):
    real = train.layers["counts"].toarray()[train.obs["cell_type"] == "NK"]
    n_nk = len(real)
    cells = dense(fitted(ShuffleWithinType, train).sample(3 * n_nk, cell_types=["NK"] * 3 * n_nk, seed=0))
    assert np.array_equal(np.sort(cells, axis=0), np.sort(np.tile(real, (3, 1)), axis=0))


def test_poisson_has_the_rates_of_the_type_at_real_library_sizes(train):
    counts = train.layers["counts"].toarray().astype(float)
    real = counts[train.obs["cell_type"] == "T"]
    library_sizes = real.sum(axis=1)
    proportions = (real / library_sizes[:, None]).mean(axis=0)
    n_cells = 20_000
    cells = dense(fitted(Poisson, train).sample(n_cells, cell_types=["T"] * n_cells, seed=0)).astype(float)

    mean = library_sizes.mean() * proportions
    variance = mean + library_sizes.var() * proportions**2
    assert (np.abs(cells.mean(axis=0) - mean) <= 4.5 * np.sqrt(variance / n_cells)).all()
    assert cells.var(axis=0) == pytest.approx(variance, rel=0.1, abs=0.002)
    # Two genes share only the library size.
    expected_covariance = library_sizes.var() * np.outer(proportions, proportions)[0, 1]
    assert np.cov(cells[:, 0], cells[:, 1])[0, 1] == pytest.approx(expected_covariance, abs=40)
    total = cells.sum(axis=1)
    assert total.mean() == pytest.approx(library_sizes.mean(), rel=0.005)
    assert total.var() == pytest.approx(library_sizes.mean() + library_sizes.var(), rel=0.05)


def test_poisson_tolerates_cells_and_types_without_counts():
    counts = csr_matrix(np.array([[4, 0], [0, 0], [0, 0]], dtype=np.float32))
    adata = AnnData(
        counts,
        obs=pd.DataFrame({"cell_type": ["a", "a", "empty"]}, index=list("xyz")),
        var=pd.DataFrame(index=["g", "h"]),
    )
    adata.layers["counts"] = counts
    cells = fitted(Poisson, adata).sample(4_000, cell_types=["a", "empty"] * 2_000, seed=0)
    assert dense(cells)[1::2].sum() == 0
    assert dense(cells)[:, 1].sum() == 0
    assert dense(cells)[::2, 0].mean() == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("control_class", CONDITIONAL)
def test_requested_types_come_back_in_their_order(control_class, train):
    requested = ["NK", "B", "T", "B", "NK", "T", "T"]
    cells = fitted(control_class, train).sample(7, cell_types=requested, seed=0)
    assert list(cells.obs["cell_type"]) == requested
    assert list(cells.obs["cell_type"].cat.categories) == ["B", "NK", "T"]
    if control_class is not Poisson:
        numbers = dense(cells)[:, 0].astype(int) - 1000
        assert list(train.obs["cell_type"].iloc[numbers]) == requested


@pytest.mark.parametrize("control_class", [ShuffleWithinType, Poisson])
def test_without_requested_types_the_mixture_is_that_of_the_training_cells(control_class, train):
    control = fitted(control_class, train)
    assert sorted(control.sample(N_CELLS, seed=0).obs["cell_type"]) == sorted(train.obs["cell_type"])
    twice = control.sample(2 * N_CELLS, seed=0).obs["cell_type"].value_counts()
    assert (twice == 2 * train.obs["cell_type"].value_counts()[twice.index]).all()


@pytest.mark.parametrize("control_class", CONDITIONAL)
def test_chunks_follow_the_requested_types(control_class, train):
    requested = ["B", "T", "T", "NK", "B"] * 5
    chunks = list(fitted(control_class, train).sample_chunks(25, cell_types=requested, seed=0, chunk_size=10))
    assert [chunk.n_obs for chunk in chunks] == [10, 10, 5]
    assert [t for chunk in chunks for t in chunk.obs["cell_type"]] == requested


@pytest.mark.parametrize("control_class", CONDITIONAL)
def test_wrong_requests_are_named(control_class, train):
    control = fitted(control_class, train)
    with pytest.raises(Unsupported, match="no cell of type 'Mast' to draw from; choose from B, NK, T"):
        control.sample(2, cell_types=["B", "Mast"], seed=0)
    with pytest.raises(GeneratorError, match="3 cells, but 2 cell types"):
        control.sample(3, cell_types=["B", "T"], seed=0)


def test_missing_parts_of_the_training_data_are_named(train):
    without_pool = train.copy()
    del without_pool.obs["control_pool"]
    with pytest.raises(GeneratorError, match=r'real: obs\["control_pool"\] is missing'):
        fitted(Real, without_pool)
    assert fitted(Poisson, without_pool).sample(3, seed=0).n_obs == 3

    empty_pool = train.copy()
    empty_pool.obs["control_pool"] = False
    with pytest.raises(GeneratorError, match="0 of 300 training cells may be drawn"):
        fitted(Memorise, empty_pool)

    without_counts = train.copy()
    del without_counts.layers["counts"]
    with pytest.raises(GeneratorError, match=r'shuffle: layers\["counts"\] is missing'):
        fitted(Shuffle, without_counts)
    with pytest.raises(GeneratorError, match="shuffle: nothing to draw from yet; call fit first"):
        Shuffle().sample(1, seed=0)


@pytest.mark.parametrize("control_class", [Shuffle, ShuffleWithinType])
def test_cost_follows_the_counts_not_cells_times_genes(control_class):
    """A matrix of 20 000 × 200 000 positions (16 GB dense) with 50 000 counts is shuffled whole."""
    rng = np.random.default_rng(0)
    n_cells, n_genes, n_counts = 20_000, 200_000, 50_000
    places = rng.integers(0, n_cells, n_counts), rng.integers(0, n_genes, n_counts)
    counts = csr_matrix((np.ones(n_counts, np.float32), places), shape=(n_cells, n_genes))
    types = pd.Categorical(np.where(np.arange(n_cells) % 2, "a", "b"))
    obs = pd.DataFrame({"cell_type": types}, index=pd.RangeIndex(n_cells).astype(str))
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.RangeIndex(n_genes).astype(str)))
    adata.layers["counts"] = counts
    shuffled = fitted(control_class, adata).sample(n_cells, seed=0).X
    assert np.array_equal(shuffled.sum(axis=0), counts.sum(axis=0))
    assert shuffled.nnz == counts.nnz
