import numpy as np
import pytest
import torch
from count_cases import RATES, RateModel, dense, fitted, training_cells

from models.base import Diverged, GeneratorError, SilentMonitor, Unsupported
from models.counts import generator as room


@pytest.fixture(scope="module")
def train():
    return training_cells()


@pytest.fixture(scope="module")
def model(train):
    return fitted(RateModel(), train)


def test_types_and_their_rates_come_back_in_the_order_asked_for(model):
    wanted = ["B", "NK/T", "NK/T"] * 1500
    cells = model.sample(4500, cell_types=wanted, seed=1)
    assert list(cells.obs["cell_type"]) == wanted
    for code, name in enumerate(["NK/T", "B"]):
        means = dense(cells)[np.array(wanted) == name].mean(axis=0)
        assert means == pytest.approx(RATES[code], rel=0.2, abs=0.1)


def test_whole_counts_in_csr_float32_with_the_training_genes(model):
    cells = model.sample(50, seed=0)
    assert cells.X.dtype == np.float32
    assert list(cells.var_names) == ["g0", "g1", "g2"]
    assert (cells.X.data == np.round(cells.X.data)).all()
    assert (cells.X.data > 0).all()


@pytest.mark.parametrize("n_cells", [1, 7, 1000])
def test_types_unasked_come_in_the_training_proportions(model, n_cells):
    """A quarter is B: never farther from it than one cell, and on average there."""
    found = [(model.sample(n_cells, seed=s).obs["cell_type"] == "B").sum() for s in range(60)]
    assert np.abs(np.array(found) - n_cells / 4).max() < 1
    assert np.mean(found) == pytest.approx(n_cells / 4, abs=0.25)


def test_seeds_decide_and_a_loaded_model_draws_the_same_cells(model, train, tmp_path):
    first = model.sample(80, seed=5)
    assert np.array_equal(dense(first), dense(fitted(RateModel(), train).sample(80, seed=5)))
    assert not np.array_equal(dense(first), dense(model.sample(80, seed=6)))
    assert not np.array_equal(dense(first), dense(fitted(RateModel(), train, seed=1).sample(80, seed=5)))
    model.save(tmp_path)
    loaded = RateModel.load(tmp_path)
    again = loaded.sample(80, seed=5)
    assert np.array_equal(dense(first), dense(again))
    assert first.obs.equals(again.obs)
    assert loaded.learning_rate == model.learning_rate
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_cells_are_the_same_in_whatever_blocks_they_are_made_sparse(model, monkeypatch):
    whole = model.sample(100, seed=2)
    assert whole.n_obs == 100
    monkeypatch.setattr(room, "BLOCK", 16)
    blocks = model.sample(100, seed=2)
    assert (dense(blocks).sum(axis=1) > 0).any()
    assert whole.obs.equals(blocks.obs)


class Keeping(SilentMonitor):
    """Keeps the checkpoint offered at step 20, stops after it, and later hands it back."""

    def __init__(self, folder, *, resume):
        self.folder, self.resume_from = folder, folder if resume else None

    def checkpoint(self, save):
        if self.resume_from is None:
            save(self.folder)
            raise InterruptedError


def test_a_resumed_training_ends_like_one_that_was_never_stopped(train, tmp_path):
    with pytest.raises(InterruptedError):
        fitted(RateModel(), train, monitor=Keeping(tmp_path, resume=False))
    resumed = fitted(RateModel(), train, monitor=Keeping(tmp_path, resume=True))
    whole = fitted(RateModel(), train)
    assert torch.equal(resumed._tensors()["rates"], whole._tensors()["rates"])


def test_a_training_that_diverges_says_so(train):
    with pytest.raises(Diverged, match="lower the learning rate"):
        fitted(RateModel(learning_rate=float("inf")), train)


def test_wrong_requests_are_named(model, train):
    with pytest.raises(Unsupported, match="rate_model: never saw cell type 'Ghost'"):
        model.sample(2, cell_types=["B", "Ghost"], seed=0)
    with pytest.raises(GeneratorError, match="rate_model: 3 cells, but 1 cell types"):
        model.sample(3, cell_types=["B"], seed=0)
    with pytest.raises(GeneratorError, match="rate_model: n_cells=0"):
        model.sample(0, seed=0)
    with pytest.raises(GeneratorError, match="rate_model: the model is not trained"):
        RateModel().sample(1, seed=0)
    with pytest.raises(Unsupported, match="rate_model: device 'tpu'"):
        RateModel().fit(train, seed=0, device="tpu", budget=None, monitor=SilentMonitor())
    without = train.copy()
    del without.layers["counts"]
    with pytest.raises(GeneratorError, match=r'rate_model: layers\["counts"\] is missing'):
        fitted(RateModel(), without)
