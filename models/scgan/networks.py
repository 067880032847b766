"""Networks of scGAN and cscGAN: generator, library-size normalisation, critic.

Source: Marouf et al., Nat. Commun. 11:166 (2020), Methods, and the constants of the authors' release.
Every network looks its conditional parameters up by cell type. scGAN is the case of a single type: the
conditional BatchNorm is then the ordinary one and the projection critic ends in one linear layer.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

from models.scgan.settings import Settings

BATCH_NORM_EPSILON = 1e-5

Initialiser = Callable[[Sequence[int], Any], Any]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return (fan in, fan out): the last two sizes, each times all sizes before them."""
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


def xavier_uniform(shape: Sequence[int], seed: Any) -> Any:
    """Draw from U(−l, l) with l = √(6 / (fan in + fan out)) (Glorot & Bengio 2010, eq. 16)."""
    limit = math.sqrt(6.0 / sum(fans(shape)))
    return tf.random.stateless_uniform(shape, seed, -limit, limit)


def variance_scaling(shape: Sequence[int], seed: Any) -> Any:
    """Draw from N(0, 1.3 · 2 / mean(fan in, fan out)), cut off at two deviations.

    1.3 is TensorFlow 1's rounding of what the cut takes from the variance (1 / 0.8796² = 1.2924).
    """
    mean_fan = sum(fans(shape)) / 2.0
    return tf.random.stateless_truncated_normal(shape, seed, stddev=math.sqrt(1.3 * 2.0 / mean_fan))


def library_size_normalise(cells: Any, library_size: float) -> Any:
    """Scale every row to `library_size`; an all-zero row stays zero (the LSN layer of Marouf et al. 2020).

    Parameters
    ----------
    cells
        n_cells × n_genes, not negative.
    library_size
        Sum of every returned row.
    """
    totals = tf.reduce_sum(cells, axis=1, keepdims=True)
    return cells * (library_size / (totals + sys.float_info.epsilon))


