"""The preset of what the authors published."""

import dataclasses
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from bench.request.choices import budget_of
from bench.request.hyperparameters import hyperparameters
from bench.request.registry import resolve_model
from models.activa import Activa
from models.activa.published import ActivaPublished
from models.activa.settings import Settings
from models.base import Budget, SilentMonitor
from tests.models.activa.activa_cases import N_GENES, small_cells

SMALL = {"latent_dim": 4, "hidden_sizes": (24, 16, 8), "batch_size": 16, "classifier_learning_rate": 0.01}


def test_it_stands_beside_activa_and_differs_in_what_was_published_alone():
    choice = resolve_model("activa_published")
    assert (choice.generator, choice.name) == (ActivaPublished, "activa_published")
    ours = dataclasses.asdict(Settings()) | {"objective": "release", "sampling_norm": "batch"}
    assert hyperparameters(ActivaPublished) == ours
    assert dataclasses.asdict(ActivaPublished().settings) == ours
    assert hyperparameters(Activa) == dataclasses.asdict(Settings())
    # Whoever sets one is heard.
    assert hyperparameters(ActivaPublished, {"sampling_norm": "eval"})["sampling_norm"] == "eval"
    assert ActivaPublished(weight_reconstruction=0.5, objective="paper").settings == Settings(
        weight_reconstruction=0.5, sampling_norm="batch"
    )


@pytest.mark.parametrize(("profile", "budget"), [("paper", "600 epochs"), ("quick", "20 epochs")])
def test_its_budget_is_the_published_one(profile, budget):
    spec = SimpleNamespace(profile=profile, budget={})
    assert budget_of(spec, resolve_model("activa_published")) == budget
    assert budget_of(spec, resolve_model("activa")) == budget.replace("600", "500")


@pytest.mark.slow
def test_it_draws_what_activa_draws_with_these_settings_also_when_loaded(tmp_path):
    matrix, types = small_cells()
    adata = anndata.AnnData(
        matrix,
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(np.array(["a", "b", "c"])[types])}, index=map(str, range(60))
        ),
        var=pd.DataFrame(index=[f"gene{number}" for number in range(N_GENES)]),
    )
    drawn = []
    for model in (ActivaPublished(**SMALL), Activa(objective="release", sampling_norm="batch", **SMALL)):
        model.fit(adata, seed=0, budget=Budget.parse("8epochs"), monitor=SilentMonitor())
        drawn.append(model.sample(20, seed=1))
    assert (drawn[0].X != drawn[1].X).nnz == 0
    published = ActivaPublished(**SMALL)
    published.fit(adata, seed=0, budget=Budget.parse("8epochs"), monitor=SilentMonitor())
    published.save(tmp_path)
    loaded = ActivaPublished.load(tmp_path)
    assert isinstance(loaded, ActivaPublished)
    assert (loaded.sample(20, seed=1).X != drawn[0].X).nnz == 0
    assert loaded.sample(5, seed=1).uns["activa"]["objective"] == "release"
