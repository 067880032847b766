"""scVI, where scvi-tools is installed (`tox run -e scvi`); without it, what a user is told."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats
from scipy.sparse import csr_matrix

from models.base import Budget, GeneratorError, SilentMonitor
from models.scvi import ScVI

needs_scvi = pytest.mark.skipif(find_spec("scvi") is None, reason=str(ScVI.missing()))
pytestmark = pytest.mark.slow


def training_cells(n_cells: int = 600) -> AnnData:
    """Negative-binomial counts of 30 genes; each type has its own profile, one three times the counts."""
    rng = np.random.default_rng(0)
    types = np.arange(n_cells) % 3 == 0
    profiles = rng.gamma(2.0, 1.0, (2, 30))
    means = (
        profiles[types.astype(int)] * np.where(types, 3.0, 1.0)[:, None] * rng.lognormal(0, 0.2, (n_cells, 1))
    )
    counts = csr_matrix(rng.poisson(means * rng.gamma(8.0, 1 / 8, means.shape)).astype(np.float32))
    obs = pd.DataFrame({"cell_type": pd.Categorical(np.where(types, "large", "small"))})
    obs.index = [f"cell{number}" for number in range(n_cells)]
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"gene{number}" for number in range(30)]))
    adata.layers["counts"] = counts.copy()
    return adata


def fitted(model: ScVI, train: AnnData, *, budget: str = "100epochs", monitor=None) -> ScVI:
    model.fit(train, seed=3, budget=Budget.parse(budget), monitor=monitor or SilentMonitor())
    return model


def dense(adata: AnnData) -> np.ndarray:
    return adata.X.toarray()


def test_without_scvi_tools_it_is_skipped_with_the_remedy(monkeypatch):
    monkeypatch.setattr("models.scvi.find_spec", lambda name: None)
    assert "pip install" in ScVI.missing()
    assert ScVI.skip(training_cells(20)) == ScVI.missing()


def test_a_run_without_scvi_tools_has_a_skipped_row_and_the_list_the_remedy(tmp_path):
    """In processes that cannot import scvi, whether it is installed or not."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'scvi' else find(name, package)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "MPLBACKEND": "Agg", "COLUMNS": "300"}

    def bench(*arguments: str) -> str:
        command = [sys.executable, "-m", "bench", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    assert "pip install 'scgenbench[scvi]'" in bench("list", "models")
    options = ["--profile", "smoke", "--metrics", "mmd", "--out", str(tmp_path / "runs")]
    told = bench("run", "--models", "scvi", "--dataset", "synthetic:300x60x3", *options)
    assert "skipped" in told and "scvi-tools is not installed: pip install" in told


def test_sizes_below_one_are_refused():
    with pytest.raises(GeneratorError, match="n_latent is 0; give at least 1"):
        ScVI(n_latent=0)


@needs_scvi
@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_each_type_has_the_means_and_library_sizes_of_its_own_cells(prior):
    train = training_cells()
    model = fitted(ScVI(prior=prior, gene_likelihood="nb"), train)
    real = train.layers["counts"].toarray()
    for name in ("large", "small"):
        of_type = real[train.obs["cell_type"] == name]
        drawn = dense(model.sample(1500, cell_types=[name] * 1500, seed=0))
        assert drawn.mean(axis=0) == pytest.approx(of_type.mean(axis=0), rel=0.25, abs=0.3)
        assert stats.ks_2samp(drawn.sum(axis=1), of_type.sum(axis=1)).statistic < 0.15


@needs_scvi
def test_a_loaded_model_draws_the_same_cells(tmp_path):
    model = fitted(ScVI(prior="mixture"), training_cells(), budget="3epochs")
    model.save(tmp_path)
    assert np.array_equal(dense(ScVI.load(tmp_path).sample(50, seed=1)), dense(model.sample(50, seed=1)))


@needs_scvi
def test_the_weight_of_the_prior_is_whole_from_half_of_the_budget_on():
    told: list[tuple[int, float]] = []

    class Watching(SilentMonitor):
        def log(self, step, **values):
            told.append((step, values["kl_weight"]))

    fitted(ScVI(batch_size=100), training_cells(), budget="120steps", monitor=Watching())
    expected = [(step, min(1.0, (step - 1) / 60)) for step in range(1, 120, 20)]
    assert np.array(told) == pytest.approx(np.array(expected))


@needs_scvi
def test_sampling_and_training_leave_the_global_generators_alone():
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fitted(ScVI(), training_cells(60), budget="2steps").sample(5, seed=0)
    assert torch.equal(torch.rand(1), expected)
