"""Prediction heads that several baselines share."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


class MLPHead(keras.layers.Layer):
    """Scores [state; item] by a perceptron with ReLU, as zepingyu0512/sli_rec does.

    The first layer is applied to state and item apart, which is the same, so that a
    state is multiplied once for all its candidates.

    Shapes:
        states [B, S], or [B, C, S] if they differ by candidate, items [B, C, D]
        -> logits [B, C] float32

    Args:
        units: of the hidden layers.
    """

    def __init__(self, units: tuple[int, ...] = (100, 64), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, states_shape: tf.TensorShape) -> None:
        # Glorot's limit of the joined layer, whose halves these are (S = D).
        limit = (6.0 / (2 * states_shape[-1] + self.units[0])) ** 0.5
        self.state_layer, self.item_layer = (
            keras.layers.Dense(
                self.units[0],
                use_bias=name == "state",
                kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
                name=name,
            )
            for name in ("state", "item")
        )
        self.hidden = [
            keras.layers.Dense(units, activation="relu") for units in self.units[1:]
        ]
        self.last = keras.layers.Dense(1)
        super().build(states_shape)

    def call(self, states: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        projected = self.state_layer(states)
        if states.shape.rank == 2:
            projected = projected[:, None]
        outputs = tf.nn.relu(projected + self.item_layer(items))  # [B, C, units]
        for layer in self.hidden:
            outputs = layer(outputs)
        return tf.cast(self.last(outputs)[..., 0], tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
