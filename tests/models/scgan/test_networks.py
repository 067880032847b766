"""Networks, optimiser and batches of scGAN and cscGAN against NumPy."""

import math

import numpy as np
import pytest
from scipy import sparse

from models.scgan.runtime import load_tensorflow

tf = load_tensorflow()

from models.scgan import networks  # noqa: E402
from models.scgan.batches import CellStream, DeviceCells  # noqa: E402
from models.scgan.optimiser import AMSGrad  # noqa: E402
from models.scgan.settings import Settings  # noqa: E402

pytestmark = pytest.mark.slow

SETTINGS = Settings(latent_dim=4, generator_sizes=(8, 12), critic_sizes=(10, 6), batch_size=16)


def test_library_size_by_hand_and_empty_cells_stay_empty():
    cells = tf.constant([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 1.5]])
    expected = [[5_000.0, 15_000.0, 0.0], [0.0, 0.0, 0.0], [5_000.0, 0.0, 15_000.0]]
    np.testing.assert_allclose(networks.library_size_normalise(cells, 20_000.0), expected, rtol=1e-6)


def test_conditional_batch_norm_takes_the_row_of_each_cells_type():
    norm = networks.ConditionalBatchNorm(3, n_types=2, name="norm")
    scale = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 10.0]], np.float32)
    offset = np.array([[0.0, 1.0, 2.0], [7.0, 8.0, 9.0]], np.float32)
    norm.scale.assign(scale)
    norm.offset.assign(offset)
    inputs = np.random.default_rng(0).normal(3, 2, (5, 3)).astype(np.float32)
    types = np.array([0, 1, 1, 0, 1])
    whitened = (inputs - inputs.mean(0)) / np.sqrt(inputs.var(0) + 1e-5)
    np.testing.assert_allclose(
        norm(inputs, types, decay=0.9), whitened * scale[types] + offset[types], rtol=1e-4, atol=1e-4
    )


def test_running_statistics_move_by_the_decay_and_serve_inference():
    norm = networks.ConditionalBatchNorm(2, n_types=1, name="norm")
    first = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 8.0]], np.float32)
    second = np.array([[0.0, 4.0], [2.0, 0.0]], np.float32)
    mean, variance = np.zeros(2), np.ones(2)
    for batch in (first, second):
        norm(batch, np.zeros(len(batch), int), decay=0.75)
        mean = 0.75 * mean + 0.25 * batch.mean(0)
        variance = 0.75 * variance + 0.25 * batch.var(0)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(norm.running_variance, variance, rtol=1e-6)
    np.testing.assert_allclose(
        norm(first, np.zeros(3, int)), (first - mean) / np.sqrt(variance + 1e-5), rtol=1e-5
    )
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-6)


