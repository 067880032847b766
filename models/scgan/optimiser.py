"""AMSGrad on TensorFlow's fused kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class AMSGrad:
    """AMSGrad (Reddi, Kale & Kumar 2018, Algorithm 2) with Adam's bias correction, as the release has it.

    With g the gradient at update t: m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², v̂ ← max(v̂, v),
    w ← w − α √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v̂ + ε).

    Parameters
    ----------
    variables
        Variables to train.
    beta_1, beta_2
        Decay of the first and second moment.
    epsilon
        Added to √v̂.
    """

    def __init__(
        self, variables: Sequence[Any], *, beta_1: float, beta_2: float, epsilon: float = 1e-8
    ) -> None:
        self.trained = list(variables)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.iterations = tf.Variable(0, dtype=tf.int64, trainable=False, name="iterations")
        self.slots = [
            [
                tf.Variable(
                    tf.zeros_like(variable),
                    trainable=False,
                    name=f"{variable.name.removesuffix(':0')}/{slot}",
                )
                for slot in ("first_moment", "second_moment", "largest_second_moment")
            ]
            for variable in self.trained
        ]

    @property
    def state(self) -> list[Any]:
        """Variables of the optimiser itself."""
        return [self.iterations, *(slot for slots in self.slots for slot in slots)]

    def apply(self, gradients: Sequence[Any], learning_rate: Any) -> None:
        """Make one update."""
        update = tf.cast(self.iterations.assign_add(1), tf.float32)
        beta_1, beta_2 = tf.constant(self.beta_1), tf.constant(self.beta_2)
        for variable, slots, gradient in zip(self.trained, self.slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdamWithAmsgrad(
                var=variable.handle,
                m=slots[0].handle,
                v=slots[1].handle,
                vhat=slots[2].handle,
                beta1_power=tf.pow(beta_1, update),
                beta2_power=tf.pow(beta_2, update),
                lr=learning_rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=self.epsilon,
                # Tables looked up by type have gradients as slices.
                grad=tf.convert_to_tensor(gradient),
            )
