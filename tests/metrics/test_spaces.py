import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from metrics.spaces import as_csr, library_sizes, normalise, to_linear, to_log_cp20k

COUNTS = np.array([[1, 0, 3], [0, 0, 0], [0, 5, 0]], dtype=np.float32)
CP20K = np.array([[5000, 0, 15000], [0, 0, 0], [0, 20000, 0]], dtype=np.float32)


def test_normalise_scales_each_cell_to_20000_and_keeps_empty_cells():
    np.testing.assert_allclose(normalise(COUNTS).toarray(), CP20K, rtol=1e-6)


@pytest.mark.parametrize(
    "space, values", [("counts", COUNTS), ("cp20k", CP20K), ("log_cp20k", np.log1p(CP20K))]
)
def test_every_space_arrives_at_the_same_log_values(space, values):
    for matrix in (values, csr_matrix(values), csr_array(values)):
        np.testing.assert_allclose(to_log_cp20k(matrix, space=space).toarray(), np.log1p(CP20K), rtol=1e-5)


def test_cells_of_another_library_size_are_rescaled_also_when_logged():
    wrong = CP20K * np.array([[0.5], [1], [3]])
    for space, values in (("cp20k", wrong), ("log_cp20k", np.log1p(wrong))):
        np.testing.assert_allclose(to_log_cp20k(values, space=space).toarray(), np.log1p(CP20K), rtol=1e-5)


def test_library_sizes_are_summed_in_double_precision():
    cells = as_csr(np.array([[2**24, 1, 1]], dtype=np.float32))
    assert library_sizes(cells)[0] == 2**24 + 2


def test_as_csr_merges_duplicates_drops_zeros_and_leaves_its_input_alone():
    messy = csr_matrix(
        (np.array([1.0, 0.0, 2.0, 3.0]), np.array([2, 1, 2, 0]), np.array([0, 4])), shape=(1, 3)
    )
    tidy = as_csr(messy)
    assert tidy.indices.tolist() == [0, 2]
    assert tidy.data.tolist() == [3.0, 3.0]
    assert messy.data.tolist() == [1.0, 0.0, 2.0, 3.0]


def test_normalising_float32_cells_leaves_them_as_they_were():
    cells = csr_matrix(COUNTS)
    to_log_cp20k(cells, space="counts")
    np.testing.assert_array_equal(cells.toarray(), COUNTS)


def test_an_unknown_space_is_named():
    with pytest.raises(ValueError, match="'tpm' is unknown; use one of counts, cp20k, log_cp20k"):
        to_linear(COUNTS, space="tpm")
