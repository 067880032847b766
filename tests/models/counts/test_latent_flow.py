import numpy as np
import pytest
import torch
from count_cases import dense, fitted
from scipy import stats
from scipy.sparse import csr_matrix

from models.base import GeneratorError, SilentMonitor
from models.latent_flow import LatentFlow

pytestmark = pytest.mark.slow

SMALL = {"latent_dim": 4, "hidden_sizes": (32,), "flow_width": 32, "batch_size": 64}


@pytest.fixture(scope="module")
def train():
    """Two programmes of genes, one in each type, and a factor within types that ties ten genes together."""
    import pandas as pd
    from anndata import AnnData

    rng = np.random.default_rng(0)
    n_cells, n_genes = 1200, 40
    types = np.arange(n_cells) % 3 == 0
    profiles = rng.gamma(2.0, 2.0, (2, n_genes))
    means = profiles[types.astype(int)] * np.where(types, 2.0, 1.0)[:, None]
    means[:, :10] *= rng.lognormal(0, 0.8, (n_cells, 1))
    counts = csr_matrix(rng.poisson(means * rng.gamma(10, 0.1, means.shape)).astype(np.float32))
    obs = pd.DataFrame({"cell_type": pd.Categorical(np.where(types, "large", "small"))})
    obs.index = obs.index.astype(str)
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"gene{number}" for number in range(n_genes)]))
    adata.layers["counts"] = counts.copy()
    return adata


@pytest.fixture(scope="module")
def model(train):
    return fitted(LatentFlow(**SMALL), train, budget="100epochs")


def test_each_type_has_its_own_means_sizes_and_correlations(model, train):
    real = train.layers["counts"].toarray()
    for name in ("large", "small"):
        of_type = real[train.obs["cell_type"] == name]
        drawn = dense(model.sample(1500, cell_types=[name] * 1500, seed=0))
        assert drawn.mean(axis=0) == pytest.approx(of_type.mean(axis=0), rel=0.3, abs=0.3)
        assert stats.ks_2samp(drawn.sum(axis=1), of_type.sum(axis=1)).statistic < 0.12
        ours, theirs = (np.corrcoef(np.log1p(cells[:, :10]).T) for cells in (drawn, of_type))
        above = np.triu_indices(10, 1)
        # What no independent genes have; a good part of it is there.
        assert ours[above].mean() > 0.6 * theirs[above].mean() > 0.1


def test_without_requested_types_they_come_in_the_training_proportions(model):
    assert (model.sample(900, seed=1).obs["cell_type"] == "large").sum() == pytest.approx(300, abs=1)


@pytest.mark.parametrize("options", [{"coupling": "ot"}, {"guidance": 1.5}, {"solver_steps": 3}])
def test_options_draw_cells_of_the_types_asked_for(options, train):
    model = fitted(LatentFlow(**SMALL | options), train, budget="30epochs")
    drawn = model.sample(600, cell_types=["large", "small"] * 300, seed=0)
    sizes = dense(drawn).sum(axis=1)
    assert sizes[::2].mean() > 1.3 * sizes[1::2].mean()


def test_a_stored_model_draws_the_same_cells_and_knows_its_options(tmp_path, train):
    model = fitted(LatentFlow(**SMALL, coupling="ot", guidance=2.0), train, budget="2epochs")
    model.save(tmp_path)
    loaded = LatentFlow.load(tmp_path)
    assert (loaded.coupling, loaded.guidance) == ("ot", 2.0)
    assert np.array_equal(dense(loaded.sample(40, seed=2)), dense(model.sample(40, seed=2)))


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path, train):
    class Keeping(SilentMonitor):
        """Keeps the state of the second stage's first offer."""

        def __init__(self):
            self.steps = 0

        def advance(self, fraction, *, steps=1):
            self.fraction = fraction

        def checkpoint(self, save):
            if self.fraction > 0.75 and not any(tmp_path.iterdir()):
                save(tmp_path)

    whole = fitted(LatentFlow(**SMALL), train, budget="8epochs", monitor=Keeping())

    class Resuming(SilentMonitor):
        resume_from = tmp_path

    again = fitted(LatentFlow(**SMALL), train, budget="8epochs", monitor=Resuming())
    assert np.array_equal(dense(again.sample(50, seed=0)), dense(whole.sample(50, seed=0)))


def test_the_dispersions_start_from_a_normal_law_and_are_learnt(train):
    model = LatentFlow(**SMALL)
    torch.manual_seed(0)
    start = model._networks(4000, 2)["decoder"].gene_dispersion.detach().numpy()
    assert stats.kstest(start, "norm").pvalue > 1e-3


def test_sizes_below_one_are_refused():
    for name in ("latent_dim", "flow_width", "flow_blocks", "solver_steps", "batch_size"):
        with pytest.raises(GeneratorError, match=f"{name} is 0; give at least 1"):
            LatentFlow(**{name: 0})
    with pytest.raises(GeneratorError, match="hidden_sizes is 0"):
        LatentFlow(hidden_sizes=())
