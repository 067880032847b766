"""Every registered metric on cells that no metric likes: a finite score, or one line that says why not."""

import math
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bench.request.choices import exists_in
from bench.request.registry import plugins, resolve_metric
from metrics.augmentation import AugmentationSetting, augmentation_f1
from metrics.declaration import NotApplicable
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.forest import vote_shares
from tests.conftest import make_prepared

pytestmark = pytest.mark.slow

METRICS = [name for name in plugins("bench.metrics") if resolve_metric(name).experiment == "main"]
N_CELLS, N_GENES = 30, 60
rng = np.random.default_rng(0)
TYPES = np.array(["alpha", "beta", "gamma"])[np.arange(N_CELLS) % 3]
COUNTS = rng.poisson(rng.gamma(0.6, 2.0, N_GENES), (N_CELLS, N_GENES)).astype(np.float64)
COUNTS[:, 0] += 1


def with_value(value):
    cells = COUNTS.copy()
    cells[3, 4] = value
    return cells


SAMPLES = {
    "good counts": (COUNTS, "counts", TYPES),
    "good expression": (np.log1p(COUNTS), "log_cp20k", TYPES),
    "all zero": (np.zeros_like(COUNTS), "counts", TYPES),
    "half of the cells zero": (COUNTS * (np.arange(N_CELLS) % 2)[:, None], "counts", TYPES),
    "NaN": (with_value(np.nan), "cp20k", TYPES),
    "negative": (with_value(-1.0), "cp20k", TYPES),
    "infinite": (with_value(np.inf), "counts", TYPES),
    "overflowing logarithm": (with_value(1e4), "log_cp20k", TYPES),
    "one cell again and again": (np.tile(COUNTS[0], (N_CELLS, 1)), "counts", TYPES),
    "one gene": (COUNTS * (np.arange(N_GENES) == 0), "counts", TYPES),
    "constant genes": (np.where(np.arange(N_GENES) < 50, 1.0, COUNTS), "cp20k", TYPES),
    "fractions called counts": (COUNTS / 3, "counts", TYPES),
    "one type": (COUNTS, "counts", np.full(N_CELLS, "alpha")),
    "a type nobody knows": (COUNTS, "counts", np.full(N_CELLS, "omega")),
    "no types": (COUNTS, "counts", None),
}


def everything(adata):
    return adata


def one_type(adata):
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.set_categories(["alpha"]).fillna("alpha")
    return adata


def half_of_the_genes_constant(adata):
    counts = adata.layers["counts"].toarray()
    counts[:, ::2] = 1
    adata.layers["counts"] = csr_matrix(counts)
    return adata


def two_genes(adata):
    return adata[:, :2].copy()


def test_cells_all_alike(adata):
    counts = adata.layers["counts"].toarray()
    counts[(adata.obs["split"] == "test").to_numpy()] = counts[4]
    adata.layers["counts"] = csr_matrix(counts)
    return adata


REAL = [everything, one_type, half_of_the_genes_constant, two_genes, test_cells_all_alike]
test_cells_all_alike.__test__ = False


@cache
def real_cells(change, n_cells=N_CELLS, protocol="strict"):
    return RealEvidence.from_adata(change(make_prepared()), n_cells=n_cells, seed=0, protocol=protocol)


@cache
def sample_cells(real, name):
    matrix, space, types = SAMPLES[name]
    return SampleEvidence(real, matrix[:, : real.all_gene_names.size], space=space, cell_types=types)


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    def of_five_trees(*cells, **options):
        return vote_shares(*cells, **options | {"n_trees": 5})

    monkeypatch.setattr("metrics.rf_auc.vote_shares", of_five_trees)


def check(metric, real, sample):
    try:
        score = metric.compute(real, sample)
    except NotApplicable as reason:
        assert str(reason)
        assert "\n" not in str(reason)
        return
    assert next(iter(score.values)) == metric.name
    assert all(math.isfinite(value) for value in score.values.values()), score.values
    assert metric.bounds[0] <= score.headline <= metric.bounds[1]
    assert score.interval is None or all(map(math.isfinite, score.interval))
    assert score.p_value is None or 0 <= score.p_value <= 1
    assert all("\n" not in note for note in score.notes)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_strange_synthetic_cells(name, sample):
    real = real_cells(everything)
    check(resolve_metric(name), real, sample_cells(real, sample))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("sample", ["NaN", "negative", "infinite", "overflowing logarithm"])
def test_impossible_values_are_never_scored(name, sample):
    real = real_cells(everything)
    with pytest.raises(NotApplicable):
        resolve_metric(name).compute(real, sample_cells(real, sample))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("change", REAL, ids=lambda change: change.__name__)
