import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

from models.activa_counts.generator import ActivaCounts
from models.base import Budget, GeneratorError, SilentMonitor

pytestmark = pytest.mark.slow

N_GENES = 20
SMALL = {"latent_dim": 4, "hidden_sizes": (32, 16), "batch_size": 32, "marginal_draws": 800}


def training_cells(n_cells: int = 900) -> AnnData:
    """Two types, a factor that genes 0 to 9 share, library sizes that vary, one type of three cells."""
    rng = np.random.default_rng(11)
    types = rng.permutation(np.arange(n_cells) % 3 == 0).astype(int)
    types[:3] = 2
    profiles = rng.gamma(1.0, 2.0, (3, N_GENES))
    rates = profiles[types] * rng.gamma(5, 1 / 5, (n_cells, 1))
    rates[:, :10] *= rng.gamma(1.5, 1 / 1.5, (n_cells, 1))
    counts = csr_matrix(rng.poisson(rates).astype(np.float32))
    names = np.array(["NK/T", "B", "Mast"])[types]
    obs = pd.DataFrame({"cell_type": pd.Categorical(names)}, index=[f"c{i}" for i in range(n_cells)])
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))
    adata.layers["counts"] = counts.copy()
    return adata


def fitted(train, *, seed=0, budget="15epochs", monitor=None, **settings):
    model = ActivaCounts(**SMALL | {"precision": "fp32"} | settings)
    model.fit(train, seed=seed, budget=Budget.parse(budget), monitor=monitor or SilentMonitor())
    return model


def dense(adata):
    return adata.X.toarray()


@pytest.fixture(scope="module")
def train():
    return training_cells()


@pytest.fixture(scope="module")
def model(train):
    return fitted(train)


@pytest.mark.parametrize("settings", [{"strata": 1}, {"strata": 3, "stratum_cells": 100}])
def test_means_and_zeros_of_each_gene_and_type_are_those_of_the_training_cells(train, settings):
    model = fitted(train, **settings)
    for name in ("NK/T", "B"):
        real = train.layers["counts"].toarray()[train.obs["cell_type"] == name]
        cells = dense(model.sample(4000, cell_types=[name] * 4000, seed=1))
        error = real.std(axis=0) * np.sqrt(1 / 800 + 1 / 4000)
        assert (np.abs(cells.mean(axis=0) - real.mean(axis=0)) < 5 * error + 0.02).all()
        zeros = (cells == 0).mean(axis=0) - (real == 0).mean(axis=0)
        assert np.abs(zeros).max() < 5 * 0.5 * np.sqrt(1 / 800 + 1 / 4000)


def test_genes_that_vary_together_do_so_in_the_sample(model, train):
    """The shared factor of genes 0 to 9 within a type, which shuffled genes have lost."""

    def shared(counts):
        logs = np.log1p(counts)
        return np.corrcoef(logs[:, :10].sum(axis=1) - logs[:, 10:].sum(axis=1), logs[:, :5].sum(axis=1))[0, 1]

    def between_halves(counts):
        return np.corrcoef(counts[:, :5].sum(axis=1), counts[:, 5:10].sum(axis=1))[0, 1]

    real = train.layers["counts"].toarray()[train.obs["cell_type"] == "NK/T"]
    cells = dense(model.sample(3000, cell_types=["NK/T"] * 3000, seed=2))
    assert between_halves(real) > 0.5
    # Shuffled genes would have 0 between the halves.
    assert between_halves(cells) == pytest.approx(between_halves(real), abs=0.25)
    assert shared(cells) == pytest.approx(shared(real), abs=0.25)


def test_library_sizes_follow_those_of_the_training_cells(model, train):
    real = np.log(dense(train)[train.obs["cell_type"] == "NK/T"].sum(axis=1))
    cells = np.log(dense(model.sample(3000, cell_types=["NK/T"] * 3000, seed=3)).sum(axis=1).clip(1))
    assert cells.mean() == pytest.approx(real.mean(), abs=0.1)
    assert cells.std() == pytest.approx(real.std(), rel=0.15)


def test_a_type_of_three_cells_is_drawn_without_copying_them(model, train):
    real = train.layers["counts"].toarray()[train.obs["cell_type"] == "Mast"]
    cells = dense(model.sample(500, cell_types=["Mast"] * 500, seed=4))
    assert len(np.unique(cells, axis=0)) == 500
    assert not (cells[:, None] == real[None]).all(axis=2).any()
    assert cells.mean(axis=0).sum() == pytest.approx(real.mean(axis=0).sum(), rel=0.4)


