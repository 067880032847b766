import dataclasses
import inspect
import json
import subprocess
import sys
import textwrap
import typing

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from models.activa import Activa
from models.activa.settings import Settings
from models.base import Budget, GeneratorError, SilentMonitor, Unsupported
from tests.models.activa.activa_cases import DEVICES, N_GENES, Interrupted, KeepingMonitor, small_cells

pytestmark = pytest.mark.slow

SMALL = {"latent_dim": 4, "hidden_sizes": (24, 16, 8), "batch_size": 16, "classifier_learning_rate": 0.01}
# Names as real data have them; "never" is a category without cells.
TYPES = ["CD14+ Monocyte", "CD4+/CD25 T Reg", "never", "B"]


@pytest.fixture
def adata():
    matrix, types = small_cells()
    names = np.array(TYPES)[np.array([0, 1, 3])[types]]
    return anndata.AnnData(
        matrix,
        obs=pd.DataFrame({"cell_type": pd.Categorical(names, categories=TYPES)}, index=map(str, range(60))),
        var=pd.DataFrame(index=[f"gene{number}" for number in range(N_GENES)]),
    )


def fitted(adata, *, budget="8epochs", seed=0, device="cpu", monitor=None, **changes):
    model = Activa(**SMALL | changes)
    budget = Budget.parse(budget)
    model.fit(adata, seed=seed, device=device, budget=budget, monitor=monitor or SilentMonitor())
    return model


