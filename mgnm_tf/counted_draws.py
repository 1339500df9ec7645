"""Random draws that a resumed run goes on with.

TensorFlow's own generators are in no checkpoint. Here the number of a draw is counted
in a variable beside the weights, and each draw is a function of the seed and of that
number alone: it is the same on any device, in any mode, and after a resumption.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras


def add_count(layer: keras.layers.Layer, name: str = "draws") -> tf.Variable:
    """Gives a layer or a model the count of its draws, int64 [], at zero.

    Args:
        layer: to whose weights the count is added.
        name: the variable's name.
    """
    return layer.add_weight(
        name,
        (),
        dtype=tf.int64,
        initializer="zeros",
        trainable=False,
        # Replicas draw alike, so the count is the same on each.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def seed_pair(seed: int, number: Any) -> tf.Tensor:
    """The seed of draw `number` for the stateless functions: int64 [2]."""
    return tf.stack([tf.cast(seed, tf.int64), tf.cast(number, tf.int64)])


def next_draw(
    draw: Callable[[tf.Tensor], tf.Tensor], seed: int, count: tf.Variable
) -> tf.Tensor:
    """Draws with the number that is next, then counts it.

    Args:
        draw: makes the random tensor from a seed pair, int64 [2].
        seed: of the layer; it is the pair's first number.
        count: how many draws there were, as `add_count` made it.
    """
    drawn = draw(seed_pair(seed, count))
    # Else the count may go on before it was read.
    with tf.control_dependencies([drawn]):
        count.assign_add(1)
    return drawn


class CountedDropout(keras.layers.Layer):
    """Dropout whose draws are counted, for `keras.layers.Dropout` counts none.

    Shapes:
        any -> the same

    Args:
        rate: the share of the entries that training sets to zero, from 0 to below 1.
        seed: of the random choice of these entries; the same seed and the same count
            of draws choose the same ones.
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={rate}")
        self.rate = rate
        self.seed = seed

    def build(self, inputs_shape: tf.TensorShape) -> None:
        self.draws = add_count(self)
        super().build(inputs_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not (self.rate and training):
            return inputs

        def drop(seed: tf.Tensor) -> tf.Tensor:
            return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)

        return next_draw(drop, self.seed, self.draws)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
