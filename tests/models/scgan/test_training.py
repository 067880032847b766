"""Training and sampling of scGAN and cscGAN on a handful of genes."""

import math
import os
import subprocess
import sys
import typing
import warnings
from collections import Counter
from contextlib import contextmanager, nullcontext
from itertools import count
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import models.base
from models.base import Budget, Diverged, GeneratorError, Progress, SilentMonitor, Unsupported
from models.scgan.generator import CscGAN, ScGAN
from models.scgan.runtime import load_tensorflow
from models.scgan.settings import Settings
from tests.models.scgan.scgan_cases import FREQUENCIES, TINY, TYPES, spread_types, training_cells

tf = load_tensorflow()

from models.scgan import sampling, training  # noqa: E402
from models.scgan.networks import GeneratorNetwork  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train():
    return training_cells()


class Recorder(SilentMonitor):
    """Keeps what it is told; takes the checkpoint offered when `save_at` steps are counted."""

    def __init__(self, folder=None, save_at=None):
        self.phases, self.curves, self.advanced = [], {}, []
        self.folder, self.save_at = folder, save_at
        self.after_phase = lambda: None

    @contextmanager
    def phase(self, name):
        self.phases.append(name)
        yield
        self.after_phase()

    def log(self, step, **values):
        self.curves[step] = values

    def advance(self, fraction, *, steps=1):
        self.advanced.append((fraction, steps))

    def checkpoint(self, save):
        if self.folder is not None and len(self.advanced) == self.save_at:
            save(self.folder)


def fitted(model, train, budget="3steps", *, seed=0, monitor=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(train, seed=seed, budget=Budget.parse(budget), monitor=monitor or Recorder())
    return model


@pytest.mark.parametrize("text", ["4steps", "2epochs", "8s"])
def test_learning_rate_spans_the_budget(text, monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 0.5))
    now = [0.0]
    monkeypatch.setattr(models.base.time, "perf_counter", lambda: now[0])
    rates = []

    def step(number, rate):
        rates.append(rate)
        now[0] += 2.0
        return {"critic_loss": next(clock)}

    trainer = SimpleNamespace(step=step, settings=Settings(), generator=SimpleNamespace(variables=[]))
    training.train(trainer, Progress(Budget.parse(text), 2), SilentMonitor())
    np.testing.assert_allclose(rates, 1e-4 * 0.1 ** np.array([0, 0.25, 0.5, 0.75]))
    assert Settings().rate_at(1.0) == pytest.approx(1e-5)


@pytest.mark.parametrize("seconds", range(3, 13))
def test_the_last_losses_are_logged_wherever_the_clock_ends_the_budget(seconds, monkeypatch):
    clock = count()
    monkeypatch.setattr(models.base.time, "perf_counter", lambda: float(next(clock)))
    made, monitor = [], Recorder()
    trainer = SimpleNamespace(
        step=lambda number, rate: made.append(number) or {"critic_loss": 1.0},
        settings=Settings(),
        generator=SimpleNamespace(variables=[]),
    )
    training.train(trainer, Progress(Budget(seconds, "seconds"), 1), monitor)
    assert max(monitor.curves) == len(monitor.advanced) == len(made)


def test_an_epoch_is_a_pass_of_the_critic(train):
    monitor = Recorder()
    fitted(ScGAN(**{**TINY, "batch_size": 5, "critic_steps": 3}), train, "2epochs", monitor=monitor)
    assert len(monitor.advanced) == 2 * 60 // (5 * 3)
    assert monitor.advanced[-1] == (1.0, 1)


def test_fit_reports_phases_progress_and_every_term(train):
    monitor = Recorder()
    fitted(CscGAN(**TINY), train, "22steps", monitor=monitor)
    assert monitor.phases == ["compile", "adversarial", "batchnorm"]
    assert list(monitor.curves) == [1, 20, 22]
    terms = monitor.curves[20]
    assert terms["critic_loss"] == pytest.approx(
        10 * terms["gradient_penalty"] - terms["wasserstein"], rel=1e-4
    )
    assert "generator_loss" in terms
    assert Counter(steps for _, steps in monitor.advanced) == {1: 22}


@pytest.mark.parametrize("kind", [ScGAN, CscGAN])
def test_same_seed_same_cells_other_seed_other_cells(kind, train):
    first, again, other = (fitted(kind(**TINY), train, seed=seed) for seed in (5, 5, 6))
    cells = first.sample(40, seed=1).X.toarray()
    np.testing.assert_array_equal(cells, again.sample(40, seed=1).X.toarray())
    assert (cells != first.sample(40, seed=2).X.toarray()).any()
    assert (cells != other.sample(40, seed=1).X.toarray()).any()


