"""Declared floors on real cells; skipped where the development data are not at hand."""

import anndata
import numpy as np
import pytest

from metrics import (
    cell_correlation,
    cell_totals,
    coverage,
    differential_expression,
    fold_changes,
    gene_correlation,
    gene_trends,
    marginals,
    optimal_transport,
    scarcest_type,
    train_on_synthetic,
    type_proportions,
    zero_fraction,
)
from metrics.evidence import RealEvidence, SampleEvidence
from tests.places import SHARED_DATA

FILE = SHARED_DATA / "kang_ctrl_12261x1287.h5ad"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason="needs the cells of Kang 2018"),
]

N_CELLS = 300
WITH_FLOORS = (
    coverage.RECALL,
    coverage.DENSITY,
    coverage.COVERAGE,
    optimal_transport.WASSERSTEIN2,
    optimal_transport.WASSERSTEIN1,
    scarcest_type.METRIC,
    marginals.METRIC,
    zero_fraction.METRIC,
    cell_totals.LIBRARY_SIZE,
    cell_totals.GENES_PER_CELL,
    type_proportions.METRIC,
    gene_correlation.METRIC,
    cell_correlation.METRIC,
    differential_expression.METRIC,
    fold_changes.METRIC,
    train_on_synthetic.METRIC,
)


def shuffled_within(counts, groups, rng):
    shuffled = counts.copy()
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        shuffled[members] = rng.permuted(counts[members], axis=0)
    return shuffled


def poisson(counts, types, rng):
    sizes = counts.sum(axis=1)
    shares = {
        name: counts[types == name].sum(axis=0) / sizes[types == name].sum() for name in np.unique(types)
    }
    rates = [shares[name] * size for name, size in zip(types, sizes, strict=True)]
    return rng.poisson(rates)


@pytest.fixture(scope="module")
def samples():
    adata = anndata.read_h5ad(FILE)
    rng = np.random.default_rng(0)
    test, control, train = np.split(rng.permutation(adata.n_obs)[:3000], [N_CELLS, 2 * N_CELLS])
    types = adata.obs["cell_type"].to_numpy(dtype=str)
    real = RealEvidence(
        adata.X[train],
        adata.X[test],
        train_types=types[train],
        test_types=types[test],
        control_pool=None,
        gene_names=adata.var_names.to_numpy(dtype=str),
        seed=0,
    )
    counts, labels = adata.X[control].toarray(), types[control]
    drawn = {
        "real": (counts, labels),
        "shuffle": (shuffled_within(counts, np.zeros(N_CELLS), rng), None),
        "shuffle_within_type": (shuffled_within(counts, labels, rng), labels),
        "poisson": (poisson(counts, labels, rng), labels),
    }
    return {
        name: SampleEvidence(real, matrix, space="counts", cell_types=given)
        for name, (matrix, given) in drawn.items()
    }


def away_from_ideal(metric, sample):
    return abs(metric.compute(sample.real, sample).headline - metric.ideal)


@pytest.mark.parametrize("metric", WITH_FLOORS, ids=lambda metric: metric.name)
def test_declared_floors_are_worse_than_real_cells(samples, metric):
    real = away_from_ideal(metric, samples["real"])
    assert {name: away_from_ideal(metric, samples[name]) > real for name in metric.floors} == {
        name: True for name in metric.floors
    }


def test_genes_that_lose_their_spread_are_seen_without_a_declared_floor(samples):
    metric = gene_trends.METRIC
    everywhere_alike = np.random.default_rng(1).poisson(
        np.tile(samples["real"].matrix.toarray().mean(axis=0), (N_CELLS, 1))
    )
    collapsed = SampleEvidence(samples["real"].real, everywhere_alike, space="counts")
    assert metric.floors == ()
    assert away_from_ideal(metric, collapsed) > 1.5 * away_from_ideal(metric, samples["real"])
