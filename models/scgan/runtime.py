"""TensorFlow's process-wide side: a quiet import, the device, seeds.

Nothing here imports TensorFlow before it is asked to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from models.base import Unsupported


def load_tensorflow() -> Any:
    """Import TensorFlow (seconds) without its start-up messages, and return the module.

    Keras stays out until somebody asks for ``tf.keras``: TensorFlow imports it, and with it Matplotlib and
    scikit-learn, only to register optimisers, which takes nearly as long as all the rest.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with nullcontext() if "tensorflow" in sys.modules else _keras_put_off():
        import tensorflow as tf

    return tf


@contextmanager
def _keras_put_off() -> Iterator[None]:
    """Have TensorFlow look for the Keras of old, and find none, while it is imported."""
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TF_USE_LEGACY_KERAS"]
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before


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
