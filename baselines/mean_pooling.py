"""Mean pooling: the history is the average of its items.

Not in MGNM's paper. It knows neither order nor interests, so that what a sequential
model adds can be read off the table.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.ops import inner_products
from mgnm_tf.recommender import SequentialRecommender


class MeanPooling(SequentialRecommender):
    """Scores candidates against the mean of the history's embeddings.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D.
        embedding_stddev: of the table's normal initialisation.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        embedding_stddev: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The mean [B, D] of the real items; zero for an empty history."""
        history = self.item_embedding(batch["history"])  # [B, T, D]
        mask = tf.cast(tf.not_equal(batch["history"], PADDING_ID), history.dtype)
        total = tf.reduce_sum(history * mask[..., None], axis=1)
        count = tf.reduce_sum(mask, axis=1, keepdims=True)
        return total / tf.maximum(count, 1.0)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D]
        return tf.cast(inner_products(state, items), tf.float32)