def test_resumed_training_ends_with_the_same_numbers(train, tmp_path):
    straight = fitted(CscGAN(**TINY), train, "30steps", monitor=(monitor := Recorder(tmp_path, save_at=20)))
    resumed = Recorder()
    resumed.resume_from = tmp_path
    continued = fitted(CscGAN(**TINY), train, "30steps", monitor=resumed)
    assert len(resumed.advanced) == 10
    assert resumed.curves[30] == monitor.curves[30]
    np.testing.assert_array_equal(
        straight.sample(20, seed=0).X.toarray(), continued.sample(20, seed=0).X.toarray()
    )


@pytest.mark.parametrize("kind", [ScGAN, CscGAN])
def test_saved_and_loaded_models_draw_the_same_cells(kind, train, tmp_path):
    model = fitted(kind(**TINY), train)
    model.save(tmp_path)
    loaded = kind.load(tmp_path)
    assert loaded.settings == model.settings
    ours, theirs = model.sample(30, seed=3), loaded.sample(30, seed=3)
    np.testing.assert_array_equal(ours.X.toarray(), theirs.X.toarray())
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    assert list(theirs.var_names) == list(train.var_names)
    other = CscGAN if kind is ScGAN else ScGAN
    with pytest.raises(GeneratorError, match=f"not {other.name}"):
        other.load(tmp_path)


def test_samples_have_the_library_size_and_are_sparse(train):
    cells = fitted(ScGAN(**TINY), train).sample(50, seed=0)
    assert isinstance(cells.X, sparse.csr_matrix) and cells.X.dtype == np.float32
    assert cells.X.nnz == np.count_nonzero(cells.X.toarray()) < 50 * 30
    np.testing.assert_allclose(np.asarray(cells.X.sum(1)).ravel(), 20_000, rtol=1e-5)
    assert "cell_type" not in cells.obs


def test_types_come_as_ordered(train):
    model = fitted(CscGAN(**TINY), train)
    wanted = ["T", "B", "B", "Mono", "T"] * 4
    cells = model.sample(20, cell_types=wanted, seed=0)
    assert list(cells.obs["cell_type"]) == wanted
    assert list(cells.obs["cell_type"].cat.categories) == TYPES


def test_every_cell_is_generated_with_its_own_noise_and_type(monkeypatch):
    monkeypatch.setattr(sampling, "CELLS_PER_CALL", 8)
    network = GeneratorNetwork(Settings(**TINY), n_genes=30, n_types=3)
    spread_types(network)
    types = np.random.default_rng(2).integers(0, 3, 21)
    noise = np.concatenate(
        [tf.random.stateless_normal([8, 4], tf.constant([9, call], tf.int64)) for call in range(3)]
    )
    expected = network(noise[:21], types)
    drawn = sampling.Sampler(network).sample(types, key=9)
    np.testing.assert_allclose(drawn.toarray(), expected, rtol=1e-4, atol=1e-2)


def test_sampling_holds_one_calls_cells_dense_at_a_time(train, monkeypatch):
    monkeypatch.setattr(sampling, "CELLS_PER_CALL", 8)
    model = fitted(ScGAN(**TINY), train)
    graph, made, turned = model._sampler._graph, [], []

    def generate(seed, types):
        cells = graph(seed, types)
        made.append(tuple(cells.shape))
        return cells

    def turn_sparse(cells):
        turned.append(cells.shape)
        assert len(made) == len(turned)
        return to_csr(cells)

    to_csr = sampling.to_csr
    monkeypatch.setattr(model._sampler, "_graph", generate)
    monkeypatch.setattr(sampling, "to_csr", turn_sparse)
    chunks = list(model.sample_chunks(50, seed=0, chunk_size=20))
    assert [chunk.n_obs for chunk in chunks] == [20, 20, 10]
    assert made == [(8, 30)] * 8
    assert turned == [(8, 30), (8, 30), (4, 30)] * 2 + [(8, 30), (2, 30)]


def test_types_follow_the_training_frequencies(train):
    model = fitted(CscGAN(**TINY), train)
    drawn = model.sample(4000, seed=0).obs["cell_type"].value_counts(normalize=True)
    # Four deviations of a share of 4000 draws.
    np.testing.assert_allclose(drawn[TYPES], FREQUENCIES, atol=4 * 0.5 / math.sqrt(4000))
    _, types = sampling.Prior(4, FREQUENCIES).draw(20_000, tf.constant([0, 1], tf.int64))
    np.testing.assert_allclose(np.bincount(types) / 20_000, FREQUENCIES, atol=4 * 0.5 / math.sqrt(20_000))


def test_to_csr_equals_scipys():
    dense = np.random.default_rng(3).poisson(0.4, (13, 7)).astype(np.float32)
    dense[[0, 5, 12]] = 0
    ours, scipys = sampling.to_csr(dense), sparse.csr_matrix(dense)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(ours, part), getattr(scipys, part))


