"""Lazy Adam: rows that a batch does not touch cost nothing and stay as they are."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras


class LazyAdam(keras.optimizers.legacy.Adam):
    """Adam whose sparse gradients move the rows that they name, and no others.

    For a row i of a table with the gradient g_i, at step t counted from 1:

        m_i <- beta_1 m_i + (1 - beta_1) g_i
        v_i <- beta_2 v_i + (1 - beta_2) g_i^2
        row_i <- row_i - lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m_i / (sqrt(v_i) + eps)

    Every other row keeps its weights and its moments: that is not Adam, where moments
    of absent rows decay and move them. Dense gradients go through Keras's Adam. The
    arithmetic has the order of `tensorflow_addons.optimizers.LazyAdam`, so both give
    the same bits, and their variables have the same names in a checkpoint.
    """

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any) -> None:
        kwargs.setdefault("name", "LazyAdam")
        super().__init__(learning_rate, **kwargs)

    def _resource_apply_sparse(
        self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor
    ) -> tf.Operation:
        """Moves the rows `indices` [N], unique, by their gradients `grad` [N, ...]."""
        dtype = var.dtype.base_dtype
        beta_1 = self._get_hyper("beta_1", dtype)
        beta_2 = self._get_hyper("beta_2", dtype)
        step = tf.cast(self.iterations + 1, dtype)
        rate = self._decayed_lr(dtype) * tf.sqrt(1 - tf.pow(beta_2, step))
        rate = rate / (1 - tf.pow(beta_1, step))

        first, second = self.get_slot(var, "m"), self.get_slot(var, "v")
        mean = beta_1 * tf.gather(first, indices) + (1 - beta_1) * grad
        square = beta_2 * tf.gather(second, indices) + (1 - beta_2) * tf.square(grad)
        change = rate * mean / (tf.sqrt(square) + tf.cast(self.epsilon, dtype))
        return tf.group(
            first.scatter_update(tf.IndexedSlices(mean, indices)),
            second.scatter_update(tf.IndexedSlices(square, indices)),
            var.scatter_sub(tf.IndexedSlices(change, indices)),
        )


def lazy_adam(learning_rate: Any) -> keras.optimizers.legacy.Adam:
    """The lazy Adam of tensorflow-addons where that one works, else ours.

    tensorflow-addons does not import after TensorFlow 2.15. And it looks for its base
    class in a way that can fail in silence: what is no `legacy.Adam` would apply its
    gradients to whole tables, so it is not taken.

    Args:
        learning_rate: a number, or a schedule of Keras.
    """
    theirs = _of_tensorflow_addons()
    return (theirs or LazyAdam)(learning_rate)


def _of_tensorflow_addons() -> Any:
    if importlib.util.find_spec("tensorflow_addons") is None:
        return None
    with warnings.catch_warnings():  # Of the package's end of life; the pin is known.
        warnings.simplefilter("ignore")
        try:
            from tensorflow_addons.optimizers import LazyAdam as theirs
        except ImportError:
            return None
    return theirs if issubclass(theirs, keras.optimizers.legacy.Adam) else None
