import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA

from metrics.evidence import RealEvidence, SampleEvidence
from metrics.marker_genes import variable_genes
from metrics.protocols import PROTOCOLS, protocol_named
from metrics.spaces import observed_counts
from tests.conftest import make_prepared


def real_under(protocol, **options):
    return RealEvidence.from_adata(make_prepared(), seed=0, protocol=protocol, **options)


def test_the_table_of_protocols():
    assert {
        name: (p.genes, p.space, p.rescale, p.most_cells, p.pca_cells, p.rf_auc_input, p.rf_auc_split)
        for name, p in PROTOCOLS.items()
    } == {
        "strict": ("all", "log_cp20k", True, 2000, "train", "genes", "five_folds"),
        "activa2022": ("all", "log_cp20k", False, None, "train_and_test", "genes", "five_folds"),
        "groundgan2024": ("variable_1000", "cp20k", True, 1000, "classifier", "pca", "70/30"),
        "cfgen2025": ("variable_2000_of_test", "log_cp10k", True, None, "test", "genes", "five_folds"),
        "cfgen2026": ("variable_2000_of_test", "log_cp10k", True, None, "test", "genes", "five_folds"),
    }
    assert {
        name: (p.mmd_input, p.mmd_bandwidth, p.mmd_kernel_weight, p.mixing, p.control)
        for name, p in PROTOCOLS.items()
    } == {
        "strict": ("pca", "neighbours", 1, "pca", "train"),
        "activa2022": ("pca", "neighbours", 1, None, "train"),
        "groundgan2024": ("genes", "bootstrap", 3, "tsne", "test_halves"),
        "cfgen2025": ("pca", "neighbours", 1, None, "train"),
        "cfgen2026": ("pca", "neighbours", 1, None, "train"),
    }
    assert {
        name: (p.scaled_over, p.n_components, p.centred, p.over_types) for name, p in PROTOCOLS.items()
    } == dict.fromkeys(("strict", "activa2022", "groundgan2024"), ("chosen genes", 50, True, False)) | {
        "cfgen2025": ("all genes", 30, False, True),
        "cfgen2026": ("all genes", 30, True, True),
    }


def test_names_of_protocols():
    observed = protocol_named("strict+observed")
    assert (observed.name, observed.base, observed.observed) == ("strict+observed", "strict", True)
    assert protocol_named("strict") is PROTOCOLS["strict"]
    for name in ("lenient", "observed", "strict+observed+observed"):
        with pytest.raises(ValueError, match="is unknown: choose from strict, activa2022, groundgan2024"):
            protocol_named(name)


@pytest.mark.parametrize(
    ("protocol", "available", "expected"),
    [("strict", 7000, 2000), ("strict", 300, 300), ("activa2022", 7000, 7000), ("groundgan2024", 7000, 1000)],
)
def test_cells_a_side(protocol, available, expected):
    assert protocol_named(protocol).cells_a_side(available) == expected


def test_activa2022_takes_normalised_cells_as_they_come_and_normalises_counts():
    real = real_under("activa2022")
    expression = np.random.default_rng(1).gamma(1.0, 5.0, (30, 60))
    logged = np.log1p(expression)
    for space, matrix in (("cp20k", expression), ("log_cp20k", logged)):
        np.testing.assert_allclose(
            SampleEvidence(real, matrix, space=space).cells.toarray(), logged, rtol=1e-5
        )
    scaled = expression / expression.sum(axis=1, keepdims=True) * 20_000
    as_counts = SampleEvidence(real, expression, space="counts").cells.toarray()
    np.testing.assert_allclose(as_counts, np.log1p(scaled), rtol=1e-4)


def test_activa2022_fits_the_pca_on_training_and_test_cells():
    real = real_under("activa2022", n_cells=20)
    adata = make_prepared()
    scaled = np.log1p(adata.X.toarray().astype(np.float64))
    expected = PCA(50, svd_solver="full").fit(scaled)
    np.testing.assert_allclose(real.pca.explained_variance_, expected.explained_variance_, rtol=1e-4)


def test_the_null_is_seen_on_the_same_components_as_everybody():
    adata = make_prepared()
    null = RealEvidence.from_adata(
        adata, test=(adata.obs["null_half"] == 1).to_numpy(), seed=0, protocol="activa2022"
    )
    np.testing.assert_array_equal(null.pca.components_, real_under("activa2022").pca.components_)
    assert null.n_cells == 30


def test_groundgan2024_compares_the_most_dispersed_genes_without_logarithm():
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (150, 1200)).astype(np.float32)
    # Genes that half of the cells express strongly have the same mean as others, and more dispersion.
    planted = np.arange(7, 1200, 60)
    counts[:, planted] = rng.poisson(4.0, (150, 20)) * (np.arange(150) % 2)[:, None]
    adata = make_prepared(n_genes=1200)
    adata.layers["counts"] = csr_matrix(counts)
    real = RealEvidence.from_adata(adata, seed=0, protocol="groundgan2024")
    assert set(adata.var_names[planted]) <= set(real.gene_names)
    assert real.gene_names.size == real.train_cells.shape[1] == real.test_counts.shape[1] == 1000
    test = counts[(adata.obs["split"] == "test").to_numpy()]
    chosen = adata.var_names.get_indexer(real.gene_names)
    # Counts of the chosen genes alone make the library size.
    scaled = test[:, chosen] / test[:, chosen].sum(axis=1, keepdims=True) * 20_000
    np.testing.assert_allclose(real.test_cells.toarray(), scaled, rtol=1e-5)
    np.testing.assert_allclose(real.train_cells.sum(axis=1), 20_000, rtol=1e-5)
    np.testing.assert_array_equal(real.test_counts.toarray(), test[:, chosen])
    sample = SampleEvidence(real, test, space="counts")
    np.testing.assert_allclose(sample.cells.toarray(), real.test_cells.toarray())
    assert sample.library_sizes.tolist() == test.sum(axis=1).tolist()


