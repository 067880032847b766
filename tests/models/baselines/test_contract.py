import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from models.base import Budget, GeneratorError, SilentMonitor, Unsupported
from models.baselines import shared
from models.baselines.knn_poisson import KnnPoisson
from models.baselines.nb_copula import NbCopula
from models.baselines.poisson_factors import PoissonFactors
from tests.models.baselines.baseline_cases import (
    N_CELLS,
    N_GENES,
    as_training_cells,
    dense,
    fitted,
    training_cells,
)
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

BASELINES = [PoissonFactors, NbCopula, KnnPoisson]
SETTINGS = {
    PoissonFactors: {"n_factors": 4},
    NbCopula: {"maximum_genes": 12},
    KnnPoisson: {"n_neighbours": 3},
}
PHASES = {
    PoissonFactors: {"nmf", "mixture"},
    NbCopula: {"marginals", "copula"},
    KnnPoisson: {"pca", "neighbours"},
}


@pytest.fixture(scope="module")
def train():
    return training_cells()


@pytest.fixture(scope="module", params=BASELINES)
def baseline(request, train):
    return fitted(request.param(**SETTINGS[request.param]), train, seed=5)


def test_returns_whole_counts_in_csr_float32_with_the_training_genes(baseline, train):
    cells = baseline.sample(70, seed=1)
    assert isinstance(cells.X, csr_matrix)
    assert cells.X.dtype == np.float32
    assert cells.shape == (70, N_GENES)
    assert list(cells.var_names) == list(train.var_names)
    assert (cells.X.data == np.round(cells.X.data)).all()
    assert (cells.X.data > 0).all()
    assert cells.X.has_canonical_format


def test_same_seeds_same_cells_and_other_seeds_other_cells(baseline, train):
    first = dense(baseline.sample(60, seed=5))
    again = fitted(type(baseline)(**SETTINGS[type(baseline)]), train, seed=5)
    other = fitted(type(baseline)(**SETTINGS[type(baseline)]), train, seed=6)
    assert np.array_equal(first, dense(again.sample(60, seed=5)))
    assert not np.array_equal(first, dense(baseline.sample(60, seed=6)))
    assert not np.array_equal(first, dense(other.sample(60, seed=5)))


def test_a_loaded_baseline_draws_the_same_cells_and_knows_its_hyperparameters(baseline, tmp_path):
    baseline.save(tmp_path)
    loaded = type(baseline).load(tmp_path)
    cells, expected = loaded.sample(80, seed=9), baseline.sample(80, seed=9)
    assert np.array_equal(dense(cells), dense(expected))
    assert cells.obs.equals(expected.obs)
    assert cells.var_names.equals(expected.var_names)
    assert {name: getattr(loaded, name) for name in SETTINGS[type(baseline)]} == SETTINGS[type(baseline)]


def test_only_the_neighbours_need_the_training_cells_afterwards(baseline, tmp_path):
    baseline.save(tmp_path)
    n_kept = type(baseline).load(tmp_path).cells.counts.nnz
    assert (n_kept > 0) == isinstance(baseline, KnnPoisson)


def test_the_training_cells_are_not_modified(baseline, train):
    baseline.sample(30, seed=0).X.data[:] = -1
    untouched = training_cells()
    assert np.array_equal(train.layers["counts"].toarray(), untouched.layers["counts"].toarray())
    assert np.array_equal(train.X.toarray(), untouched.X.toarray())
    assert train.obs.equals(untouched.obs)


def test_requested_types_come_back_in_their_order(baseline, train):
    """Gene 0 tells apart what each type's own cells hold, so that labels and cells belong together."""
    requested = ["NK", "B", "T", "Mast", "B"] * 300
    cells = baseline.sample(1500, cell_types=requested, seed=0)
    assert list(cells.obs["cell_type"]) == requested
    real = train.layers["counts"].toarray()
    for name in ("B", "T"):
        of_type = real[train.obs["cell_type"] == name]
        drawn = dense(cells)[np.array(requested) == name]
        error = np.abs(drawn.mean(axis=0) - of_type.mean(axis=0))
        assert (error <= 5 * of_type.std(axis=0) * np.sqrt(1 / 116 + 1 / 300) + 0.3).all()


def test_chunks_follow_the_requested_types(baseline):
    requested = ["B", "T", "NK", "Mast", "B"] * 5
    chunks = list(baseline.sample_chunks(25, cell_types=requested, seed=0, chunk_size=10))
    assert [chunk.n_obs for chunk in chunks] == [10, 10, 5]
    assert [name for chunk in chunks for name in chunk.obs["cell_type"]] == requested


def test_without_requested_types_the_mixture_is_that_of_the_training_cells(baseline, train):
    drawn = baseline.sample(2 * N_CELLS, seed=0).obs["cell_type"].value_counts()
    assert (drawn == 2 * train.obs["cell_type"].value_counts()[drawn.index]).all()


