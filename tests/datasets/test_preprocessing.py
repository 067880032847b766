import numpy as np
import pytest
from scipy import sparse

import datasets
from datasets import DatasetError
from datasets.counts import checked_values, find_matrix, take_matrix, whole_matrices
from datasets.preprocessing import kept_cells_and_genes, normalise
from tests.datasets.dataset_files import make_cells


def test_filters_drop_cells_first_then_genes_then_what_that_empties():
    counts = np.zeros((6, 24))
    counts[:4, :10] = 1  # four good cells
    counts[0, 10] = 5  # gene 10: seen in cell 0 and in the two cells that do not count
    counts[4, [0, 10, 11, 12, 13, 14, 15, 16, 17]] = 3  # nine genes: one too few
    counts[5, 14:24] = 1  # ten genes, each seen nowhere else that counts
    cells, genes = kept_cells_and_genes(sparse.csr_matrix(counts))
    np.testing.assert_array_equal(cells, [True] * 4 + [False] * 2)
    np.testing.assert_array_equal(genes, [True] * 10 + [False] * 14)


def test_a_gene_seen_in_exactly_three_cells_stays_and_in_two_goes():
    counts = np.ones((4, 12))
    counts[0, 0] = 0
    counts[:2, 1] = 0
    _, genes = kept_cells_and_genes(sparse.csr_matrix(counts))
    assert genes[0]
    assert not genes[1]


def test_normalise_gives_each_cell_a_library_of_20000():
    scaled = normalise(sparse.csr_matrix(np.array([[1, 0, 3], [5, 5, 0]], dtype=np.float32)))
    np.testing.assert_allclose(scaled.toarray(), [[5000, 0, 15000], [10000, 10000, 0]])
    assert scaled.dtype == np.float32


def test_whole_counts_keeps_values_and_drops_stored_zeros():
    stored = sparse.csr_matrix(
        (np.array([2.0, 0.0, 7.0]), np.array([1, 0, 2]), np.array([0, 2, 3])), shape=(2, 3)
    )
    counts = checked_values(stored)
    np.testing.assert_array_equal(counts.toarray(), [[0, 2, 0], [0, 0, 7]])
    assert counts.nnz == 2
    assert counts.dtype == np.float32


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1, "negative"), (1.5, "not whole")]
)
def test_a_wrong_value_is_named_with_its_place(value, words):
    matrix = np.ones((3, 4))
    matrix[1, 2] = value
    for form in (matrix, sparse.csc_matrix(matrix)):
        with pytest.raises(
            DatasetError, match=rf"X holds 1 values that are {words}.*{value}.* cell 1, gene 2"
        ):
            checked_values(form)


@pytest.mark.parametrize("dtype", ["float16", ">f4", ">i8", "bool", "uint8", "longdouble"])
def test_counts_of_any_number_type_are_taken(dtype):
    matrix = np.array([[0, 1, 0], [1, 1, 0]]).astype(dtype)
    counts = checked_values(matrix)
    np.testing.assert_array_equal(counts.toarray(), [[0, 1, 0], [1, 1, 0]])
    assert counts.dtype == np.float32


@pytest.mark.parametrize(
    ("indices", "indptr"), [([0, 9], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 3, 2])]
)
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_indices_that_point_nowhere_are_refused(form, indices, indptr):
    damaged = form((2, 2))
    damaged.data = np.ones(2)
    damaged.indices, damaged.indptr = np.array(indices), np.array(indptr)
    with pytest.raises(DatasetError, match="X is a damaged sparse matrix") as caught:
        checked_values(damaged)
    assert "\n" not in str(caught.value)


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(DatasetError, match="type object, not numbers"):
        checked_values(np.array([["a", "b"]], dtype=object))


def test_counts_are_taken_from_the_layer_named_so_else_from_x():
    adata = make_cells()
    assert find_matrix(adata, None) == "X"
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.log1p()
    assert find_matrix(adata, None) == "counts"
    assert find_matrix(adata, None, counts=False) == find_matrix(adata, "X") == "X"
    np.testing.assert_array_equal(take_matrix(adata, "counts").toarray(), make_cells().X.toarray())
    assert whole_matrices(adata) == ["counts"]
    del adata.layers["counts"]
    adata.X = None
    with pytest.raises(DatasetError, match="hold no X: give whole-number counts"):
        find_matrix(adata, None)


def test_values_that_need_not_be_whole_must_still_be_finite_and_not_negative():
    adata = make_cells()
    adata.X = adata.X * 0.5
    np.testing.assert_array_equal(
        take_matrix(adata, "X", counts=False).toarray(), make_cells().X.toarray() / 2
    )
    for value, words in ((-0.5, "negative"), (np.nan, "NaN"), (np.inf, "infinite")):
        adata.X[0, 0] = value
        with pytest.raises(DatasetError, match=f"X holds 1 values that are {words}.*--layer"):
            take_matrix(adata, "X", counts=False)


def test_a_refused_matrix_names_those_that_hold_whole_numbers():
    adata = make_cells()
    adata.raw = adata.copy()
    adata.layers["spliced"] = adata.X.toarray().astype(np.int64)
    adata.layers["scaled"] = adata.X.toarray() - 1
    adata.layers["empty"] = adata.X * 0
    adata.X = adata.X.log1p()
    words = r"layers\['spliced'\] and \.raw hold whole numbers: take --layer spliced or --layer raw"
    with pytest.raises(DatasetError, match=words):
        take_matrix(adata, "X")
    np.testing.assert_array_equal(take_matrix(adata, "raw").toarray(), make_cells().X.toarray())
    with pytest.raises(
        DatasetError, match="no matrix 'ra': choose --layer from X, spliced, scaled, empty, raw"
    ):
        find_matrix(adata, "ra")
    adata.layers["raw"] = adata.X
    with pytest.raises(DatasetError, match=r"\.raw and layers\['raw'\]"):
        find_matrix(adata, "raw")


@pytest.mark.parametrize("n_cells", [0, 90])
def test_a_file_without_any_count_is_named(n_cells, cache, tmp_path):
    adata = make_cells()[:n_cells].copy()
    adata.X = adata.X * 0
    adata.write_h5ad(tmp_path / "silent.h5ad")
    with pytest.raises(DatasetError, match=rf"silent: no counts at all in {n_cells} cells × 60 genes: give"):
        datasets.prepare(tmp_path / "silent.h5ad", cache_folder=cache)
