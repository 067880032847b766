"""The WGAN-GP game (Gulrajani et al. 2017; Marouf et al. 2020, Methods).

A critic here is any function of (cells, types) that returns one score per cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

ScoreCells = Callable[[Any, Any], Any]


class CriticObjective(NamedTuple):
    """What the critic minimises, and its two parts."""

    loss: Any
    wasserstein: Any
    """mean f(real) − mean f(generated), the critic's estimate of the distance."""
    gradient_penalty: Any
    """Before its weight."""


def gradient_penalty(critic: ScoreCells, cells: Any, types: Any) -> Any:
    """Return E[(‖∇f(x̂)‖₂ − 1)²], the gradient taken with respect to the cells.

    Parameters
    ----------
    critic
        f.
    cells
        x̂, n_cells × n_genes.
    types
        Cell type of each row.
    """
    with tf.GradientTape() as tape:
        tape.watch(cells)
        scores = critic(cells, types)
    slopes = tape.gradient(scores, cells)
    # The square root has no derivative at 0, where a cell that activates no unit of the critic puts it.
    norms = tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(slopes), axis=1), 1e-12))
    return tf.reduce_mean(tf.square(norms - 1.0))


def critic_objective(
    critic: ScoreCells,
    *,
    real: Any,
    real_types: Any,
    generated: Any,
    generated_types: Any,
    counterparts: Any,
    mixing: Any,
    penalty_weight: float,
) -> CriticObjective:
    """Return E[f(x_g)] − E[f(x)] + λ E[(‖∇f(x̂)‖₂ − 1)²] with x̂ = x + u (x_c − x).

    Parameters
    ----------
    critic
        f.
    real, real_types
        x, n_cells × n_genes, and the cells' types.
    generated, generated_types
        x_g and the types it was generated with.
    counterparts
        x_c: generated with the types of the real cells.
    mixing
        u, n_cells × 1, from U(0, 1).
    penalty_weight
        λ.
    """
    wasserstein = tf.reduce_mean(critic(real, real_types)) - tf.reduce_mean(
        critic(generated, generated_types)
    )
    penalty = gradient_penalty(critic, real + mixing * (counterparts - real), real_types)
    return CriticObjective(penalty_weight * penalty - wasserstein, wasserstein, penalty)


def generator_loss(critic: ScoreCells, generated: Any, types: Any) -> Any:
    """Return −E[f(x_g)]."""
    return -tf.reduce_mean(critic(generated, types))
