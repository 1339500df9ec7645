"""Layers that several baselines share."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mgnm_tf.ops import masked_softmax

READOUTS = ("hard", "soft")


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


def read_interests(
    interests: tf.Tensor,
    items: tf.Tensor,
    readout: str,
    active: tf.Tensor | None = None,
) -> tf.Tensor:
    """Scores candidates against several interests.

    "hard" takes the nearest interest; "soft" weighs them by a softmax of their scores,
    the label-aware attention of MIND with power 1, in training and testing alike.

    Shapes:
        interests [B, K, D], items [B, C, D], active [B, K, 1] bool, or None for all
        -> [B, C] float32
    """
    scores = tf.matmul(tf.cast(interests, items.dtype), items, transpose_b=True)
    scores = tf.cast(scores, tf.float32)  # [B, K, C]
    if active is None:
        active = tf.ones_like(scores[..., :1], tf.bool)
    # An inactive interest must not compete: its zero would beat negative scores.
    if readout == "hard":
        return tf.reduce_max(tf.where(active, scores, scores.dtype.min), axis=1)
    return tf.reduce_sum(masked_softmax(scores, active, axis=1) * scores, axis=1)
