import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.gaussian_process.kernels import RBF

from metrics.cfgen import five_gaussians, mean_over_types, mmd2, projected
from metrics.declaration import NotApplicable
from metrics.optimal_transport import wasserstein2


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def test_the_kernel_is_five_gaussians_with_two_sigma_squared(rng):
    left, right = rng.normal(size=(7, 3)), rng.normal(size=(9, 3))
    expected = sum(RBF(sigma)(left, right) for sigma in (0.01, 0.1, 1, 10, 100))
    np.testing.assert_allclose(five_gaussians(left, right), expected, rtol=1e-12)
    np.testing.assert_allclose(np.diag(five_gaussians(left, left)), 5)


def test_the_discrepancy_by_hand():
    """One cell against one at distance 10: k(x, x) = 5; across e⁻⁵⁰ is nothing, e⁻⁰·⁵ + e⁻⁰·⁰⁰⁵ is left."""
    across = np.exp(-0.5) + np.exp(-0.005)
    assert mmd2(np.array([[0.0]]), np.array([[10.0]])) == pytest.approx(10 - 2 * across, rel=1e-9)
    # A cell is compared with itself, too: two equal samples are at 0, others never below.
    assert mmd2(np.array([[1.0], [4.0]]), np.array([[4.0], [1.0]])) == pytest.approx(0, abs=1e-12)


def test_only_as_many_first_cells_as_the_fewer_count(rng):
    real, synthetic = rng.normal(size=(20, 4)), rng.normal(1, 1, size=(13, 4))
    assert mmd2(real, synthetic) == mmd2(real[:13], synthetic)
    assert mmd2(synthetic, real) == pytest.approx(mmd2(real[:13], synthetic))
    cells = np.vstack([real[:13], synthetic])
    weights = np.repeat([1 / 13, -1 / 13], 13)
    expected = weights @ five_gaussians(cells, cells) @ weights
    assert mmd2(real, synthetic) == pytest.approx(expected)


def test_a_projection_with_the_mean_is_scikit_learns_and_without_it_another_place(rng):
    real, made = rng.poisson(2, size=(60, 12)).astype(float), rng.poisson(1, size=(5, 12)).astype(float)
    pca = PCA(4, svd_solver="full").fit(real)
    with_means = projected(csr_matrix(made), pca.components_, means=pca.mean_)
    np.testing.assert_allclose(with_means, pca.transform(made), atol=1e-10)
    without = projected(csr_matrix(made), pca.components_, means=None)
    np.testing.assert_allclose(without, made @ pca.components_.T, atol=1e-10)
    # The defect: cells without a count lie at the origin, where the real cells' mean lies.
    np.testing.assert_array_equal(projected(csr_matrix((3, 12)), pca.components_, means=None), 0)


def test_the_mean_over_types_is_plain_and_small_types_are_named(rng):
    real_types = np.array(["a"] * 30 + ["b"] * 4 + ["c"] * 1 + ["d"] * 3)
    types = np.array(["b"] * 2 + ["a"] * 10 + ["c"] * 5 + ["d"] * 1 + ["e"] * 6)
    real, made = rng.normal(size=(38, 3)), rng.normal(size=(24, 3))
    mean, by_type, notes = mean_over_types(wasserstein2, (real, real_types), (made, types))
    expected = {"a": wasserstein2(real[:30], made[2:12]), "b": wasserstein2(real[30:34], made[:2])}
    assert by_type == expected
    assert mean == pytest.approx((expected["a"] + expected["b"]) / 2)
    assert notes == [
        "left out c: 1 test and 5 synthetic cells",
        "left out d: 3 test and 1 synthetic cells",
        "left out e: 0 test and 6 synthetic cells",
    ]
    with pytest.raises(NotApplicable, match="no cell type has 2 cells on both sides"):
        mean_over_types(mmd2, (real[34:], real_types[34:]), (made[12:18], types[12:18]))
