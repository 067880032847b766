"""Training of scGAN and cscGAN: one graph call for each generator update."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from models.base import Diverged, Monitor, Progress
from models.scgan.batches import CellStream, training_cells
from models.scgan.networks import Critic, GeneratorNetwork, read_variables, write_variables
from models.scgan.objective import CriticObjective, critic_objective, generator_loss
from models.scgan.optimiser import AMSGrad
from models.scgan.runtime import seed_keys
from models.scgan.sampling import Prior
from models.scgan.settings import Settings

LOG_EVERY = 20
"""Generator updates between two readings of the losses; each reading waits for the device."""

PASSES_PER_CRITIC_UPDATE = 2
"""Training-mode passes of the generator: one with drawn types, one with the real cells' types."""


class Draw(NamedTuple):
    """The random numbers of one critic update."""

    noise: Any
    types: Any
    mixing: Any


class Trainer:
    """Both networks, their optimisers and the step that moves them.

    Parameters
    ----------
    settings
        Hyper-parameters.
    cells
        Training cells, n_cells × n_genes, CSR or on disk, in the space the generator shall learn.
    types
        Cell type of each cell, numbered from 0.
    frequencies
        Share of each type in the training cells; a single type makes this scGAN.
    seed
        Seed of the initial weights and of all draws.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        cells: Any,
        types: np.ndarray,
        frequencies: Sequence[float],
        seed: int,
    ) -> None:
        self.settings = settings
        generator_key, critic_key, stream_key, self._draw_key = seed_keys(seed, 4)
        self._stream = CellStream(cells.shape[0], seed=stream_key)
        self._cells = training_cells(cells, types)
        self.prior = Prior(settings.latent_dim, frequencies)
        sizes = {"n_genes": cells.shape[1], "n_types": len(frequencies)}
        self.generator = GeneratorNetwork(settings, **sizes, key=generator_key)
        self.critic = Critic(settings, **sizes, key=critic_key)
        moments = {"beta_1": settings.beta_1, "beta_2": settings.beta_2}
        self.generator_optimiser = AMSGrad(self.generator.trainable_variables, **moments)
        self.critic_optimiser = AMSGrad(self.critic.trainable_variables, **moments)
        self._graph = tf.function(
            self._step,
            input_signature=[
                tf.TensorSpec([None, settings.batch_size], tf.int64),
                tf.TensorSpec([], tf.int64),
                tf.TensorSpec([], tf.float32),
            ],
            autograph=False,
        )

    def compile(self) -> None:
        """Trace the step; nothing is trained."""
        self._graph.get_concrete_function()

    def step(self, number: int, learning_rate: float) -> dict[str, Any]:
        """Make generator update `number` (from 0) after its critic updates; return the losses, on the device.

        The release makes a single critic update before its first generator update, and `critic_steps`
        before every later one.
        """
        size, later = self.settings.batch_size, self.settings.critic_steps
        n_batches, consumed = (later, 1 + (number - 1) * later) if number else (1, 0)
        rows = self._stream.rows(consumed * size, n_batches * size).reshape(n_batches, size)
        self._cells.announce(rows)
        return self._graph(
            tf.constant(rows, tf.int64), tf.constant(number, tf.int64), tf.constant(learning_rate, tf.float32)
        )

    def _step(self, rows: Any, number: Any, learning_rate: Any) -> dict[str, Any]:
        """Update the critic once for each row of `rows`, then the generator."""
        seed = tf.stack([tf.constant(self._draw_key, tf.int64), number])
        last = tf.shape(rows)[0] - 1
        decay = self.settings.batch_norm_decay

        def critic_alone(i: Any) -> list[Any]:
            draw = self._draw(tf.random.fold_in(seed, i))
            generated = self.generator(draw.noise, draw.types, decay=decay)
            self._update_critic(rows[i], draw, generated, learning_rate)
            return [i + 1]

        # Written out, because AutoGraph would rewrite the source of all that is called: most of a second.
        tf.while_loop(lambda i: i < last, critic_alone, [tf.constant(0)])
        draw = self._draw(tf.random.fold_in(seed, last))
        # As in the release's joint graph call, the last critic update and the generator's share their cells.
        with tf.GradientTape() as tape:
            generated = self.generator(draw.noise, draw.types, decay=decay)
            with tape.stop_recording():
                objective = self._update_critic(rows[last], draw, generated, learning_rate)
            loss = generator_loss(self.critic, generated, draw.types)
        variables = self.generator.trainable_variables
        self.generator_optimiser.apply(tape.gradient(loss, variables), learning_rate)
        return {
            "critic_loss": objective.loss,
            "wasserstein": objective.wasserstein,
            "gradient_penalty": objective.gradient_penalty,
            "generator_loss": loss,
        }

    def _draw(self, seed: Any) -> Draw:
        """Draw noise, types and mixing weights for one batch."""
        size = self.settings.batch_size
        seeds = tf.random.split(seed, 2)
        noise, types = self.prior.draw(size, seeds[0])
        return Draw(noise, types, mixing=tf.random.stateless_uniform([size, 1], seeds[1]))

    def _update_critic(self, rows: Any, draw: Draw, generated: Any, learning_rate: Any) -> CriticObjective:
        """Make one critic update on the training cells `rows`."""
        real, real_types = self._cells.batch(rows)
        counterparts = self.generator(draw.noise, real_types, decay=self.settings.batch_norm_decay)
        with tf.GradientTape() as tape:
            objective = critic_objective(
                self.critic,
                real=real,
                real_types=real_types,
                generated=generated,
                generated_types=draw.types,
                counterparts=counterparts,
                mixing=draw.mixing,
                penalty_weight=self.settings.gradient_penalty_weight,
            )
        variables = self.critic.trainable_variables
        self.critic_optimiser.apply(tape.gradient(objective.loss, variables), learning_rate)
        return objective

    def close(self) -> None:
        """Read no cells any more."""
        self._cells.close()

    def state(self) -> dict[str, np.ndarray]:
        """Copy all that training has changed to the host; the draws have no state but the step's number."""
        arrays: dict[str, np.ndarray] = {}
        for part, variables in self._parts().items():
            arrays |= read_variables(variables, prefix=f"{part}/")
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Put back what `state` returned."""
        for part, variables in self._parts().items():
            write_variables(variables, arrays, prefix=f"{part}/")

    def _parts(self) -> dict[str, list[Any]]:
        """Return the variables by what they belong to."""
        return {
            "generator": list(self.generator.variables),
            "critic": list(self.critic.variables),
            "generator_optimiser": self.generator_optimiser.state,
            "critic_optimiser": self.critic_optimiser.state,
        }

    def initial_statistics_weight(self) -> float:
        """Return what BatchNorm's initial statistics still weigh in the running ones: decay^passes."""
        passes = PASSES_PER_CRITIC_UPDATE * int(self.critic_optimiser.iterations.numpy())
        return self.settings.batch_norm_decay**passes


