"""One update of scGAN and cscGAN: which cells, which draws, which weights move and where to."""

import math

import numpy as np
import pytest

from models.scgan.runtime import load_tensorflow
from models.scgan.settings import Settings
from tests.models.scgan.scgan_cases import FREQUENCIES, TINY, spread_types, training_cells

tf = load_tensorflow()

from models.scgan import training  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train():
    return training_cells()


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
    spread_types(trainer.generator)
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


def test_training_changes_both_networks_and_nothing_is_left_out(train):
    trainer = make_trainer(train)
    before = trainer.state()
    for number in range(2):
        trainer.step(number, 1e-3)
    after = trainer.state()
    # The running statistics of every layer, the types' tables, weights and biases, the moments.
    assert [key for key in after if np.array_equal(before[key], after[key])] == []


def generate(weights, noise, types):
    """The generator in training mode, written out."""
    cells = tf.cast(noise, tf.float64)
    for i in range(2):
        cells = cells @ weights[f"hidden_{i}/kernel"]
        centred = cells - tf.reduce_mean(cells, axis=0)
        whitened = centred / tf.sqrt(tf.reduce_mean(centred**2, axis=0) + 1e-5)
        scale, offset = (tf.gather(weights[f"batch_norm_{i}/{name}"], types) for name in ("scale", "offset"))
        cells = tf.nn.relu(whitened * scale + offset)
    cells = tf.nn.relu(cells @ weights["output/kernel"] + weights["output/bias"])
    return 20_000 * cells / tf.reduce_sum(cells, axis=1, keepdims=True)


def score(weights, cells, types):
    """The critic, written out."""
    for i in range(2):
        cells = tf.nn.relu(cells @ weights[f"trunk_{i}/kernel"] + weights[f"trunk_{i}/bias"])
    vectors = tf.gather(weights["projection/kernel"], types)[:, :, 0]
    return tf.reduce_sum(cells * vectors, axis=1) + tf.gather(weights["projection/bias"], types)


def critic_slopes(weights, *, real, real_types, fake, fake_types, twin, mixing):
    """Gradient of the WGAN-GP loss; `twin` is made with the noise of `fake` and the types of `real`."""
    between = (1 - mixing) * real + mixing * twin
    with tf.GradientTape() as outer:
        outer.watch(weights)
        with tf.GradientTape() as inner:
            inner.watch(between)
            scores = score(weights, between, real_types)
        penalty = tf.reduce_mean((tf.norm(inner.gradient(scores, between), axis=1) - 1) ** 2)
        difference = tf.reduce_mean(score(weights, fake, fake_types)) - tf.reduce_mean(
            score(weights, real, real_types)
        )
        loss = difference + 10 * penalty
    return {key: np.asarray(tf.convert_to_tensor(g)) for key, g in outer.gradient(loss, weights).items()}


def in_double(variables):
    return {v.name.removesuffix(":0"): tf.constant(v.numpy(), tf.float64) for v in variables}


def test_six_critic_updates_replayed_in_double_precision(train):
    trainer, rate = make_trainer(train), 1e-3
    spread_types(trainer.generator)
    generator, weights = in_double(trainer.generator.variables), in_double(trainer.critic.variables)
    moments = {key: [np.zeros(value.shape)] * 3 for key, value in weights.items()}
    codes = train.obs["cell_type"].cat.codes.to_numpy(np.int64)
    seed = tf.constant([trainer._draw_key, 1], tf.int64)
    # The batch before the first generator update was the first of the line.
    line = trainer._stream.rows(16, 6 * 16).reshape(6, 16)
    start = weights
    for t, rows in enumerate(line, start=1):
        draw = trainer._draw(tf.random.fold_in(seed, t - 1))
        slopes = critic_slopes(
            weights,
            real=train.X[rows].toarray().astype(float),
            real_types=codes[rows],
            fake=generate(generator, draw.noise, draw.types),
            fake_types=draw.types,
            twin=generate(generator, draw.noise, codes[rows]),
            mixing=tf.cast(draw.mixing, tf.float64),
        )
        step_size = rate * math.sqrt(1 - 0.9**t) / (1 - 0.5**t)
        for key, slope in slopes.items():
            m, v, largest = moments[key]
            m, v = 0.5 * m + 0.5 * slope, 0.9 * v + 0.1 * slope**2
            moments[key] = [m, v, np.maximum(largest, v)]
            weights = weights | {key: weights[key] - step_size * m / (np.sqrt(moments[key][2]) + 1e-8)}

    trainer.step(1, rate)
    for key, value in in_double(trainer.critic.variables).items():
        assert np.abs(value - start[key]).max() > rate
        np.testing.assert_allclose(value, weights[key], atol=0.02 * rate, rtol=0, err_msg=key)
