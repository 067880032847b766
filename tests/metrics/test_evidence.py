import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA

from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.synthetic_cells import SyntheticCells

N_GENES = 60


def log_cp20k(counts):
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 20_000)


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    types = rng.choice(["B", "NK", "T"], 400)
    rates = rng.gamma(1.0, 3.0, size=(3, N_GENES))[np.unique(types, return_inverse=True)[1]]
    counts = csr_matrix(rng.poisson(rates).astype(np.float32))
    split = np.repeat(["train", "valid", "test"], [280, 20, 100])
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(types),
            "split": pd.Categorical(rng.permutation(split)),
            "control_pool": False,
        },
        index=[f"cell{i}" for i in range(400)],
    )
    obs.loc[obs.index[obs["split"] == "train"][::2], "control_pool"] = True
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    return anndata.AnnData(counts, obs=obs, var=var, layers={"counts": counts})


def test_cells_hold_the_training_and_the_test_cells(adata):
    real = RealEvidence.from_adata(adata, seed=0)
    counts = adata.layers["counts"].toarray()
    split, types = adata.obs["split"].to_numpy(), adata.obs["cell_type"].to_numpy()
    np.testing.assert_allclose(real.train_cells.toarray(), log_cp20k(counts[split == "train"]), rtol=1e-5)
    np.testing.assert_allclose(real.test_cells.toarray(), log_cp20k(counts[split == "test"]), rtol=1e-5)
    assert real.n_cells == 100
    assert real.train_types.tolist() == types[split == "train"].tolist()
    assert real.test_types.tolist() == types[split == "test"].tolist()
    assert real.gene_names[3] == "gene3"


def test_fewer_cells_are_a_seeded_draw_without_replacement(adata):
    real, again, other = (RealEvidence.from_adata(adata, n_cells=40, seed=seed) for seed in (0, 0, 1))
    assert np.unique(real.test_rows).size == 40
    np.testing.assert_array_equal(real.test_rows, again.test_rows)
    assert not np.array_equal(real.test_rows, other.test_rows)
    whole = RealEvidence.from_adata(adata, seed=0)
    np.testing.assert_array_equal(real.test_cells.toarray(), whole.test_cells.toarray()[real.test_rows])
    np.testing.assert_array_equal(real.test_types, whole.test_types[real.test_rows])


def test_at_most_2000_test_cells_are_used_by_default():
    counts = np.ones((2500, 3))
    real = RealEvidence(
        counts, counts, train_types=None, test_types=None, control_pool=None, gene_names=[*"abc"], seed=0
    )
    assert real.n_cells == real.test_cells.shape[0] == 2000


def test_the_pca_is_fitted_on_training_cells_that_are_in_no_control(adata):
    real = RealEvidence.from_adata(adata, seed=0)
    outside = real.train_cells.toarray().astype(np.float64)[~real.control_pool]
    assert outside.shape[0] == 140
    expected = PCA(50, svd_solver="full").fit(outside)
    np.testing.assert_allclose(real.pca.explained_variance_, expected.explained_variance_, rtol=1e-4)
    scores = expected.transform(real.test_cells.toarray())
    np.testing.assert_allclose(np.abs(real.pca_scores[:, :5]), np.abs(scores[:, :5]), atol=1e-2)
    assert real.pca_notes == []


def test_cells_of_the_control_pool_do_not_move_the_pca(adata):
    before = RealEvidence.from_adata(adata, seed=0).pca_scores
    counts = adata.layers["counts"].toarray()
    counts[adata.obs["control_pool"].to_numpy()] = 7
    adata.layers["counts"] = csr_matrix(counts)
    np.testing.assert_array_equal(RealEvidence.from_adata(adata, seed=0).pca_scores, before)


def test_few_cells_get_fewer_components_and_a_note(adata):
    outside = np.flatnonzero((adata.obs["split"] == "train") & ~adata.obs["control_pool"])[:9]
    rest = np.flatnonzero((adata.obs["split"] == "test") | adata.obs["control_pool"])
    real = RealEvidence.from_adata(adata[np.concatenate([outside, rest])].copy(), seed=0)
    assert real.pca_scores.shape == (100, 8)
    assert real.pca_notes == ["8 principal components instead of 50"]


def test_a_pool_of_all_training_cells_leaves_no_pca(adata):
    adata.obs["control_pool"] = True
    with pytest.raises(NotApplicable, match="0 cells × 60 genes are too few for a PCA"):
        RealEvidence.from_adata(adata, seed=0).pca_scores  # noqa: B018


