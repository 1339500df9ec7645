"""What stands in for the capsules in Table 3: levels -> interests, otherwise read."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.ops import masked_softmax


@keras.saving.register_keras_serializable(package="mgnm_tf")
class BiLSTMInterest(keras.layers.Layer):
    """The last state of a BiLSTM over a level's items, "SCN -> BiLSTM" of Table 3.

    Forwards it has read the newest item last, backwards the oldest. The weights are
    shared over levels, as those of the capsules are, and a linear map takes the 2D
    numbers of both directions to D, as in Eq. 10; the paper says neither.

    Shapes:
        levels [B, L, T, D], mask [B, T] bool -> interests [B, L, 1, D]
    """

    def build(self, levels_shape: tf.TensorShape) -> None:
        size = levels_shape[-1]
        self.recurrent = keras.layers.Bidirectional(keras.layers.LSTM(size))
        self.back = keras.layers.Dense(size, use_bias=False)
        super().build(levels_shape)

    def call(self, levels: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        _, count, _, size = levels.shape
        length = tf.shape(levels)[2]
        sequences = tf.reshape(levels, [-1, length, size])  # [B * L, T, D]
        last = self.recurrent(sequences, mask=tf.repeat(mask, count, axis=0))
        return tf.reshape(self.back(last), [-1, count, 1, size])

    def get_config(self) -> dict[str, Any]:
        return super().get_config()


@keras.saving.register_keras_serializable(package="mgnm_tf")
class SumInterest(keras.layers.Layer):
    """The sum of a level's items, "SCN -> SumPool" of Table 3; it has no weights.

    Shapes:
        levels [B, L, T, D], mask [B, T] bool -> interests [B, L, 1, D]
    """

    def call(self, levels: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        valid = tf.cast(mask, levels.dtype)[:, None, :, None]  # [B, 1, T, 1]
        return tf.reduce_sum(levels * valid, axis=2, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        return super().get_config()


@keras.saving.register_keras_serializable(package="mgnm_tf")
class SelfAttentionInterests(keras.layers.Layer):
    """A level's items, each after looking at the others, "SCN -> SelfAtt" of Table 3.

        h'_i = sum_j softmax_j(h_i Q . h_j K / sqrt(D)) h_j V

    The candidate then attends to the items as it would to interests, Eq. 12-14: "the
    candidate item is utilized to derive the user interest". The paper gives no
    equation; this one is of Vaswani et al. (2017) with one head, without positions,
    and with Q, K, V shared over levels, as the weights of the capsules are.

    Shapes:
        levels [B, L, T, D], mask [B, T] bool -> interests [B, L, T, D], of which those
        at padding are zero, and not for the scorer to see
    """

    def build(self, levels_shape: tf.TensorShape) -> None:
        size = levels_shape[-1]
        self.query, self.key, self.value = (
            self.add_weight(name, (size, size), initializer="glorot_uniform")
            for name in ("query", "key", "value")
        )
        super().build(levels_shape)

    def call(self, levels: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        queries = tf.matmul(levels, self.query * levels.shape[-1] ** -0.5)
        scores = tf.matmul(queries, tf.matmul(levels, self.key), transpose_b=True)
        scores = tf.cast(scores, tf.float32)  # [B, L, T, T]
        weights = masked_softmax(scores, mask[:, None, None])
        mixed = tf.matmul(tf.cast(weights, levels.dtype), levels)
        valid = tf.cast(mask, levels.dtype)[:, None, :, None]
        return tf.matmul(mixed, self.value) * valid

    def get_config(self) -> dict[str, Any]:
        return super().get_config()