@tf.custom_gradient
def relu(inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return max(inputs, 0), whose slope is declared constant: its derivative is 0 wherever there is one.

    TensorFlow's own relu passes those zeros on when a gradient is differentiated (the gradient penalty),
    and every layer below multiplies them: a seventh of the critic's products.
    """
    outputs = tf.nn.relu(inputs)
    features = tf.stop_gradient(outputs)
    return outputs, lambda slopes: tf.raw_ops.ReluGrad(gradients=slopes, features=features)


class Dense(tf.Module):
    """A linear layer, x·W + b.

    Parameters
    ----------
    sizes
        Numbers of inputs and outputs.
    initialiser
        Function that draws W; b starts at zero.
    seed
        Seed of W: two integers.
    bias
        Whether there is a b.
    name
        Name under which its variables are stored.
    """

    def __init__(
        self, sizes: tuple[int, int], *, initialiser: Initialiser, seed: Any, bias: bool = True, name: str
    ) -> None:
        super().__init__(name=None)
        self.kernel = tf.Variable(initialiser(sizes, seed), name=f"{name}/kernel")
        self.bias = tf.Variable(tf.zeros(sizes[1]), name=f"{name}/bias") if bias else None

    def __call__(self, inputs: Any) -> Any:
        """Return n_cells × outputs."""
        outputs = tf.matmul(inputs, self.kernel)
        return outputs if self.bias is None else tf.nn.bias_add(outputs, self.bias)


class ConditionalBatchNorm(tf.Module):
    """BatchNorm whose scale and offset are looked up per cell type (Dumoulin et al. 2016).

    The running mean and variance are shared by all types and move with every pass in training
    mode, by the batch's mean and its biased variance.

    Parameters
    ----------
    size
        Number of units.
    n_types
        Rows of the scale and offset tables.
    name
        Name under which its variables are stored.
    """

    def __init__(self, size: int, *, n_types: int, name: str) -> None:
        super().__init__(name=None)
        self.scale = tf.Variable(tf.ones([n_types, size]), name=f"{name}/scale")
        self.offset = tf.Variable(tf.zeros([n_types, size]), name=f"{name}/offset")
        self.running_mean = tf.Variable(tf.zeros(size), trainable=False, name=f"{name}/running_mean")
        self.running_variance = tf.Variable(tf.ones(size), trainable=False, name=f"{name}/running_variance")

    def __call__(self, inputs: Any, types: Any, *, decay: Any = None) -> Any:
        """Normalise n_cells × size.

        Parameters
        ----------
        inputs
            Activations.
        types
            Row of the tables for each cell.
        decay
            None normalises with the running statistics (inference). A number normalises with the
            batch's own (training), after which running ← decay · running + (1 − decay) · batch.
        """
        if decay is None:
            mean, variance = self.running_mean, self.running_variance
        else:
            mean, variance = tf.nn.moments(inputs, axes=[0])
            self.running_mean.assign(decay * self.running_mean + (1.0 - decay) * mean)
            self.running_variance.assign(decay * self.running_variance + (1.0 - decay) * variance)
        scale, offset = tf.gather(self.scale, types), tf.gather(self.offset, types)
        return tf.nn.batch_normalization(inputs, mean, variance, offset, scale, BATCH_NORM_EPSILON)


class GeneratorNetwork(tf.Module):
    """Noise and cell types in, cells of a fixed library size out.

    Parameters
    ----------
    settings
        Sizes of its layers and the library size.
    n_genes
        Units of the output.
    n_types
        Number of cell types; 1 for scGAN.
    key
        Seed of the initial weights.
    """

    def __init__(self, settings: Settings, *, n_genes: int, n_types: int, key: int = 0) -> None:
        super().__init__(name=None)
        self.latent_dim, self.library_size = settings.latent_dim, settings.library_size
        sizes = [settings.latent_dim, *settings.generator_sizes]
        seeds = tf.random.split(tf.constant([key, 0], tf.int64), len(sizes))
        self.linear = [
            Dense(pair, initialiser=xavier_uniform, seed=seeds[i], bias=False, name=f"hidden_{i}")
            for i, pair in enumerate(pairwise(sizes))
        ]
        self.norms = [
            ConditionalBatchNorm(size, n_types=n_types, name=f"batch_norm_{i}")
            for i, size in enumerate(settings.generator_sizes)
        ]
        output_sizes = (sizes[-1], n_genes)
        self.output = Dense(output_sizes, initialiser=variance_scaling, seed=seeds[-1], name="output")

    def hidden(self, noise: Any, types: Any, *, decay: Any = None) -> Any:
        """Return the last hidden layer; `decay` as in `ConditionalBatchNorm`."""
        activations = noise
        for linear, norm in zip(self.linear, self.norms, strict=True):
            activations = tf.nn.relu(norm(linear(activations), types, decay=decay))
        return activations

    def __call__(self, noise: Any, types: Any, *, decay: Any = None) -> Any:
        """Return cells, n_cells × n_genes; `decay` as in `ConditionalBatchNorm`."""
        cells = tf.nn.relu(self.output(self.hidden(noise, types, decay=decay)))
        return library_size_normalise(cells, self.library_size)


class Critic(tf.Module):
    """A score for each cell, given its type: ⟨w_type, trunk(cell)⟩ + b_type.

    Parameters
    ----------
    settings
        Sizes of the trunk's layers.
    n_genes
        Units of the input.
    n_types
        Number of cell types; 1 for scGAN.
    key
        Seed of the initial weights.
    """

    def __init__(self, settings: Settings, *, n_genes: int, n_types: int, key: int = 0) -> None:
        super().__init__(name=None)
        sizes = [n_genes, *settings.critic_sizes]
        seeds = tf.random.split(tf.constant([key, 0], tf.int64), len(sizes))
        self.trunk = [
            Dense(pair, initialiser=variance_scaling, seed=seeds[i], name=f"trunk_{i}")
            for i, pair in enumerate(pairwise(sizes))
        ]
        # The release draws all types' vectors as one tensor, so its fans grow with the number of types.
        shape = (n_types, sizes[-1], 1)
        self.projection = tf.Variable(xavier_uniform(shape, seeds[-1]), name="projection/kernel")
        self.projection_bias = tf.Variable(tf.zeros(n_types), name="projection/bias")

    def __call__(self, cells: Any, types: Any) -> Any:
        """Return n_cells scores."""
        activations = cells
        for linear in self.trunk:
            activations = relu(linear(activations))
        weights = tf.squeeze(tf.gather(self.projection, types), axis=2)
        return tf.reduce_sum(activations * weights, axis=1) + tf.gather(self.projection_bias, types)


def read_variables(variables: Sequence[Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Copy variables to the host, keyed by their names."""
    return {prefix + variable.name.removesuffix(":0"): np.asarray(variable) for variable in variables}


def write_variables(variables: Sequence[Any], values: dict[str, np.ndarray], prefix: str = "") -> None:
    """Put back what `read_variables` copied."""
    for variable in variables:
        variable.assign(values[prefix + variable.name.removesuffix(":0")])
