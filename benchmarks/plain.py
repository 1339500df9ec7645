"""MGNM's capsules as one would first compose them in Keras, to measure ours against.

The same mathematics from the same weights: sequences are rows, padding is masked, and
Keras's layers do the rest.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.layers.sequential_capsule import SequentialCapsule
from mgnm_tf.model import MGNM
from mgnm_tf.ops import masked_softmax, squash


class PlainCapsule(SequentialCapsule):
    """`SequentialCapsule` with a masked, batch-major `Bidirectional(LSTM)`."""

    def build(self, levels_shape: tf.TensorShape) -> None:
        super().build(levels_shape)
        size = levels_shape[-1]
        self.encoder = keras.Sequential(
            [
                keras.layers.Bidirectional(
                    keras.layers.LSTM(size, return_sequences=True)
                ),
                keras.layers.Dense(size, use_bias=False),
            ]
        )

    def call(
        self,
        levels: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None = None,
        routing_logits: tf.Tensor | None = None,
        under_xla: bool = False,
    ) -> tf.Tensor:
        del under_xla  # Keras's layers run anywhere.
        batch, count, length, size = tf.unstack(tf.shape(levels))
        if routing_logits is None:
            routing_logits = self._initial_logits(length, levels.shape[1], training)
        votes = tf.einsum("bltd,kde->blkte", levels, self.projection)
        logits = tf.transpose(routing_logits, [1, 2, 0])[None]  # [1, L, K, T]
        valid = mask[:, None, None]  # [B, 1, 1, T]
        for iteration in range(self.num_iterations):
            last = iteration == self.num_iterations - 1
            seen = votes if last else self._routing_copy(votes)
            couplings = masked_softmax(logits, valid)[..., None]
            capsules = squash(tf.reduce_sum(couplings * seen, axis=3))
            logits += tf.reduce_sum(seen * capsules[:, :, :, None], axis=-1)
            if iteration == 0:
                rows = batch * count * self.num_interests
                shape = [batch, count, self.num_interests, length]
                encoded = self.encoder(
                    tf.reshape(votes, [rows, length, levels.shape[-1]]),
                    mask=tf.reshape(tf.broadcast_to(valid, shape), [rows, length]),
                )
                encoded = tf.reshape(encoded, [*shape, size])
                votes += tf.where(valid[..., None], encoded, 0.0)
        return tf.nn.relu(tf.einsum("blkd,kde->blke", capsules, self.output_kernel))


class PlainMGNM(MGNM):
    """MGNM on `PlainCapsule`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.capsule = PlainCapsule(**self.capsule.get_config())