def test_generator_network_is_the_stack_of_the_paper():
    network = networks.GeneratorNetwork(SETTINGS, n_genes=30, n_types=3)
    random = np.random.default_rng(1)
    for norm in network.norms:
        for variable in (norm.scale, norm.offset, norm.running_mean):
            variable.assign(random.normal(size=variable.shape))
        norm.running_variance.assign(random.uniform(0.5, 2.0, norm.running_variance.shape))
    noise, types = random.normal(size=(50, 4)).astype(np.float32), np.arange(50) % 3

    hidden = noise
    for linear, norm in zip(network.linear, network.norms, strict=True):
        assert linear.bias is None
        whitened = (hidden @ linear.kernel.numpy() - norm.running_mean) / np.sqrt(
            norm.running_variance.numpy() + 1e-5
        )
        hidden = np.maximum(whitened * norm.scale.numpy()[types] + norm.offset.numpy()[types], 0)
    cells = np.maximum(hidden @ network.output.kernel.numpy() + network.output.bias.numpy(), 0)
    expected = cells / cells.sum(1, keepdims=True) * 20_000
    generated = network(noise, types).numpy()
    np.testing.assert_allclose(generated, expected, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(generated.sum(1), 20_000, rtol=1e-5)


def numpy_critic(critic, cells, types):
    hidden = np.asarray(cells, float)
    for linear in critic.trunk:
        hidden = np.maximum(hidden @ linear.kernel.numpy().astype(float) + linear.bias.numpy(), 0)
    weights = critic.projection.numpy()[types, :, 0]
    return (hidden * weights).sum(1) + critic.projection_bias.numpy()[types]


def test_critic_projects_on_the_vector_of_the_type():
    critic = networks.Critic(SETTINGS, n_genes=30, n_types=3)
    critic.projection_bias.assign([1.0, -2.0, 5.0])
    cells = np.random.default_rng(2).gamma(0.5, 3.0, (7, 30)).astype(np.float32)
    types = np.array([2, 0, 1, 1, 0, 2, 2])
    np.testing.assert_allclose(critic(cells, types), numpy_critic(critic, cells, types), rtol=1e-4)


def test_initial_weights_follow_their_formulas():
    settings = Settings(latent_dim=100, generator_sizes=(300,), critic_sizes=(256,))
    network = networks.GeneratorNetwork(settings, n_genes=500, n_types=1, key=7)
    critic = networks.Critic(settings, n_genes=500, n_types=6, key=7)

    limit = math.sqrt(6 / (100 + 300))
    hidden = network.linear[0].kernel.numpy()
    assert 0.99 * limit < np.abs(hidden).max() <= limit
    assert hidden.std() == pytest.approx(limit / math.sqrt(3), rel=0.02)

    for kernel, mean_fan in ((network.output.kernel, 400), (critic.trunk[0].kernel, 378)):
        assert kernel.numpy().std() == pytest.approx(math.sqrt(2 / mean_fan), rel=0.01)
        # TensorFlow 1 widens the normal by 1.3 in variance before the cut, not by 1 / 0.8796² = 1.2924.
        assert np.abs(kernel).max() == pytest.approx(2 * math.sqrt(1.3 * 2 / mean_fan), rel=1e-3)

    limit = math.sqrt(6 / (256 * 6 + 1 * 6))
    assert 0.97 * limit < np.abs(critic.projection).max() <= limit
    biases = [network.output.bias, critic.trunk[0].bias, critic.projection_bias]
    assert all(not bias.numpy().any() for bias in biases)
    assert (network.norms[0].scale.numpy() == 1).all() and not network.norms[0].offset.numpy().any()


def test_amsgrad_is_the_recursion_written_out():
    start = np.array([1.0, -2.0, 0.5])
    weights = tf.Variable(start, dtype=tf.float32, name="weights")
    optimiser = AMSGrad([weights], beta_1=0.5, beta_2=0.9)
    # The large gradient first: from then on the largest second moment is not the current one.
    gradients = np.array([[4.0, -3.0, 0.0], [0.1, 0.2, -0.3], [0.1, -0.2, 2.0], [-0.5, 0.0, 1e-4]])
    expected, m, v, largest = start.copy(), np.zeros(3), np.zeros(3), np.zeros(3)
    for t, gradient in enumerate(gradients, start=1):
        optimiser.apply([tf.constant(gradient, tf.float32)], tf.constant(0.1))
        m = 0.5 * m + 0.5 * gradient
        v = 0.9 * v + 0.1 * gradient**2
        largest = np.maximum(largest, v)
        rate = 0.1 * math.sqrt(1 - 0.9**t) / (1 - 0.5**t)
        expected -= rate * m / (np.sqrt(largest) + 1e-8)
    assert (largest > v).any()
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert optimiser.iterations.numpy() == len(gradients)


def test_amsgrad_epsilon_is_1e_8():
    weights = tf.Variable([0.0], name="weights")
    gradient = 1e-8
    AMSGrad([weights], beta_1=0.0, beta_2=0.0).apply([tf.constant([gradient])], tf.constant(1.0))
    np.testing.assert_allclose(weights, [-gradient / (gradient + 1e-8)], rtol=1e-4)


def test_every_pass_holds_each_cell_once_in_a_new_order():
    stream = CellStream(10, seed=3)
    line = np.concatenate([stream.rows(start, 6) for start in range(0, 30, 6)])
    passes = line.reshape(3, 10)
    assert (np.sort(passes, axis=1) == np.arange(10)).all()
    assert (passes[0] != passes[1]).any() and (passes[1] != passes[2]).any()
    np.testing.assert_array_equal(CellStream(10, seed=3).rows(7, 16), line[7:23])
    assert (CellStream(10, seed=4).rows(0, 10) != passes[0]).any()


def test_device_cells_are_the_rows_asked_for():
    dense = np.random.default_rng(4).poisson(0.3, (20, 9)).astype(np.float32)
    dense[[3, 19]] = 0
    types = np.arange(20) % 4
    cells, cell_types = DeviceCells(sparse.csr_matrix(dense), types).batch(
        tf.constant([19, 0, 3, 0, 7], tf.int64)
    )
    np.testing.assert_array_equal(cells, dense[[19, 0, 3, 0, 7]])
    np.testing.assert_array_equal(cell_types, [3, 0, 3, 0, 3])


def test_entries_given_twice_add_up():
    twice = sparse.csr_matrix((np.array([1.0, 2.0, 4.0], np.float32), [1, 1, 0], [0, 3]), shape=(1, 2))
    cells, _ = DeviceCells(twice, np.zeros(1)).batch(tf.constant([0], tf.int64))
    np.testing.assert_array_equal(cells, [[4.0, 3.0]])
    assert twice.nnz == 3


def test_relus_slope_is_tensorflows_and_has_no_derivative_of_its_own():
    inputs = tf.constant([-1.5, 0.0, 2.0])
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            outputs = networks.relu(inputs)
        slopes = inner.gradient(outputs, inputs, output_gradients=tf.constant([3.0, 3.0, 3.0]))
    np.testing.assert_array_equal(outputs, [0.0, 0.0, 2.0])
    np.testing.assert_array_equal(slopes, [0.0, 0.0, 3.0])
    # TensorFlow's own relu gives zeros here, which the layers below would multiply.
    assert outer.gradient(slopes, inputs) is None
