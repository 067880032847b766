"""The WGAN-GP losses against hand-worked and finite-difference values."""

import numpy as np
import pytest

from models.scgan.runtime import load_tensorflow

tf = load_tensorflow()

from models.scgan import objective  # noqa: E402
from models.scgan.networks import Critic  # noqa: E402
from models.scgan.settings import Settings  # noqa: E402


def test_penalty_of_a_linear_critic_is_its_slope_less_one_squared():
    slope = np.array([[3.0], [4.0]], np.float32)
    penalty = objective.gradient_penalty(lambda cells, types: cells @ slope, tf.zeros([5, 2]), None)
    assert float(penalty) == pytest.approx((5 - 1) ** 2)


def test_penalty_uses_the_type_of_each_cell():
    slopes = tf.constant([[1.0, 0.0], [0.0, 3.0]])

    def critic(cells, types):
        return tf.reduce_sum(cells * tf.gather(slopes, types), axis=1)

    penalty = objective.gradient_penalty(critic, tf.ones([4, 2]), tf.constant([0, 0, 0, 1]))
    assert float(penalty) == pytest.approx((0 + 0 + 0 + (3 - 1) ** 2) / 4)


def test_penalty_of_a_flat_critic_is_one_and_has_a_gradient():
    weight = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        penalty = objective.gradient_penalty(
            lambda cells, types: weight * tf.reduce_sum(cells, axis=1), tf.ones([2, 3]), None
        )
    assert float(penalty) == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(tape.gradient(penalty, weight))


def test_critic_objective_by_hand():
    # f(x) = ½ |x|², so ∇f(x̂) = x̂ and the penalty shows where x̂ lies.
    real = tf.constant([[2.0, 0.0], [0.0, 4.0]])
    generated = tf.constant([[1.0, 1.0], [3.0, 1.0]])
    counterparts = tf.constant([[6.0, 0.0], [0.0, 0.0]])
    mixing = tf.constant([[0.25], [0.5]])
    terms = objective.critic_objective(
        lambda cells, types: tf.reduce_sum(cells**2, axis=1) / 2,
        real=real,
        real_types=None,
        generated=generated,
        generated_types=None,
        counterparts=counterparts,
        mixing=mixing,
        penalty_weight=10.0,
    )
    mean_real, mean_generated = (2 + 8) / 2, (1 + 5) / 2
    # x̂ = (3, 0) and (0, 2)
    penalty = ((3 - 1) ** 2 + (2 - 1) ** 2) / 2
    assert float(terms.wasserstein) == pytest.approx(mean_real - mean_generated)
    assert float(terms.gradient_penalty) == pytest.approx(penalty)
    assert float(terms.loss) == pytest.approx(mean_generated - mean_real + 10 * penalty)


def test_generator_loss_by_hand():
    loss = objective.generator_loss(
        lambda cells, types: cells[:, 0] * types, tf.constant([[2.0], [4.0]]), [1.0, 3.0]
    )
    assert float(loss) == pytest.approx(-(2 + 12) / 2)


def numpy_penalty(kernels, projection, cells, types):
    """Gradient penalty of a ReLU critic by central differences, in double precision."""

    def score(x):
        for kernel in kernels:
            x = np.maximum(x @ kernel, 0)
        return (x * projection[types]).sum(1)

    step = 1e-6
    shifts = np.eye(cells.shape[1]) * step
    slopes = np.stack([(score(cells + s) - score(cells - s)) / (2 * step) for s in shifts], axis=1)
    return ((np.linalg.norm(slopes, axis=1) - 1) ** 2).mean()


def test_penalty_and_its_derivative_against_finite_differences():
    settings = Settings(critic_sizes=(7, 5))
    critic = Critic(settings, n_genes=6, n_types=2, key=5)
    cells = np.random.default_rng(5).gamma(2.0, 1.0, (8, 6))
    types = np.arange(8) % 2
    with tf.GradientTape() as tape:
        penalty = objective.gradient_penalty(critic, tf.constant(cells, tf.float32), tf.constant(types))
    first_kernel, projection = critic.trunk[0].kernel, critic.projection
    slopes = tape.gradient(penalty, [first_kernel, projection])

    kernels = [linear.kernel.numpy().astype(float) for linear in critic.trunk]
    vectors = projection.numpy()[:, :, 0].astype(float)
    assert float(penalty) == pytest.approx(numpy_penalty(kernels, vectors, cells, types), rel=1e-4)

    step = 1e-4
    for place in ((0, 0), (3, 2), (5, 6)):
        shift = np.zeros_like(kernels[0])
        shift[place] = step
        above = numpy_penalty([kernels[0] + shift, kernels[1]], vectors, cells, types)
        below = numpy_penalty([kernels[0] - shift, kernels[1]], vectors, cells, types)
        assert slopes[0].numpy()[place] == pytest.approx((above - below) / (2 * step), rel=1e-2, abs=1e-4)
    shift = np.zeros_like(vectors)
    shift[1, 2] = step
    above = numpy_penalty(kernels, vectors + shift, cells, types)
    below = numpy_penalty(kernels, vectors - shift, cells, types)
    assert tf.convert_to_tensor(slopes[1]).numpy()[1, 2, 0] == pytest.approx(
        (above - below) / (2 * step), rel=1e-2, abs=1e-4
    )
