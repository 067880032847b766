"""Training and sampling of scGAN and cscGAN on a handful of genes."""

import math
import subprocess
import sys
import typing
import warnings
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import models.base
from models.base import Budget, Diverged, GeneratorError, Progress, SilentMonitor, Unsupported
from models.scgan.generator import CscGAN, ScGAN
from models.scgan.runtime import load_tensorflow
from models.scgan.settings import Settings

tf = load_tensorflow()

from models.scgan import sampling, training  # noqa: E402
from models.scgan.networks import GeneratorNetwork  # noqa: E402

TINY = {"latent_dim": 4, "generator_sizes": (8, 12), "critic_sizes": (10, 6), "batch_size": 16}
FREQUENCIES = [0.2, 0.5, 0.3]
TYPES = ["B", "Mono", "T"]


@pytest.fixture(scope="module")
def train():
    """60 cells × 30 genes, 12 B, 30 monocytes, 18 T."""
    counts = np.random.default_rng(0).poisson(2.0, (60, 30)) + 1
    cells = (counts / counts.sum(1, keepdims=True) * 20_000).astype(np.float32)
    labels = np.repeat(TYPES, [12, 30, 18])
    obs = pd.DataFrame({"cell_type": pd.Categorical(labels)}, index=[f"cell{i}" for i in range(60)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(30)])
    return AnnData(X=sparse.csr_matrix(cells), obs=obs, var=var)


class Recorder(SilentMonitor):
    """Keeps what it is told; saves the first checkpoint from step `save_at` on."""

    def __init__(self, folder=None, save_at=None):
        self.phases, self.curves, self.advanced = [], {}, []
        self.folder, self.save_at = folder, save_at

    @contextmanager
    def phase(self, name):
        self.phases.append(name)
        yield

    def log(self, step, **values):
        self.curves[step] = values

    def advance(self, fraction, *, steps=1):
        self.advanced.append((fraction, steps))

    def checkpoint(self, save):
        if self.folder is not None and len(self.advanced) + 1 == self.save_at:
            save(self.folder)


