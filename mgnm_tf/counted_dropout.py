"""Dropout that a resumed run goes on with."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras


class CountedDropout(keras.layers.Layer):
    """Dropout whose draws are counted in a variable.

    A resumed run goes on with the draws where it was; the generator of
    `keras.layers.Dropout` is in no checkpoint.

    Shapes:
        any -> the same

    Args:
        rate: the share that is set to zero.
        seed: of the draws.
    """

    def __init__(self, rate: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={rate}")
        self.rate = rate
        self.seed = seed

    def build(self, inputs_shape: tf.TensorShape) -> None:
        self.draws = self.add_weight(
            "draws",
            (),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            # Replicas draw alike, so the count is the same on each.
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(inputs_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not (self.rate and training):
            return inputs
        seed = tf.stack([tf.cast(self.seed, tf.int64), self.draws])
        dropped = tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)
        with tf.control_dependencies([dropped]):
            self.draws.assign_add(1)
        return dropped

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
