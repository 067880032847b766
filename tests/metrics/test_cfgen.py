import numpy as np
import pytest
import scanpy
from scipy.optimize import linear_sum_assignment
from sklearn.gaussian_process.kernels import RBF

from metrics.cfgen import five_gaussians, mean_over_types, mmd2
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.marker_genes import seurat_v3_genes
from metrics.mmd import METRIC as MMD
from metrics.optimal_transport import WASSERSTEIN2, wasserstein2
from metrics.spaces import as_csr


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


def evidence(test, types, *, protocol, train=None, n_genes=12):
    train = np.random.default_rng(4).poisson(2, size=(40, n_genes)) if train is None else train
    return RealEvidence(
        train,
        test,
        train_types=["a", "b"] * (len(train) // 2),
        test_types=types,
        control_pool=None,
        gene_names=[f"g{number}" for number in range(n_genes)],
        seed=0,
        protocol=protocol,
    )


def by_hand(test, types, made, made_types, *, n_components, centred):
    """Do all again: normalise to 10 000, log1p, singular vectors, assignment, Gaussians."""

    def logged(counts):
        return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))

    real, synthetic = logged(test), logged(made)
    mean = real.mean(axis=0)
    axes = np.linalg.svd(real - mean, full_matrices=False)[2][:n_components].T
    real, synthetic = (real - mean) @ axes, (synthetic - mean if centred else synthetic) @ axes
    mmds, costs = [], []
    for name in sorted(set(types) & set(made_types)):
        ours, theirs = real[types == name], synthetic[made_types == name]
        squared = ((ours[:, None] - theirs[None]) ** 2).sum(-1)
        costs.append(np.sqrt(squared[linear_sum_assignment(squared)].mean()))
        kernels = [
            sum(RBF(sigma)(x, y) for sigma in (0.01, 0.1, 1, 10, 100)).mean()
            for x, y in ((ours, ours), (theirs, theirs), (ours, theirs))
        ]
        mmds.append(kernels[0] + kernels[1] - 2 * kernels[2])
    return np.mean(mmds), np.mean(costs)


@pytest.mark.parametrize(("protocol", "centred"), [("cfgen2026", True), ("cfgen2025", False)])
def test_scores_are_those_of_the_authors_definition(rng, protocol, centred):
    types = np.array(["a"] * 20 + ["b"] * 16)
    test, made = rng.poisson(3, size=(36, 12)) + 1.0, rng.poisson(4, size=(36, 12)) + 1.0
    real = evidence(test, types, protocol=protocol)
    sample = SampleEvidence(real, made, space="counts", cell_types=types)
    # Of 12 genes 11 components are left.
    mmd, cost = by_hand(test, types, made, types, n_components=11, centred=centred)
    assert MMD.compute(real, sample).values == pytest.approx({"mmd": mmd}, rel=1e-5)
    assert WASSERSTEIN2.compute(real, sample).values == pytest.approx({"wasserstein2": cost}, rel=1e-5)


def test_empty_cells_are_at_the_origin_where_the_means_were_forgotten(rng):
    types = np.array(["a"] * 15 + ["b"] * 15)
    # High means: forgetting them carries everything but empty cells far away.
    test = rng.poisson(30, size=(30, 12)) + 1.0
    found = {}
    for protocol in ("cfgen2025", "cfgen2026"):
        real = evidence(test, types, protocol=protocol)
        for name, cells in (("real", test[::-1]), ("empty", np.zeros((30, 12)))):
            sample = SampleEvidence(real, cells, space="counts", cell_types=types)
            found[protocol, name] = WASSERSTEIN2.compute(real, sample).headline
    assert found["cfgen2025", "empty"] < found["cfgen2025", "real"]
    assert found["cfgen2026", "real"] < found["cfgen2026", "empty"]


def test_cells_without_types_have_no_number(rng):
    types = np.array(["a"] * 15 + ["b"] * 15)
    real = evidence(rng.poisson(3, size=(30, 12)) + 1.0, types, protocol="cfgen2026")
    sample = SampleEvidence(real, rng.poisson(3, size=(30, 12)), space="counts")
    with pytest.raises(
        NotApplicable, match="cfgen2026 is a mean over types, and the synthetic cells have none"
    ):
        MMD.compute(real, sample)


def test_where_the_regression_fails_there_is_a_reason(rng):
    with pytest.raises(NotApplicable, match="seurat_v3 finds no variable genes among 3 cells"):
        seurat_v3_genes(as_csr(rng.poisson(0.01, size=(3, 2500))))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["cfgen2025", "cfgen2026"])
def test_real_cells_score_as_by_scanpy(shared_data, protocol):
    """pbmc3k, 2 000 of 32 738 genes chosen by scanpy on the test cells, against a pipeline of its own."""
    adata = scanpy.read_h5ad(shared_data / "pbmc3k.h5ad")
    rng = np.random.default_rng(0)
    order = rng.permutation(adata.n_obs)
    test, made, train = (
        adata[order[part]].copy() for part in (slice(0, 600), slice(600, 1200), slice(1200, None))
    )
    real = RealEvidence(
        train.X,
        test.X,
        train_types=train.obs["cell_type"].to_numpy(str),
        test_types=test.obs["cell_type"].to_numpy(str),
        control_pool=None,
        gene_names=adata.var_names.to_numpy(str),
        seed=0,
        protocol=protocol,
    )
    sample = SampleEvidence(real, made.X, space="counts", cell_types=made.obs["cell_type"].to_numpy(str))
    scanpy.pp.highly_variable_genes(test, n_top_genes=2000, flavor="seurat_v3")
    chosen = test.var["highly_variable"].to_numpy()
    for side in (test, made):
        scanpy.pp.normalize_total(side, target_sum=1e4)
        scanpy.pp.log1p(side)
    ours, theirs = (side.X.toarray()[:, chosen].astype(float) for side in (test, made))
    mean = ours.mean(axis=0)
    axes = np.linalg.svd(ours - mean, full_matrices=False)[2][:30].T
    places = (ours - mean) @ axes, (theirs - mean * (protocol == "cfgen2026")) @ axes
    labels = [side.obs["cell_type"].to_numpy(str) for side in (test, made)]
    expected = mean_over_types(wasserstein2, (places[0], labels[0]), (places[1], labels[1]))[0]
    assert WASSERSTEIN2.compute(real, sample).headline == pytest.approx(expected, rel=1e-4)
    expected = mean_over_types(mmd2, (places[0], labels[0]), (places[1], labels[1]))[0]
    assert MMD.compute(real, sample).headline == pytest.approx(expected, rel=1e-4)