def test_what_the_real_side_refuses(adata):
    counts = np.ones((30, 3))
    given = {"train_types": None, "test_types": None, "control_pool": None, "gene_names": [*"abc"], "seed": 0}
    for change, message in (
        ({"n_cells": 31}, "n_cells is 31; the test split allows 1 to 30"),
        ({"n_cells": 0}, "n_cells is 0"),
        ({"gene_names": [*"ab"]}, "training cells have 3 genes, gene_names 2"),
        ({"test_types": ["T"]}, "1 cell types for 30 test cells"),
        ({"control_pool": np.ones(4, bool)}, "control_pool marks 4 cells, not the 30"),
        ({"protocol": "lenient"}, "protocol 'lenient' is unknown: choose from strict, activa2022"),
    ):
        with pytest.raises(ValueError, match=message):
            RealEvidence(counts, counts, **{**given, **change})
    with pytest.raises(ValueError, match="test cells hold 1 NaN or infinite and 1 negative values"):
        RealEvidence(counts, np.array([[1, np.nan, -1]]), **given)


def test_synthetic_cells_of_every_space_land_on_the_same_values(adata):
    real = RealEvidence.from_adata(adata, n_cells=50, seed=0)
    counts = np.random.default_rng(1).poisson(3.0, size=(50, N_GENES))
    cp20k = counts / counts.sum(axis=1, keepdims=True) * 20_000
    for space, matrix in (("counts", counts), ("cp20k", cp20k), ("log_cp20k", np.log1p(cp20k))):
        sample = SampleEvidence(real, matrix, space=space)
        np.testing.assert_allclose(sample.cells.toarray(), np.log1p(cp20k), rtol=1e-4)
    expected = (np.log1p(cp20k) - real.pca.mean_) @ real.pca.components_.T
    np.testing.assert_allclose(sample.pca_scores, expected, atol=1e-2)


def test_test_cells_made_again_have_the_test_cells_scores(adata):
    real = RealEvidence.from_adata(adata, seed=0)
    sample = SampleEvidence(
        real, adata.layers["counts"][np.flatnonzero(adata.obs["split"] == "test")], space="counts"
    )
    np.testing.assert_array_equal(sample.cells.toarray(), real.test_cells.toarray())
    np.testing.assert_array_equal(sample.pca_scores, real.pca_scores)


def test_of_more_cells_some_are_drawn_with_their_types(adata):
    real = RealEvidence.from_adata(adata, n_cells=50, seed=0)
    matrix = np.tile(np.arange(1, 201)[:, None], (1, N_GENES))
    sample = SampleEvidence(real, matrix, space="counts", cell_types=[f"type{i}" for i in range(1, 201)])
    drawn = sample.matrix.toarray()[:, 0].astype(int)
    assert np.unique(drawn).size == 50
    assert drawn.max() > 150
    assert sample.cell_types.tolist() == [f"type{i}" for i in drawn]


def test_what_the_synthetic_side_refuses(adata):
    real = RealEvidence.from_adata(adata, seed=0)
    with pytest.raises(ValueError, match="99 synthetic cells; comparing with 100 test cells"):
        SampleEvidence(real, np.ones((99, N_GENES)), space="counts")
    with pytest.raises(ValueError, match="synthetic cells have 59 genes, real ones 60"):
        SampleEvidence(real, np.ones((100, 59)), space="counts")
    with pytest.raises(ValueError, match="1 cell types for 100 synthetic cells"):
        SampleEvidence(real, np.ones((100, N_GENES)), space="counts", cell_types=["T"])


def test_impossible_values_are_counted_when_a_metric_needs_the_cells():
    cells = SyntheticCells(np.array([[1, np.nan, -1], [np.inf, 2, 3]]), space="cp20k")
    with pytest.raises(NotApplicable, match="hold 2 NaN or infinite and 1 negative values"):
        cells.cells  # noqa: B018


def test_logged_values_that_overflow_are_named():
    cells = SyntheticCells(np.array([[1.0, 2.0], [20_000.0, 0.0]]), space="log_cp20k")
    with pytest.raises(NotApplicable, match="1 synthetic cells hold values too large for log_cp20k"):
        cells.cells  # noqa: B018


def test_library_size_error_is_the_median_deviation():
    cp20k = np.array([[20_000.0, 0], [10_000, 5_000], [20_000, 2_000]])
    assert SyntheticCells(cp20k, space="cp20k").library_size_error == pytest.approx(0.1)
    assert SyntheticCells(np.log1p(cp20k), space="log_cp20k").library_size_error == pytest.approx(
        0.1, rel=1e-4
    )
    assert SyntheticCells(cp20k, space="counts").library_size_error is None


def test_empty_cells_stay_zero_and_are_counted():
    cells = SyntheticCells(np.array([[0.0, 0], [1, 1], [0, 0]]), space="counts")
    assert cells.n_empty_cells == 2
    assert cells.cells.toarray()[0].tolist() == [0, 0]
    assert cells.notes == ["2 of 3 synthetic cells are all zero"]


def test_counts_that_are_not_whole_are_noted_not_guessed_to_be_something_else():
    values = np.array([[1.0, 2.5], [3.0, 4.0]])
    note = "25.0% of the non-zero values are not whole numbers, though counts are declared"
    assert SyntheticCells(values, space="counts").notes == [note]
    assert SyntheticCells(values, space="cp20k").notes == []
