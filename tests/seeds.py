"""Draws weights alike in every run of a test, and at once."""

from __future__ import annotations

import importlib
import random

import numpy as np

from mgnm_tf.keras2 import keras

_BACKEND = importlib.import_module(
    keras.Model.__module__.rpartition(".engine")[0] + ".backend"
)


def seed(number):
    """What `keras.utils.set_random_seed` does for Python, NumPy and Keras's weights.

    That also sets TensorFlow's seed, which no initializer reads, and so throws away
    every kernel that eager calls have made: each test would make them all anew, in as
    much time again as most tests take.
    """
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    _BACKEND._SEED_GENERATOR.generator = random.Random(number)