def test_small_types_and_constant_or_silent_genes_are_drawn_near_their_means(baseline, train):
    real = train.layers["counts"].toarray()
    for name in ("NK", "Mast"):
        of_type = real[train.obs["cell_type"] == name]
        drawn = dense(baseline.sample(2000, cell_types=[name] * 2000, seed=3))
        assert drawn[:, 29].sum() == 0
        assert drawn.sum(axis=1).mean() == pytest.approx(of_type.sum(axis=1).mean(), rel=0.05)
        if isinstance(baseline, NbCopula) or (isinstance(baseline, KnnPoisson) and name == "Mast"):
            assert drawn.mean(axis=0) == pytest.approx(of_type.mean(axis=0), rel=0.2, abs=0.3)
    in_b = dense(baseline.sample(2000, cell_types=["B"] * 2000, seed=3))[:, 28]
    assert in_b.mean() == pytest.approx(2, rel=0.25)


def test_a_sample_of_several_blocks_is_whole(baseline, monkeypatch):
    monkeypatch.setattr(shared, "BLOCK", 16)
    cells = baseline.sample(100, cell_types=["B"] * 70 + ["T"] * 30, seed=0)
    assert (cells.X.sum(axis=1) > 0).all()
    assert len(np.unique(dense(cells), axis=0)) == 100


@pytest.mark.parametrize("baseline_class", BASELINES)
def test_cells_without_counts_stay_without_counts(baseline_class):
    counts = np.array([[0, 0, 0]] * 12 + [[3, 1, 0], [1, 4, 0]] * 6)
    train = as_training_cells(counts, ["empty"] * 12 + ["a"] * 12)
    cells = dense(fitted(baseline_class(), train).sample(60, cell_types=["empty", "a"] * 30, seed=0))
    assert cells[::2].sum() == 0
    assert cells[1::2, :2].sum() > 60
    assert cells[:, 2].sum() == 0


@pytest.mark.parametrize("baseline_class", BASELINES)
def test_a_single_training_cell_is_enough(baseline_class):
    train = as_training_cells(np.array([[4, 0, 9]]), ["only"])
    cells = dense(fitted(baseline_class(), train).sample(4000, seed=0))
    assert cells.mean(axis=0) == pytest.approx([4, 0, 9], abs=0.3)
    assert cells.var(axis=0) == pytest.approx([4, 0, 9], rel=0.1)


@pytest.mark.parametrize("baseline_class", BASELINES)
def test_fit_reports_its_phases(baseline_class, train):
    seen = set()

    class Watching(SilentMonitor):
        @contextmanager
        def phase(self, name):
            seen.add(name)
            yield

    baseline_class(**SETTINGS[baseline_class]).fit(
        train, seed=0, budget=Budget(1, "steps"), monitor=Watching()
    )
    assert seen == PHASES[baseline_class]


@pytest.mark.parametrize("baseline_class", BASELINES)
def test_fitting_and_drawing_import_nothing_that_preparing_has_not(baseline_class):
    """Imports are no part of the training seconds."""
    code = f"""
import sys
from tests.models.baselines.baseline_cases import fitted, training_cells
from {baseline_class.__module__} import {baseline_class.__name__} as Baseline
train = training_cells()
baseline = Baseline()
baseline.prepare(train)
before = set(sys.modules)
fitted(baseline, train).sample(5, seed=0)
print(sorted(set(sys.modules) - before))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == "[]"


def test_wrong_requests_are_named(baseline, train):
    with pytest.raises(Unsupported, match=f"{baseline.name}: no cell of type 'Ghost' to draw from"):
        baseline.sample(2, cell_types=["B", "Ghost"], seed=0)
    with pytest.raises(GeneratorError, match=f"{baseline.name}: nothing to draw from yet; call fit first"):
        type(baseline)().sample(1, seed=0)
    without_counts = train.copy()
    del without_counts.layers["counts"]
    with pytest.raises(GeneratorError, match=rf'{baseline.name}: layers\["counts"\] is missing'):
        fitted(type(baseline)(), without_counts)


@pytest.mark.parametrize(("baseline_class", "name"), [(c, next(iter(SETTINGS[c]))) for c in BASELINES])
def test_a_hyperparameter_below_one_is_refused(baseline_class, name):
    with pytest.raises(GeneratorError, match=f"{name} is 0; give at least 1"):
        baseline_class(**{name: 0})


def test_baselines_have_no_budget_and_import_without_scikit_learn():
    assert {(b.role, b.conditional, b.space, len(b.default_budgets)) for b in BASELINES} == {
        ("baseline", True, "counts", 0)
    }
    modules = ", ".join(baseline.__module__ for baseline in BASELINES)
    code = f"import sys, {modules}; print([m for m in ('sklearn', 'anndata', 'pandas') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