def test_strange_real_cells(name, change):
    real = real_cells(change)
    check(resolve_metric(name), real, sample_cells(real, "good counts"))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("n_cells", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("protocol", ["strict", "groundgan2024"])
def test_too_few_cells_are_refused_by_name(name, n_cells, protocol):
    metric = resolve_metric(name)
    real = real_cells(everything, n_cells, protocol)
    if n_cells >= metric.least_cells:
        check(metric, real, sample_cells(real, "good counts"))
        return
    told = f"^{n_cells} cells a side; {name} needs at least {metric.least_cells}$"
    with pytest.raises(NotApplicable, match=told):
        metric.compute(real, sample_cells(real, "good counts"))


def test_no_cells_are_no_evidence():
    with pytest.raises(ValueError, match="n_cells is 0; the test split allows 1 to 30"):
        real_cells(everything, 0)


@cache
def large_cells(n_cells, protocol):
    adata = make_prepared(n_cells=600, n_genes=400)
    real = RealEvidence.from_adata(adata, n_cells=n_cells, seed=0, protocol=protocol)
    drawn = adata[np.flatnonzero(adata.obs["split"] == "train")[:n_cells]]
    types = drawn.obs["cell_type"].to_numpy(dtype=str)
    return real, SampleEvidence(real, drawn.layers["counts"], space="counts", cell_types=types)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("protocol", ["strict", "activa2022", "groundgan2024"])
@pytest.mark.parametrize("more", [0, 1])
def test_as_many_cells_as_are_needed_are_enough(name, protocol, more):
    """What is said to be needed must be: no other reason that has to do with numbers, no chance value."""
    metric = resolve_metric(name)
    if not exists_in(metric, protocol):
        pytest.skip(f"{name} does not exist under {protocol}")
    real, sample = large_cells(metric.least_cells + more, protocol)
    check(metric, real, sample)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("n_train", [1, 2, 3, 5])
def test_few_training_cells(name, n_train):
    adata = make_prepared()
    test = np.flatnonzero(adata.obs["split"] == "test")
    train = np.flatnonzero(adata.obs["split"] == "train")[:n_train]
    kept = adata[np.concatenate([train, test])].copy()
    kept.obs["control_pool"] = False
    real, metric = RealEvidence.from_adata(kept, seed=0), resolve_metric(name)
    if n_train < metric.least_cells:
        with pytest.raises(
            NotApplicable, match=rf"^(\d+ cells a side|{n_train} training cells); {name} needs"
        ):
            metric.compute(real, sample_cells(real, "good counts"))
        return
    check(metric, real, sample_cells(real, "good counts"))


@pytest.mark.parametrize(("held_out", "enough"), [(0, False), (1, False), (9, False), (10, True)])
def test_augmentation_needs_held_out_cells_of_the_type(held_out, enough):
    adata = make_prepared()
    counts, types = adata.layers["counts"], adata.obs["cell_type"].to_numpy(dtype=str)
    test = np.concatenate([np.flatnonzero(types == "alpha")[:held_out], np.flatnonzero(types == "beta")[:10]])
    train = np.setdiff1d(np.arange(adata.n_obs), test)
    setting = AugmentationSetting(counts[train], types[train], counts[test], types[test], "alpha", seed=0)
    if enough:
        assert 0 <= augmentation_f1(setting, None, n_trees=5).headline <= 1
        return
    with pytest.raises(NotApplicable, match=f"^{held_out} held-out cells of alpha; augmentation_f1 needs at"):
        augmentation_f1(setting, None, n_trees=5)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("protocol", ["activa2022", "groundgan2024", "strict+observed"])
@pytest.mark.parametrize("sample", ["good expression", "all zero", "one cell again and again"])
def test_other_protocols(name, protocol, sample):
    metric = resolve_metric(name)
    if not exists_in(metric, protocol):
        pytest.skip(f"{name} does not exist under {protocol}")
    real = real_cells(everything, protocol=protocol)
    check(metric, real, sample_cells(real, sample))


@cache
def good_samples():
    adata = make_prepared(n_cells=600, n_genes=400)
    real = RealEvidence.from_adata(adata, seed=0)
    drawn = adata[np.flatnonzero(adata.obs["split"] == "train")[: real.n_cells]]
    given = {"cell_types": drawn.obs["cell_type"].to_numpy(dtype=str)}
    return real, [
        SampleEvidence(real, drawn.layers["counts"], space="counts", **given),
        SampleEvidence(real, drawn.X.log1p(), space="log_cp20k", **given),
    ]


@pytest.mark.parametrize("name", METRICS)
def test_good_cells_have_a_score(name):
    """What the other tests let pass must not be everything."""
    real, samples = good_samples()
    scores = []
    for sample in samples:
        with suppress(NotApplicable):
            scores.append(resolve_metric(name).compute(real, sample))
    assert any(math.isfinite(score.headline) for score in scores)
