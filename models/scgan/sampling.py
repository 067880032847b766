"""New cells from a trained generator network, and the BatchNorm statistics they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import sparse

from models.scgan.networks import GeneratorNetwork

CELLS_PER_CALL = 1024
"""Cells made by one graph call: 74 MB of dense float32 at 18 000 genes."""

PRIOR_PASSES = 100
"""Batches over which `estimate_running_statistics` averages."""


class Prior:
    """What generated cells are drawn from: standard normal noise, and types at given frequencies.

    Parameters
    ----------
    latent_dim
        Size of the noise.
    frequencies
        Share of each cell type.
    """

    def __init__(self, latent_dim: int, frequencies: Sequence[float]) -> None:
        self.latent_dim = latent_dim
        self._logits = tf.math.log(tf.constant([list(frequencies)], tf.float32))

    def draw(self, size: int, seed: Any) -> tuple[Any, Any]:
        """Return noise (size × latent_dim) and types (size) that follow from two integers."""
        seeds = tf.random.split(seed, 2)
        noise = tf.random.stateless_normal([size, self.latent_dim], seeds[0])
        types = tf.random.stateless_categorical(self._logits, size, seeds[1], dtype=tf.int64)
        return noise, tf.squeeze(types, axis=0)


class Sampler:
    """Draws cells from a generator network, through a graph traced once.

    Parameters
    ----------
    network
        The trained network; its running statistics are used.
    """

    def __init__(self, network: GeneratorNetwork) -> None:
        self.network = network
        self._graph = tf.function(
            self._cells,
            input_signature=[tf.TensorSpec([2], tf.int64), tf.TensorSpec([CELLS_PER_CALL], tf.int64)],
            autograph=False,
        )

    def sample(self, types: np.ndarray, *, key: int) -> sparse.csr_matrix:
        """Return one cell for each of `types`, in their order.

        Parameters
        ----------
        types
            Type numbers, one for each cell.
        key
            Seed of the noise.

        Returns
        -------
        scipy.sparse.csr_matrix
            n_cells × n_genes, float32.
        """
        pieces = []
        for call, start in enumerate(range(0, len(types), CELLS_PER_CALL)):
            wanted = types[start : start + CELLS_PER_CALL]
            # Always a full call: one shape means one trace.
            padded = np.resize(wanted, CELLS_PER_CALL)
            seed = tf.constant([key, call], tf.int64)
            cells = self._graph(seed, tf.constant(padded, tf.int64)).numpy()
            pieces.append(to_csr(cells[: len(wanted)]))
        return sparse.vstack(pieces, format="csr")

    def _cells(self, seed: Any, types: Any) -> Any:
        noise = tf.random.stateless_normal([CELLS_PER_CALL, self.network.latent_dim], seed)
        return self.network(noise, types)


def to_csr(dense: np.ndarray) -> sparse.csr_matrix:
    """Return the same matrix as CSR, two to seven times sooner than SciPy's constructor does."""
    filled = dense != 0
    places = np.flatnonzero(filled)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(filled, axis=1))])
    columns = (places % dense.shape[1]).astype(np.int32)
    return sparse.csr_matrix((dense.ravel()[places], columns, starts), shape=dense.shape)


def estimate_running_statistics(
    network: GeneratorNetwork, prior: Prior, *, batch_size: int, key: int
) -> None:
    """Replace the running statistics by those of prior draws under the present weights.

    Each layer's become the mean over `PRIOR_PASSES` training-mode batches of the batch's own mean
    and variance: what the moving average tends to when the weights stand still.

    Parameters
    ----------
    network
        Network, changed in place.
    prior
        Distribution of noise and types.
    batch_size
        Cells in a batch, as in training.
    key
        Seed of the draws.
    """

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
    def move(number: Any) -> None:
        noise, types = prior.draw(batch_size, tf.stack([tf.constant(key, tf.int64), number]))
        done = tf.cast(number, tf.float32)
        network.hidden(noise, types, decay=done / (done + 1.0))

    for number in range(PRIOR_PASSES):
        move(tf.constant(number, tf.int64))
