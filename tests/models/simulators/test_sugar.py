import numpy as np
import pytest
from baseline_cases import as_training_cells, dense, fitted
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from models.simulators.sugar import (
    Sugar,
    components,
    diffusion,
    nearest,
    neighbourhoods,
    points_around,
    pulled,
    squared_distances,
)


@pytest.fixture(scope="module")
def cells():
    """Twice as many of one type as of another, which differ in every gene."""
    rng = np.random.default_rng(0)
    rates = np.array([[8.0, 2.0] * 10, [2.0, 8.0] * 10])
    types = np.array(["common"] * 200 + ["scarce"] * 40)
    return as_training_cells(rng.poisson(rates[(types == "scarce").astype(int)]), types)


@pytest.fixture(scope="module")
def model(cells):
    return fitted(Sugar(), cells)


def test_components_are_those_of_a_whole_decomposition_and_lead_back(cells):
    counts = cells.layers["counts"].toarray()
    logged = np.log1p(20_000 * counts / counts.sum(axis=1, keepdims=True))
    known = components(cells.layers["counts"], seed=0)
    expected = PCA(19, svd_solver="full").fit(logged)
    assert np.abs(known["points"]) == pytest.approx(np.abs(expected.transform(logged)), abs=1e-2)
    assert known["points"] @ known["loadings"] + known["means"] == pytest.approx(
        expected.inverse_transform(expected.transform(logged)), abs=1e-3
    )


def test_neighbours_and_their_kernel_are_those_of_scipys_distances():
    rng = np.random.default_rng(0)
    block, points = rng.normal(size=(7, 3)), rng.normal(size=(25, 3))
    known = neighbourhoods(points, 4) | {"points": points}
    near, weights = nearest(block, known)
    distances = cdist(block, points)
    assert np.array_equal(np.sort(near), np.sort(np.argsort(distances)[:, :4]))
    expected = np.exp(-(distances**2) / (2 * known["widths"] ** 2))
    assert weights == pytest.approx(np.take_along_axis(expected, near, axis=1))
    assert known["widths"] == pytest.approx(np.sort(cdist(points, points))[:, 4])


def test_the_number_of_points_is_that_of_the_source():
    """Its bound with the covariance written out, cell by cell."""
    points = np.random.default_rng(0).normal(size=(30, 4))
    known, width = neighbourhoods(points, 6), 0.8
    known["degrees"] = np.exp(-squared_distances(points, points) / (2 * width**2)).sum(axis=1)
    assert squared_distances(points, points) == pytest.approx(cdist(points, points) ** 2, abs=1e-12)
    found = points_around(points, known, width)
    for cell in range(30):
        nearest = np.argsort(cdist(points[cell : cell + 1], points)[0])[1:7]
        covariance = np.cov(points[nearest].T, bias=True)
        volume = np.sqrt(np.linalg.det(np.eye(4) + covariance / (2 * width**2)))
        degree = known["degrees"][cell]
        assert found[cell] == pytest.approx(volume * (known["degrees"].max() - degree) / (degree + 1))


def test_diffusion_is_the_product_of_two_kernels():
    rng = np.random.default_rng(0)
    points, references, block = (rng.normal(size=(n, 3)) for n in (20, 40, 6))
    known = neighbourhoods(points, 4) | {"points": points, "degrees": rng.random(20) + 1}
    known |= diffusion(references, known)

    def kernel(rows):
        distances = cdist(rows, points)
        reached = distances <= np.sort(distances)[:, 3:4]
        return reached * np.exp(-(distances**2) / (2 * known["widths"] ** 2))

    operator = kernel(block) @ np.diag(1 / known["degrees"]) @ kernel(references).T
    expected = operator / operator.sum(axis=1, keepdims=True) @ references
    assert pulled(block, known)[0] == pytest.approx(expected)


def test_a_point_far_from_all_stays_where_it_is(model):
    known = model._parameters
    far = np.full((1, known["points"].shape[1]), 1e4)
    assert np.array_equal(pulled(far, known)[0], far)


def test_sparse_cells_get_more_points(model, cells):
    drawn = model.sample(1000, seed=0)
    share = (drawn.obs["cell_type"] == "scarce").mean()
    assert share > 1.5 * (cells.obs["cell_type"] == "scarce").mean()


def test_requested_types_look_like_their_own_cells(model, cells):
    wanted = ["scarce", "common", "scarce"] * 100
    drawn = model.sample(300, cell_types=wanted, seed=0)
    assert list(drawn.obs["cell_type"]) == wanted
    counts = cells.layers["counts"].toarray()
    logged = np.log1p(20_000 * counts / counts.sum(axis=1, keepdims=True))
    means = {name: logged[cells.obs["cell_type"] == name].mean(axis=0) for name in ("common", "scarce")}
    apart = np.linalg.norm(means["common"] - means["scarce"])
    for name, mean in means.items():
        # Outlying cells are drawn from more often: the mean is not the type's, but it is on its side.
        ours = dense(drawn)[np.array(wanted) == name].mean(axis=0)
        assert np.linalg.norm(ours - mean) < apart / 3


def test_values_are_logged_and_not_negative(model):
    drawn = dense(model.sample(200, seed=0))
    assert drawn.min() >= 0
    assert drawn.max() <= np.log1p(20_000) + 1e-5
