"""Keras 2, the one place that imports it: of TensorFlow 2.15, later of `tf_keras`.

TensorFlow 2.15 holds Keras 2 itself. From 2.16 on `tf.keras` is Keras 3, and Keras 2
lives on as the package `tf-keras`, one version of it for each version of TensorFlow.
All that is ours takes Keras from here:

    from mgnm_tf.keras2 import keras

The variable `TF_USE_LEGACY_KERAS` is neither read nor set: it would change what
`tf.keras` is for everyone else in the process.
"""

from __future__ import annotations

import inspect
import re
from importlib import metadata
from typing import Any

import tensorflow as tf


def minor_version(version: str) -> tuple[int, int]:
    """The first two numbers of a version, e.g. (2, 15) of "2.15.1"."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


OLDEST, NEWEST = (2, 15), (2, 21)
# Until here `tf.keras` is Keras 2.
_LAST_WITH_KERAS2 = (2, 15)

_found = minor_version(tf.__version__)

if not OLDEST <= _found <= NEWEST:
    raise ImportError(
        f"mgnm_tf runs with TensorFlow {OLDEST[0]}.{OLDEST[1]} to "
        f"{NEWEST[0]}.{NEWEST[1]}. Found: {tf.__version__}; install one of these, "
        "docs/install.md says which.",
        name=__name__,
    )

if _found <= _LAST_WITH_KERAS2:
    from tensorflow import keras

    # `tf.keras` does not tell it.
    VERSION = metadata.version("keras")
else:
    _REMEDY = f"pip install 'tf-keras=={_found[0]}.{_found[1]}.*'"
    try:
        import tf_keras as keras
    except ModuleNotFoundError as error:
        if error.name != "tf_keras":
            raise
        raise ImportError(
            f"TensorFlow {tf.__version__} needs the package tf-keras, which holds "
            f"Keras 2: {_REMEDY}.",
            name=__name__,
        ) from error
    VERSION = keras.__version__
    if minor_version(VERSION) != _found:
        raise ImportError(
            f"TensorFlow {tf.__version__} needs tf-keras of its own minor version. "
            f"Found: tf-keras {VERSION}; {_REMEDY}.",
            name=__name__,
        )

__all__ = ["VERSION", "is_of_keras3", "keras", "minor_version"]


def is_of_keras3(kind: type[Any], base: str) -> bool:
    """Whether a class is a layer, model or optimizer of a Keras that is not this one.

    Args:
        kind: the class.
        base: the base class's name, `Layer` or `Optimizer`.
    """
    optimizers = keras.optimizers
    ours = (keras.layers.Layer, optimizers.Optimizer, optimizers.legacy.Optimizer)
    if issubclass(kind, ours):
        return False
    names = {f"{one.__module__}.{one.__name__}" for one in inspect.getmro(kind)}
    return any(re.fullmatch(rf"keras\..*\.{base}", name) for name in names)
