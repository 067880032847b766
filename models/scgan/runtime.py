"""TensorFlow's process-wide side: a quiet import, the device, seeds.

Nothing here imports TensorFlow before it is asked to.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from models.base import Unsupported


def load_tensorflow() -> Any:
    """Import TensorFlow (seconds) without its start-up messages, and return the module."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    return tf


def on_device(device: str) -> AbstractContextManager[None]:
    """Place what is computed inside on ``"cpu"`` or on the first GPU (``"cuda"``).

    Raises
    ------
    Unsupported
        If the device is neither, or if no GPU is visible to TensorFlow.
    """
    tf = load_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if device not in ("cpu", "cuda"):
        raise Unsupported(f"device {device!r} is not known to TensorFlow models: use cpu or cuda")
    if device == "cuda" and not gpus:
        raise Unsupported("device 'cuda': TensorFlow sees no GPU; install tensorflow[and-cuda] or use cpu")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            # TensorFlow was at work on the GPU before us, and memory growth is then settled.
            break
    return tf.device("/GPU:0" if device == "cuda" else "/CPU:0")


def seed_keys(seed: int, count: int) -> list[int]:
    """Return `count` unrelated 63-bit keys for stateless random numbers."""
    children = np.random.SeedSequence(seed).spawn(count)
    return [int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in children]