def test_seeds_decide_and_a_loaded_model_draws_the_same_cells(model, train, tmp_path):
    first = model.sample(60, seed=5)
    assert np.array_equal(dense(first), dense(fitted(train).sample(60, seed=5)))
    assert not np.array_equal(dense(first), dense(model.sample(60, seed=6)))
    assert not np.array_equal(dense(first), dense(fitted(train, seed=1).sample(60, seed=5)))
    model.save(tmp_path)
    loaded = ActivaCounts.load(tmp_path)
    assert np.array_equal(dense(first), dense(loaded.sample(60, seed=5)))
    assert loaded.settings == model.settings
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_without_marginals_the_networks_own_counts_are_drawn(train, tmp_path):
    bare = fitted(train, budget="2epochs", marginal_draws=0)
    bare.save(tmp_path)
    cells = dense(bare.sample(50, seed=0))
    assert np.array_equal(cells, dense(ActivaCounts.load(tmp_path).sample(50, seed=0)))
    assert (cells == np.round(cells)).all()


def test_cells_of_a_single_type_have_one_dispersion_a_gene(train):
    alone = train[train.obs["cell_type"] == "B"].copy()
    model = fitted(alone, budget="2epochs")
    real, drawn = alone.layers["counts"].toarray(), dense(model.sample(600, seed=0))
    assert drawn.mean() == pytest.approx(real.mean(), rel=0.15)


def test_a_stratum_of_library_size_has_the_marginals_of_its_own_cells(train):
    """In the lowest third of a type a gene has more zeros than in the highest, as in the training cells."""
    model = fitted(train, strata=2, stratum_cells=100)
    assert model._prior.strata_of_types().tolist() == [2, 1, 2]
    assert model.facts["cell_types"] == ["B", "Mast", "NK/T"]
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        types = torch.full((6000,), 2)
        _, _, groups = model._parameters(types, generator=torch.Generator().manual_seed(0))
        cells = model._draw(types, generator=generator).numpy()
    real = train.layers["counts"].toarray()[train.obs["cell_type"] == "NK/T"]
    high = real.sum(axis=1) > np.median(real.sum(axis=1))
    for code, of_stratum in ((4, real[~high]), (5, real[high])):
        drawn = cells[groups.numpy() == code]
        error = of_stratum.std(axis=0) * np.sqrt(1 / len(of_stratum) + 1 / len(drawn))
        assert (np.abs(drawn.mean(axis=0) - of_stratum.mean(axis=0)) < 5 * error + 0.05).all()


class Keeping(SilentMonitor):
    """Keeps the checkpoint offered at some step, stops after it, and later hands it back."""

    def __init__(self, folder, *, offers=0):
        self.folder, self.left, self.resume_from = folder, offers, None if offers else folder

    def checkpoint(self, save):
        self.left -= 1
        if self.left == 0:
            save(self.folder)
            raise InterruptedError


@pytest.mark.parametrize("settings", [{}, {"weight_conditioning": 1.0, "weight_adversarial": 0.25}])
@pytest.mark.parametrize("offers", [1, 4])
def test_a_resumed_training_ends_like_one_that_was_never_stopped(train, tmp_path, settings, offers):
    settings |= {"budget": "4epochs", "marginal_draws": 0}
    with pytest.raises(InterruptedError):
        fitted(train, monitor=Keeping(tmp_path, offers=offers), **settings)
    resumed = fitted(train, monitor=Keeping(tmp_path), **settings)._tensors()
    whole = fitted(train, **settings)._tensors()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_model_holds_no_training_cell(model):
    """No stored tensor has a row a cell."""
    assert all(len(tensor) != 900 for tensor in model._tensors().values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim=0 must be at least 1"),
        ({"prior_cells": 0}, "prior_cells=0 must be above 0"),
        ({"precision": "fp8"}, "precision='fp8' is not one of auto, bf16, fp32"),
        ({"hidden_sizes": ()}, "hidden_sizes=.* must be one or more positive widths"),
    ],
)
def test_hyperparameters_out_of_range_are_named(settings, message):
    with pytest.raises(GeneratorError, match=f"activa_counts: {message}"):
        ActivaCounts(**settings)


def test_listing_it_imports_no_framework():
    code = (
        "import sys, models.activa_counts.generator; "
        "print([m for m in ('torch', 'sklearn', 'anndata') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
