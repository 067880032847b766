"""What holds of every registered metric whatever the cells: identity, symmetry, no order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.request.registry import plugins, resolve_metric
from metrics.evidence import RealEvidence, SampleEvidence
from tests.metrics.typed_cells import N_GENES, reordered, typed_cells

pytestmark = pytest.mark.slow

SYMMETRIC = (
    "cd",
    "sliced_wasserstein",
    "wasserstein2",
    "wasserstein1",
    "type_tv",
    "gene_wasserstein",
    "zero_fraction_error",
    "cell_correlation_error",
    "gene_correlation_error",
    "mixing",
)
REACH_THE_IDEAL = (
    *SYMMETRIC[:-1],
    "mmd",
    "precision",
    "recall",
    "coverage",
    "scarcest_type",
    "mean_variance_error",
    "library_size_wasserstein",
    "genes_per_cell_wasserstein",
    "duplicates",
)
# Forests are slow: the tests of rf_auc show the same.
MAIN = [
    name
    for name in plugins("bench.metrics")
    if resolve_metric(name).experiment == "main" and not name.startswith("rf_auc")
]
TRAIN, TRAIN_TYPES = typed_cells(200, seed=100)
seeds = st.integers(0, 2**31 - 1)


def beside(test, test_types, synthetic, types):
    real = RealEvidence(
        TRAIN,
        test,
        train_types=TRAIN_TYPES,
        test_types=test_types,
        control_pool=None,
        gene_names=range(N_GENES),
        seed=0,
    )
    return real, SampleEvidence(real, synthetic, space="counts", cell_types=types)


def headlines(names, real, sample):
    scored = [resolve_metric(name) for name in names]
    return {metric.name: metric.compute(real, sample).headline for metric in scored}


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_the_test_cells_themselves_reach_the_ideal(seed):
    cells = typed_cells(110, seed=seed)
    found = headlines(REACH_THE_IDEAL, *beside(*cells, *cells))
    ideals = {name: resolve_metric(name).ideal for name in REACH_THE_IDEAL}
    assert found == pytest.approx(ideals, abs=1e-7)


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_distances_are_the_same_from_either_side(seed):
    cells, others = typed_cells(110, seed=seed), typed_cells(110, seed=seed + 1)
    found = headlines(SYMMETRIC, *beside(*cells, *others))
    assert found == pytest.approx(headlines(SYMMETRIC, *beside(*others, *cells)))
    assert all(value != resolve_metric(name).ideal for name, value in found.items())


@settings(max_examples=3, deadline=None)
@given(seed=seeds)
def test_no_metric_knows_the_order_of_cells(seed):
    cells, others = typed_cells(110, seed=seed), typed_cells(110, seed=seed + 1)
    real, sample = beside(*cells, *others)
    names = [name for name in MAIN if name != "library_size_error"]
    found = headlines(names, real, sample)
    assert found == pytest.approx(headlines(names, real, reordered(sample, seed=seed)))
    order = np.random.default_rng(seed).permutation(110)
    moved = beside(*(part[order] for part in cells), *others)
    assert found == pytest.approx(headlines(names, *moved))
