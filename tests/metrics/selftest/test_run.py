"""Ladders and traps on real cells at small size, with small forests: ``bench test-metrics`` in short."""

from dataclasses import replace
from functools import partial

import anndata
import numpy as np
import pytest

import datasets
from bench.request.registry import plugins, resolve_metric
from metrics.declaration import Score
from metrics.rf_auc import rf_auc
from metrics.seeds import derived_seed
from metrics.selftest.expectations import MUST_ANSWER, MUST_NOT_ANSWER
from metrics.selftest.laboratory import Laboratory
from metrics.selftest.ladder import LADDERS
from metrics.selftest.run import climb, judged
from metrics.selftest.traps import TRAPS
from tests.metrics.selftest_cells import self_test_cells

pytestmark = pytest.mark.slow

FILES = {"kang": "kang_ctrl_12261x1287.h5ad", "zheng": "zheng_pbmc_facs.h5ad"}
N_CELLS = {"pbmc68k_reduced": 100, "kang": 300, "zheng": 300}
N_GENES = 500
DRAWS = 5
TREES = {"pbmc68k_reduced": 60, "kang": 20, "zheng": 20}


def small_forest(real, sample, *, n_trees):
    seed = derived_seed(real.seed, "rf_auc")
    return Score(rf_auc(real.test_cells, sample.cells, n_trees=n_trees, seed=seed, n_threads=1).values)


def metrics(n_trees):
    found = [resolve_metric(name) for name in plugins("bench.metrics")]
    return [
        replace(metric, compute=partial(small_forest, n_trees=n_trees)) if metric.name == "rf_auc" else metric
        for metric in found
        # Forests within types cost five times as much and see the same.
        if metric.experiment == "main" and metric.name != "rf_auc_by_type"
    ]


def embedded(folder):
    adata = datasets.prepare("pbmc68k_reduced", cache_folder=folder).read()
    return adata.layers["counts"], adata.obs["cell_type"].to_numpy(dtype=str)


def shared(file):
    adata = anndata.read_h5ad(file)
    rows = np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:2000])
    return adata.X[rows], adata.obs["cell_type"].to_numpy(dtype=str)[rows]


@pytest.fixture(
    scope="module",
    params=[name if name not in FILES else pytest.param(name, marks=pytest.mark.long) for name in N_CELLS],
)
def laboratory(request, tmp_path_factory):
    if request.param in FILES:
        file = request.getfixturevalue("shared_data") / FILES[request.param]
        if not file.exists():
            pytest.skip(f"../shared/data/{file.name} is not here")
        counts, types = shared(file)
    else:
        counts, types = embedded(tmp_path_factory.mktemp("cache"))
    cells = self_test_cells(counts, types, n_cells=N_CELLS[request.param], n_genes=N_GENES)
    return Laboratory(cells, metrics(TREES[request.param]), draws=DRAWS)


def verdicts(laboratory, ladder, names):
    asked = [name for name in names if name in laboratory.metrics]
    values = climb(laboratory, LADDERS[ladder], of=asked)
    return {name: judged(laboratory, name, ladder, values[name]) for name in asked}


@pytest.mark.parametrize("ladder", MUST_ANSWER)
def test_metrics_answer_the_ladders_that_they_must_see(laboratory, ladder):
    found = verdicts(laboratory, ladder, MUST_ANSWER[ladder])
    assert {
        name: verdict for name, verdict in found.items() if not verdict["passed"] and verdict["expected"]
    } == {}


@pytest.mark.parametrize("ladder", MUST_NOT_ANSWER)
def test_metrics_are_blind_to_what_the_protocol_takes_away(laboratory, ladder):
    found = verdicts(laboratory, ladder, MUST_NOT_ANSWER[ladder])
    assert {name: verdict for name, verdict in found.items() if verdict["passed"] is not True} == {}


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_traps_are_avoided(laboratory, trap):
    outcome = trap.spring(laboratory)
    assert outcome.passed is True, outcome.words