def test_short_budgets_warn_and_settle_batch_norm_on_the_prior(train):
    monitor = Recorder()
    model = ScGAN(**TINY)
    with pytest.warns(UserWarning, match="^scgan: BatchNorm's initial statistics weigh 97%: [^\n]*$"):
        model.fit(train, seed=0, budget=Budget.parse("3steps"), monitor=monitor)
    assert monitor.phases[-1] == "batchnorm"
    network = model._sampler.network
    # The first layer is linear in standard normal noise: its variance is known, its mean is 0.
    variance = (network.linear[0].kernel.numpy() ** 2).sum(0)
    norm = network.norms[0]
    # 1600 draws: the variance of a variance is 2 σ⁴ / n, and batches of 16 leave 1/16 of it out.
    np.testing.assert_allclose(norm.running_variance, variance * 15 / 16, rtol=4 * math.sqrt(2 / 1600))
    np.testing.assert_allclose(norm.running_mean / np.sqrt(variance), 0, atol=4 / math.sqrt(1600))


def test_long_enough_budgets_keep_trainings_statistics(train):
    monitor = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # 2 · (1 + 6 · 3) passes: 0.88^38 is 0.8 %.
        ScGAN(**TINY, batch_norm_decay=0.88).fit(
            train, seed=0, budget=Budget.parse("4steps"), monitor=monitor
        )
    assert monitor.phases == ["compile", "adversarial"]


def test_scgan_refuses_types_and_cscgan_unknown_ones(train):
    with pytest.raises(Unsupported, match="use cscgan"):
        fitted(ScGAN(**TINY), train).sample(2, cell_types=["B", "B"], seed=0)
    model = fitted(CscGAN(**TINY), train)
    with pytest.raises(Unsupported, match="never saw cell type 'Platelet'; it knows: B, Mono, T"):
        model.sample(2, cell_types=["B", "Platelet"], seed=0)
    with pytest.raises(ValueError, match="1 cell types for 2 cells"):
        model.sample(2, cell_types=["B"], seed=0)


def test_the_clock_waits_for_the_gpu_during_training_and_not_for_the_cpu(train, monkeypatch):
    monkeypatch.setattr("models.scgan.generator.on_device", lambda device: nullcontext())
    waits = []
    monkeypatch.setattr(tf.test.experimental, "sync_devices", lambda: waits.append(monitor.phases[-1]))
    for device, expected in (("cpu", []), ("cuda", ["compile", "adversarial", "batchnorm"])):
        model, monitor = ScGAN(**TINY), Recorder()
        monitor.after_phase = model.synchronise
        with pytest.warns(UserWarning):
            model.fit(train, seed=0, device=device, budget=Budget.parse("1steps"), monitor=monitor)
        assert waits == expected


def test_diverging_training_says_so(train):
    with pytest.raises(Diverged, match="at generator update"):
        fitted(ScGAN(**TINY, learning_rate=1e30, final_learning_rate=1e30), train, "5steps")


def test_data_and_devices_that_will_not_do(train):
    one_type = train[train.obs["cell_type"] == "B"].copy()
    assert CscGAN.skip(one_type) == "fewer than two cell types: use scgan"
    assert ScGAN.skip(one_type) is None and CscGAN.skip(train) is None
    assert ScGAN.skip(train[:1]) == "fewer than two training cells"
    with pytest.raises(Unsupported, match="fewer than two cell types"):
        fitted(CscGAN(**TINY), one_type)
    with pytest.raises(Unsupported, match="device 'tpu'"):
        ScGAN(**TINY).fit(train, seed=0, device="tpu", budget=Budget.parse("1steps"), monitor=SilentMonitor())
    with pytest.raises(GeneratorError, match="scgan is not trained yet"):
        ScGAN().sample(1, seed=0)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_cuda_without_a_gpu_names_the_remedy(train):
    with pytest.raises(Unsupported, match="install tensorflow"):
        ScGAN(**TINY).fit(
            train, seed=0, device="cuda", budget=Budget.parse("1steps"), monitor=SilentMonitor()
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"critic_steps": 0}, "critic_steps is 0"),
        ({"beta_2": 1.0}, "beta_2 is 1.0"),
        ({"gradient_penalty_weight": -1.0}, "gradient_penalty_weight is -1.0"),
        ({"critic_sizes": ()}, r"critic_sizes is \(\)"),
    ],
)
def test_hyper_parameters_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        ScGAN(**change)


def test_hyper_parameters_can_be_read_from_the_signature():
    hints = typing.get_type_hints(CscGAN.__init__)
    assert hints["generator_sizes"] == tuple[int, ...] and hints["learning_rate"] is float
    assert CscGAN.__init__.__kwdefaults__["critic_steps"] == 6


def test_listing_the_models_leaves_tensorflow_alone():
    heavy = {"tensorflow", "anndata", "pandas"}
    code = f"import sys, models.scgan.generator; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tensorflow_comes_without_keras_until_keras_is_asked_for():
    code = """
import os, sys
from models.scgan.runtime import load_tensorflow
tf = load_tensorflow()
assert not {"keras", "sklearn", "matplotlib"} & set(sys.modules)
assert "TF_USE_LEGACY_KERAS" not in os.environ
from tensorflow.keras.layers import Dense
assert tf.keras.layers.Dense is Dense and Dense(2)(tf.ones([1, 3])).shape == (1, 2)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