def fitted(model, train, budget="3steps", *, seed=0, monitor=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(train, seed=seed, budget=Budget.parse(budget), monitor=monitor or Recorder())
    return model


def make_trainer(train, **changes):
    return training.Trainer(
        Settings(**{**TINY, **changes}),
        cells=train.X,
        types=train.obs["cell_type"].cat.codes.to_numpy(),
        frequencies=FREQUENCIES,
        seed=0,
    )


def test_one_critic_update_before_the_first_step_and_six_before_each_other(train):
    trainer = make_trainer(train)
    counts = []
    for number in range(3):
        trainer.step(number, 1e-4)
        counts.append(
            (trainer.critic_optimiser.iterations.numpy(), trainer.generator_optimiser.iterations.numpy())
        )
    assert counts == [(1, 1), (7, 2), (13, 3)]


def test_batch_norm_moves_twice_with_every_critic_update(train):
    trainer = make_trainer(train)
    # Without weights the first layer's batch variance is 0, so its running variance is decay^passes.
    trainer.generator.linear[0].kernel.assign(tf.zeros([4, 8]))
    passes = []
    for number in range(3):
        trainer.step(number, 0.0)
        variance = trainer.generator.norms[0].running_variance.numpy()[0]
        passes.append(round(math.log(variance) / math.log(0.999)))
    assert passes == [2, 2 + 12, 2 + 12 + 12]
    assert trainer.initial_statistics_weight() == pytest.approx(0.999**26)


def test_the_critic_passes_over_all_cells_before_seeing_one_again(train, monkeypatch):
    trainer = make_trainer(train, batch_size=12)
    seen = []
    monkeypatch.setattr(trainer, "_graph", lambda rows, number, rate: seen.append(rows.numpy()))
    for number in range(5):
        trainer.step(number, 0.0)
    assert [rows.shape for rows in seen] == [(1, 12)] + [(6, 12)] * 4
    line = np.concatenate([rows.ravel() for rows in seen])
    for start in range(0, 300, 60):
        assert sorted(line[start : start + 60]) == list(range(60))


def test_the_penalty_compares_each_real_cell_with_a_fake_of_its_type(train, monkeypatch):
    trainer = make_trainer(train)
    for norm in trainer.generator.norms:
        norm.offset.assign(np.random.default_rng(1).normal(size=norm.offset.shape))
    given = {}

    def record(critic, **arguments):
        given.update(arguments)
        raise InterruptedError

    monkeypatch.setattr(training, "critic_objective", record)
    rows = np.array([0, 59, 30, 5, 11, 12, 41, 42, 1, 2, 3, 4, 50, 51, 52, 53])
    draw = trainer._draw(tf.constant([1, 2], tf.int64))
    with pytest.raises(InterruptedError):
        trainer._update_critic(tf.constant(rows), draw, "generated", 0.0)

    codes = train.obs["cell_type"].cat.codes.to_numpy(np.int64)[rows]
    np.testing.assert_array_equal(given["real"], train.X[rows].toarray())
    np.testing.assert_array_equal(given["real_types"], codes)
    np.testing.assert_array_equal(given["generated_types"], draw.types)
    assert (draw.types.numpy() != codes).any()
    np.testing.assert_allclose(
        given["counterparts"], trainer.generator(draw.noise, codes, decay=1.0), rtol=1e-5
    )
    assert given["penalty_weight"] == 10.0
    mixing = given["mixing"].numpy()
    assert mixing.shape == (16, 1) and len(np.unique(mixing)) == 16 and 0 <= mixing.min() <= mixing.max() < 1


def test_generator_step_descends_its_loss_against_the_updated_critic(train):
    trainer = make_trainer(train, gradient_penalty_weight=0.0)
    rate = 1e-3
    before = {v.name: v.numpy() for v in trainer.generator.trainable_variables}
    trainer.step(0, rate)
    draw = trainer._draw(tf.random.fold_in(tf.stack([tf.constant(trainer._draw_key, tf.int64), 0]), 0))
    after = {v.name: v.numpy() for v in trainer.generator.trainable_variables}
    for variable in trainer.generator.trainable_variables:
        variable.assign(before[variable.name])
    with tf.GradientTape() as tape:
        generated = trainer.generator(draw.noise, draw.types, decay=1.0)
        loss = -tf.reduce_mean(trainer.critic(generated, draw.types))
    kernel = trainer.generator.output.kernel
    slope = tape.gradient(loss, kernel).numpy()
    # AMSGrad's first step with β₁ 0.5 and β₂ 0.9 has length rate · (1 / 0.5) · √0.1 · 0.5 / √0.1 = rate.
    large = np.abs(slope) > 1e-3 * np.abs(slope).max()
    moved = after[kernel.name] - before[kernel.name]
    np.testing.assert_allclose(moved[large], -rate * np.sign(slope[large]), rtol=1e-2)


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


def test_training_changes_both_networks_and_nothing_is_left_out(train):
    trainer = make_trainer(train)
    before = trainer.state()
    for number in range(2):
        trainer.step(number, 1e-3)
    after = trainer.state()
    # The running statistics of every layer, the types' tables, weights and biases, the moments.
    assert [key for key in after if np.array_equal(before[key], after[key])] == []


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
    for norm in network.norms:
        norm.offset.assign(np.random.default_rng(1).normal(size=norm.offset.shape))
    types = np.random.default_rng(2).integers(0, 3, 21)
    noise = np.concatenate(
        [tf.random.stateless_normal([8, 4], tf.constant([9, call], tf.int64)) for call in range(3)]
    )
    expected = network(noise[:21], types)
    drawn = sampling.Sampler(network).sample(types, key=9)
    np.testing.assert_allclose(drawn.toarray(), expected, rtol=1e-4, atol=1e-2)


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
    with pytest.warns(UserWarning, match="still weigh 97%"):
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