def train(trainer: Trainer, progress: Progress, monitor: Monitor) -> None:
    """Play the game until the budget is used up.

    Losses are read, checked, logged and a checkpoint offered at the first update, every `LOG_EVERY` and the
    last.

    Raises
    ------
    Diverged
        If a loss, or in the end a weight of the generator, is NaN or infinite.
    """
    finished = progress.finished
    while not finished:
        losses = trainer.step(progress.steps, trainer.settings.rate_at(progress.fraction))
        progress.steps += 1
        # Read once for both uses: a budget in seconds may end between two readings.
        finished = progress.finished
        monitor.advance(progress.fraction)
        if progress.steps == 1 or progress.steps % LOG_EVERY == 0 or finished:
            values = {name: float(value) for name, value in losses.items()}
            _require_finite(values, f"at generator update {progress.steps}")
            monitor.log(progress.steps, **values)
            monitor.checkpoint(partial(save_checkpoint, trainer=trainer, progress=progress))
    sums = {variable.name: float(tf.reduce_sum(variable)) for variable in trainer.generator.variables}
    _require_finite(sums, "at the end of training")


def _require_finite(values: dict[str, float], when: str) -> None:
    """Raise `Diverged` for the first value that is no finite number."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} {when}: try a lower learning_rate or another seed")


def save_checkpoint(folder: Path, *, trainer: Trainer, progress: Progress) -> None:
    """Write all that an uninterrupted training would carry on with."""
    save_file(trainer.state(), folder / "training.safetensors")
    used = {"steps": progress.steps, "seconds": progress.seconds}
    (folder / "progress.json").write_text(json.dumps(used), encoding="utf-8")


def load_checkpoint(folder: Path, *, trainer: Trainer) -> dict[str, float]:
    """Put back what `save_checkpoint` wrote; return the ``steps`` and ``seconds`` it had used."""
    trainer.restore(load_file(folder / "training.safetensors"))
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))
