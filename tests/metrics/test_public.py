"""Metrics in a notebook: from arrays and AnnData objects, and every example that a docstring shows."""

import doctest
import importlib
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import metrics
from metrics.evidence import RealEvidence, SampleEvidence
from metrics.mmd import METRIC as MMD

EXAMPLES = (
    "cell_totals",
    "correlation_discrepancy",
    "differential_expression",
    "mmd",
    "public",
    "rf_auc",
    "sliced_wasserstein",
    "type_proportions",
)


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_show_what_comes_out(module):
    found = doctest.testmod(importlib.import_module(f"metrics.{module}"))
    assert found.attempted > 0 and found.failed == 0


def test_importing_the_package_imports_no_metric():
    code = "import sys, metrics; print([name for name in ('numpy', 'metrics.public') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.fixture
def matrices():
    rng = np.random.default_rng(3)
    rates = rng.gamma(2.0, 2.0, size=(2, 12))
    types = np.arange(80) % 2
    return [rng.poisson(rates[types]).astype(np.float32) for _ in range(3)], np.array(["a", "b"])[types]


def as_adata(matrix, types, order):
    obs = pd.DataFrame({"kind": types}, index=[f"cell{number}" for number in range(len(types))])
    var = pd.DataFrame(index=[f"gene{number}" for number in order])
    adata = anndata.AnnData(np.log1p(matrix[:, order]), obs=obs, var=var)
    adata.layers["counts"] = sparse.csr_matrix(matrix[:, order])
    return adata


def test_anndata_and_arrays_are_the_same_cells(matrices):
    (train, test, made), types = matrices
    facts = {"train_types": types, "test_types": types, "control_pool": None, "seed": 5}
    genes = [f"gene{number}" for number in range(12)]
    real = RealEvidence(train, test, gene_names=genes, n_cells=80, **facts)
    expected = MMD.compute(real, SampleEvidence(real, made, space="counts", cell_types=types))

    order = np.arange(12)
    # Other files list the genes in other orders, and may have more of them.
    more = np.hstack([made, np.ones((80, 1), np.float32)])
    files = [
        as_adata(train, types, order),
        as_adata(test, types, order[::-1]),
        as_adata(more, types, np.roll(np.arange(13), 5)),
    ]
    pair = metrics.prepare(*files, label_key="kind", seed=5)
    assert metrics.score("mmd", *pair).values == pytest.approx(expected.values)
    assert metrics.score("mmd", *pair).details["by_type"].keys() == {"a", "b"}
    plain = metrics.prepare(train, sparse.csr_matrix(test), made, seed=5)
    assert metrics.score("mmd", *plain).headline == pytest.approx(expected.headline)
    with pytest.raises(metrics.NotApplicable):
        metrics.score("tstr_f1", *plain)


def test_components_are_fitted_to_other_cells_than_controls_draw_from(matrices):
    (train, test, made), types = matrices
    genes = [f"gene{number}" for number in range(12)]
    facts = {"train_types": types, "test_types": None, "gene_names": genes, "seed": 0}
    pool = np.arange(80) % 4 == 0
    real = RealEvidence(train, test, control_pool=pool, **facts)
    in_a_run = MMD.compute(real, SampleEvidence(real, made, space="counts")).headline
    adata = as_adata(train, types, np.arange(12))
    adata.obs["control_pool"] = pool
    assert metrics.score("mmd", *metrics.prepare(adata, test, made)).headline == pytest.approx(in_a_run)
    assert metrics.score("mmd", *metrics.prepare(train, test, made)).headline != pytest.approx(in_a_run)


def test_expression_is_taken_from_x(matrices):
    (train, test, made), types = matrices
    fake = as_adata(made, types, np.arange(12))
    fake.X = 20_000 * made / made.sum(axis=1, keepdims=True) * 1.25
    pair = metrics.prepare(train, test, fake, space="cp20k")
    # A quarter above what its space promises.
    assert metrics.score("library_size_error", *pair).headline == pytest.approx(0.25, rel=1e-5)


def test_what_does_not_go_together_is_named(matrices):
    (train, test, made), types = matrices
    few = as_adata(made, types, np.arange(11))
    with pytest.raises(ValueError, match="lack 1 genes, such as gene11"):
        metrics.prepare(train, test, few)
    with pytest.raises(ValueError, match="cells with 11 genes beside training cells with 12"):
        metrics.prepare(train, test[:, :11], made)
    pair = metrics.prepare(train, test, made, n_cells=40)
    with pytest.raises(
        ValueError, match="metric 'fid' is unknown: choose from augmentation_f1, authenticity"
    ):
        metrics.score("fid", *pair)
    with pytest.raises(ValueError, match="'augmentation_f1' scores a retraining"):
        metrics.score("augmentation_f1", *pair)
    under = metrics.prepare(train, test, made, protocol="activa2022")
    with pytest.raises(ValueError, match="'mixing' does not exist under activa2022, but under strict"):
        metrics.score("mixing", *under)
    assert {"mmd", "rf_auc", "cd"} <= set(metrics.available())
    with pytest.raises(AttributeError, match="no attribute 'fid'"):
        _ = metrics.fid
