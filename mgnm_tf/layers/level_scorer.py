"""Scores candidates against the interests of every level."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.ops import masked_softmax, products_with_items


@keras.saving.register_keras_serializable(package="mgnm_tf")
class LevelScorer(keras.layers.Layer):
    """Attends from each candidate to the interests of a level, Eq. 12-14.

    With s_k = q_k . x_t, the inner product of Eq. 14 is sum_k softmax(s)_k s_k, so
    the preference vector of Eq. 12 is never formed and all candidates share one
    encoded history.

    Shapes:
        interests [B, L, K, D], candidates [B, C, D], or [C, D] if all rows share them,
        mask [B, K] bool or None: which interests there are -> level logits [B, L, C]
        float32
    """

    def call(
        self,
        interests: tf.Tensor,
        candidates: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        candidates = tf.convert_to_tensor(candidates)  # Its rank is asked for.
        batch, levels, count, size = tf.unstack(tf.shape(interests))
        # K outermost: a softmax over it is then K-way arithmetic on whole planes.
        queries = tf.transpose(interests, [0, 2, 1, 3])
        queries = tf.reshape(queries, [batch, count * levels, size])
        scores = products_with_items(queries, candidates)  # [B, K * L, C]
        scores = tf.cast(scores, tf.float32)
        scores = tf.reshape(scores, [batch, count, levels, -1])
        if mask is not None:
            weights = masked_softmax(scores, mask[:, :, None, None], axis=1)
            return tf.reduce_sum(weights * scores, axis=1)
        return _attended(scores)

    def get_config(self) -> dict[str, Any]:
        return super().get_config()


@tf.custom_gradient
def _attended(scores: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Attends: y = sum_k softmax(s)_k s_k over axis 1, [B, K, ...] -> [B, ...].

    Its gradient is dy/ds_k = softmax(s)_k (1 + s_k - y). TensorFlow's own goes through
    the maximum, the exponentials and both sums, tensors of the scores' size each.
    """
    weights = tf.exp(scores - tf.reduce_max(scores, axis=1, keepdims=True))
    total = tf.reduce_sum(weights, axis=1)
    attended = tf.reduce_sum(weights * scores, axis=1) / total

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        around = scores - (attended - 1.0)[:, None]
        return weights * around * (upstream / total)[:, None]

    return attended, gradient