@pytest.mark.parametrize("device", DEVICES)
def test_cells_keep_the_contract(adata, device):
    before = adata.copy()
    model = fitted(adata, device=device)
    model.synchronise()
    cells = model.sample(30, seed=5)
    assert cells.X.format == "csr" and cells.X.dtype == np.float32 and cells.shape == (30, N_GENES)
    assert cells.X.data.min() > 0
    assert list(cells.var_names) == list(adata.var_names)
    assert list(cells.obs["cell_type"].cat.categories) == ["CD14+ Monocyte", "CD4+/CD25 T Reg", "B"]
    assert cells.uns["activa"]["seed"] == 5 and cells.uns["activa"]["training_seed"] == 0
    assert cells.uns["activa"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert cells.uns["sampling"] == {"draws": 30, "cell_types": [], "acceptance_rate": [], "accepted": []}
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_types_on_demand_come_with_their_acceptance_rate(adata):
    model = fitted(adata, budget="60epochs")
    wanted = model.sample(200, seed=1).obs["cell_type"].value_counts().index[:1].tolist() * 20
    model.monitor = KeepingMonitor()
    cells = model.sample(20, cell_types=wanted, seed=2)
    assert cells.obs["cell_type"].tolist() == wanted
    told = cells.uns["sampling"]
    assert told["cell_types"] == wanted[:1] and 20 <= told["accepted"][0] <= told["draws"]
    assert told["acceptance_rate"] == [told["accepted"][0] / told["draws"]]
    assert model.monitor.fractions[-1] == 1.0
    json.dumps(told)


def test_written_cells_keep_what_was_told_of_types_with_a_slash(adata, tmp_path):
    model = fitted(adata, budget="60epochs")
    with torch.no_grad():
        model._networks.conditioner[-1].bias += torch.tensor([-1e9, 1e9, -1e9])
    cells = model.sample(4, cell_types=["CD4+/CD25 T Reg"] * 4, seed=2)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    told = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["sampling"]
    assert list(told["cell_types"]) == ["CD4+/CD25 T Reg"]
    assert list(told["acceptance_rate"]) == [1.0]
    assert list(told["accepted"]) == [told["draws"]]
    model.sample(4, seed=2).write_h5ad(tmp_path / "mixture.h5ad")
    told = anndata.read_h5ad(tmp_path / "mixture.h5ad").uns["sampling"]
    assert told["draws"] == 4 and len(told["cell_types"]) == 0


def test_same_seed_same_cells(adata):
    first, again = (fitted(adata, seed=3).sample(20, seed=4).X for _ in range(2))
    assert (first != again).nnz == 0
    assert (first != fitted(adata, seed=4).sample(20, seed=4).X).nnz > 0


def test_chunks_are_whole_and_differ(adata):
    model = fitted(adata)
    pieces = list(model.sample_chunks(50, seed=1, chunk_size=20))
    assert [piece.n_obs for piece in pieces] == [20, 20, 10]
    assert (pieces[0].X != pieces[1].X).nnz > 0


@pytest.mark.parametrize("objective", ["paper", "release"])
def test_a_saved_model_draws_the_same_cells(adata, tmp_path, objective):
    model = fitted(adata, objective=objective, sampling_norm="batch", confidence_threshold=0.1)
    model.save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    loaded = Activa.load(tmp_path)
    assert loaded.settings == model.settings
    ours, theirs = model.sample(25, seed=6), loaded.sample(25, seed=6)
    assert (ours.X != theirs.X).nnz == 0
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    assert ours.uns == theirs.uns


def test_fit_resumes_from_the_monitors_checkpoint(adata, tmp_path):
    with pytest.raises(Interrupted):
        fitted(adata, monitor=KeepingMonitor(folder=tmp_path / "state", stop_at=4))
    resumed = fitted(adata, monitor=KeepingMonitor(resume_from=tmp_path / "state"))
    assert (resumed.sample(9, seed=0).X != fitted(adata).sample(9, seed=0).X).nnz == 0


def test_labels_reach_the_classifier(adata):
    model = fitted(adata, budget="200epochs")
    with torch.no_grad():
        codes = model._networks.conditioner(torch.from_numpy(adata.X.toarray())).argmax(dim=1)
    names = np.array(model._facts["cell_types"])[codes]
    assert (names == adata.obs["cell_type"].to_numpy()).mean() > 0.9


def test_a_conditioner_from_outside_is_trained_and_kept(adata, tmp_path):
    model = fitted(adata, conditioner="tests.models.activa.test_networks:LinearConditioner")
    assert model._networks.conditioner.weight.shape == (3, N_GENES)
    model.save(tmp_path)
    loaded = Activa.load(tmp_path)
    assert torch.equal(loaded._networks.conditioner.weight, model._networks.conditioner.weight)


def test_what_cannot_be_conditioned_is_skipped_with_a_reason(adata):
    assert Activa.skip(adata) is None
    single = adata[adata.obs["cell_type"] == "B"]
    assert Activa.skip(single) == "fewer than two cell types: the classifier has nothing to tell apart"
    with pytest.raises(Unsupported, match=r"^activa: fewer than two cell types"):
        fitted(single)
    without = adata.copy()
    del without.obs["cell_type"]
    assert "no column cell_type" in Activa.skip(without)
    unlabelled = adata.copy()
    unlabelled.obs.loc["0", "cell_type"] = np.nan
    assert Activa.skip(unlabelled) == "some cells have no cell type"


def test_wrong_requests_are_named(adata):
    with pytest.raises(GeneratorError, match="not trained; call fit or load first"):
        Activa().sample(3, seed=0)
    model = fitted(adata, budget="2epochs")
    with pytest.raises(Unsupported, match=r"never saw cell type 'never'; it knows CD14\+ Monocyte, "):
        model.sample(2, cell_types=["B", "never"], seed=0)
    with pytest.raises(ValueError, match="1 cell types for n_cells=2; give one for each cell"):
        model.sample(2, cell_types=["B"], seed=0)
    with pytest.raises(ValueError, match="n_cells=0 must be at least 1"):
        model.sample(0, seed=0)
    with pytest.raises(Unsupported, match="device 'tpu' is not cpu or cuda"):
        fitted(adata, device="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_with_the_remedy(adata, tmp_path):
    with pytest.raises(Unsupported, match="PyTorch sees no GPU; use device cpu, or install a CUDA build"):
        fitted(adata, device="cuda")
    fitted(adata, budget="2epochs").save(tmp_path)
    with pytest.raises(Unsupported, match="PyTorch sees no GPU"):
        Activa.load(tmp_path, device="cuda")


def test_hyper_parameters_can_be_read_from_the_signature():
    parameters = dict(inspect.signature(Activa).parameters)
    assert {name: parameter.default for name, parameter in parameters.items()} == dataclasses.asdict(
        Settings()
    )
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    hints, of_settings = typing.get_type_hints(Activa.__init__), typing.get_type_hints(Settings)
    assert {name: hints[name] for name in parameters} == of_settings


def test_published_constants():
    assert dataclasses.asdict(Settings()) == {
        "objective": "paper",
        "conditioner": "actinn",
        "latent_dim": 128,
        "hidden_sizes": (1024, 512, 256),
        "batch_size": 128,
        "learning_rate": 2e-4,
        "margin": 110.0,
        "weight_kl": 1.0,
        "weight_hinge": 0.25,
        "weight_adversarial": 0.5,
        "weight_reconstruction": 0.05,
        "soft_adapt": False,
        "classifier_learning_rate": 1e-4,
        "classifier_weight_decay": 0.005,
        "precision": "auto",
        "sampling_norm": "prior",
        "confidence_threshold": 0.0,
        "max_draws_per_cell": 200,
    }
    assert Activa.default_budgets["paper"] == "500epochs"


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


def test_listing_the_model_imports_no_framework():
    done = run_python(
        """
        import sys
        import models.activa.generator
        heavy = {"torch", "anndata", "pandas", "scipy", "sklearn", "safetensors"} & set(sys.modules)
        assert not heavy, heavy
        """
    )
    assert done.returncode == 0, done.stderr


def test_prepare_leaves_nothing_of_torch_to_be_imported_by_training():
    done = run_python(
        """
        import sys
        import anndata, numpy as np, pandas as pd, scipy.sparse as sp
        from models.activa import Activa
        from models.base import Budget, SilentMonitor

        assert "torch" not in sys.modules
        matrix = sp.random(40, 30, density=0.3, format="csr", dtype="float32", random_state=0) * 1000
        types = pd.Series(list("ab") * 20, index=map(str, range(40)))
        adata = anndata.AnnData(matrix, obs=types.to_frame("cell_type"))
        model = Activa(latent_dim=4, hidden_sizes=(16, 8), batch_size=16)
        model.prepare(adata)
        before = set(sys.modules)
        assert {"torch", "torch._dynamo", "models.activa.training"} <= before
        model.fit(adata, seed=0, device="cpu", budget=Budget.parse("12steps"), monitor=SilentMonitor())
        late = {name for name in set(sys.modules) - before if name.startswith(("torch", "models", "sympy"))}
        assert not late, late
        """
    )
    assert done.returncode == 0, done.stderr


def test_first_use_of_the_device_is_a_phase_of_its_own(adata):
    monitor = KeepingMonitor()
    fitted(adata, monitor=monitor)
    assert monitor.phases == ["compile", "classifier", "warm_up", "adversarial", "batchnorm"]
    assert "compile" not in monitor.steps


def test_the_core_needs_only_torch_numpy_and_scipy():
    done = run_python(
        """
        import sys
        for name in ("anndata", "pandas", "scanpy", "sklearn", "pydantic", "safetensors", "h5py", "rich"):
            sys.modules[name] = None

        import numpy as np
        import scipy.sparse as sp
        from models.activa.sampling import sample_cells, sample_types
        from models.activa.settings import Settings
        from models.activa.training import train
        from models.base import Budget

        matrix = sp.random(40, 30, density=0.3, format="csr", dtype="float32", random_state=0) * 1000
        settings = Settings(latent_dim=4, hidden_sizes=(16, 8), batch_size=16)
        networks = train(
            matrix,
            np.arange(40) % 2,
            n_cell_types=2,
            seed=0,
            budget=Budget.parse("12steps"),
            settings=settings,
        )
        drawn = sample_cells(networks, 20, seed=1)
        assert sp.issparse(drawn.matrix) and drawn.matrix.shape == (20, 30)
        common = np.bincount(drawn.types).argmax()
        assert (sample_types(networks, np.full(5, common), names=["a", "b"], seed=1).types == common).all()
        """
    )
    assert done.returncode == 0, done.stderr