def test_groundgan2024_chooses_genes_on_all_cells_and_scales_expression_over_them_alone():
    rng = np.random.default_rng(1)
    adata = make_prepared(n_genes=1200)
    counts, is_test = rng.poisson(2.0, (150, 1200)).astype(np.float32), adata.obs["split"] == "test"
    # Silent among the training cells, and loud in a few test cells; on average as the others are, since
    # dispersions are standardised among genes of like means: these alone would differ in no digit.
    only_in_test = np.arange(5, 1200, 100)
    counts[:, only_in_test] = 0
    counts[np.ix_(np.flatnonzero(is_test)[:4], only_in_test)] = 120
    adata.layers["counts"] = csr_matrix(counts)
    real = RealEvidence.from_adata(adata, seed=0, protocol="groundgan2024")
    assert set(adata.var_names[only_in_test]) <= set(real.gene_names)
    # Whichever cells stand as test cells, as for the null and for halves, the genes are the same.
    null = RealEvidence.from_adata(
        adata, test=(adata.obs["null_half"] == 1).to_numpy(), seed=0, protocol="groundgan2024"
    )
    assert null.gene_names.tolist() == real.gene_names.tolist()
    chosen = adata.var_names.get_indexer(real.gene_names)
    made = rng.gamma(1.0, 5.0, (30, 1200))
    sample = SampleEvidence(real, made, space="cp20k")
    expected = made[:, chosen] / made[:, chosen].sum(axis=1, keepdims=True) * 20_000
    np.testing.assert_allclose(sample.cells.toarray(), expected, rtol=1e-4)


def test_few_genes_are_all_variable():
    assert variable_genes(csr_matrix(np.ones((5, 4))), n_genes=4).tolist() == [0, 1, 2, 3]
    assert real_under("groundgan2024").gene_names.size == 60


def test_observed_cells_are_counts_at_library_sizes_of_training_cells_of_their_type():
    adata = make_prepared()
    counts = adata.layers["counts"].toarray()
    # Types differ in depth by orders of magnitude.
    depth = {"alpha": 1, "beta": 40, "gamma": 900}
    counts *= adata.obs["cell_type"].map(depth).to_numpy(dtype=float)[:, None]
    adata.layers["counts"] = csr_matrix(counts)
    real = RealEvidence.from_adata(adata, seed=0, protocol="strict+observed")
    expression = np.log1p(adata.X[:30].toarray())
    types = adata.obs["cell_type"].to_numpy(dtype=str)[:30].copy()
    types[0] = "omega"
    sample = SampleEvidence(real, expression, space="log_cp20k", cell_types=types)
    seen = sample.matrix.toarray()
    assert (sample.space, sample.is_observed) == ("counts", True)
    np.testing.assert_array_equal(seen, np.round(seen))
    sizes = {name: real.train_library_sizes[real.train_types == name] for name in depth}
    for name, size in zip(types[1:], sample.library_sizes[1:], strict=True):
        # Poisson sums lie within five standard deviations of a library size of that type.
        assert np.abs(sizes[name] - size).min() < 5 * np.sqrt(size)
        assert sizes[name].min() - 5 * np.sqrt(size) < size < sizes[name].max() + 5 * np.sqrt(size)
    assert sample.notes == ["observed: Poisson counts at library sizes of training cells"]
    again = SampleEvidence(real, expression, space="log_cp20k", cell_types=types)
    np.testing.assert_array_equal(again.matrix.toarray(), seen)
    expected = np.log1p(seen / seen.sum(axis=1, keepdims=True) * 20_000)
    np.testing.assert_allclose(sample.cells.toarray(), expected, rtol=1e-5)


def test_counts_are_never_observed_again():
    real = real_under("strict+observed")
    counts = make_prepared().layers["counts"][:30]
    sample = SampleEvidence(real, counts, space="counts")
    assert not sample.is_observed
    np.testing.assert_array_equal(sample.matrix.toarray(), counts.toarray())
    assert sample.notes == []


def test_observed_counts_have_the_expression_as_their_mean():
    expression = np.array([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0]]).repeat(4000, axis=0)
    counts = observed_counts(expression, np.full(8000, 40.0), seed=0).toarray()
    np.testing.assert_allclose(counts[:4000].mean(axis=0), [0, 10, 30], atol=0.4)
    np.testing.assert_allclose(counts[:4000].var(axis=0), [0, 10, 30], rtol=0.1)
    assert not counts[4000:].any()
