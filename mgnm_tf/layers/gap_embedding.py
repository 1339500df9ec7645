"""What the time between two events is worth, by its order of magnitude."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras

# Bucket b holds the gaps from 2^b - 1 to 2^(b + 1) - 2: zero alone, then 1 and 2, then
# 3 to 6. All that int64 can hold fit in, be they seconds or milliseconds.
_FIRST_OF_BUCKETS = [2**b - 1 for b in range(1, 63)]
NUM_BUCKETS = len(_FIRST_OF_BUCKETS) + 1


@keras.saving.register_keras_serializable(package="mgnm_tf")
class GapEmbedding(keras.layers.Layer):
    """A learned value for each bucket of log2(1 + gap); all start at zero.

    The paper names times as future work and gives no equation; log buckets are as in
    ATRank (Zhou et al., AAAI 2018). A gap below zero, as clocks make them, counts as
    zero.

    Shapes:
        gaps [...] int64, in any one unit -> [..., *shape] float32

    Args:
        shape: of the value of a gap; () is a number.
    """

    def __init__(self, shape: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def build(self, gaps_shape: tf.TensorShape) -> None:
        self.table = self.add_weight(
            "table",
            (NUM_BUCKETS, *self.shape),
            initializer="zeros",
            dtype=tf.float32,
            experimental_autocast=False,
        )
        super().build(gaps_shape)

    def call(self, gaps: tf.Tensor) -> tf.Tensor:
        firsts = tf.constant(_FIRST_OF_BUCKETS, tf.int64)
        flat = tf.reshape(tf.cast(gaps, tf.int64), [-1])
        buckets = tf.searchsorted(firsts, flat, side="right")
        return tf.gather(self.table, tf.reshape(buckets, tf.shape(gaps)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": self.shape}
