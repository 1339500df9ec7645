"""Mean pooling: the simplest model of a history that learns item embeddings.

A baseline of ours, without a paper, and not in Table 2. What a sequence model, an
attention or an interest adds is the difference to it.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import inner_products
from mgnm_tf.recommender import SequentialRecommender


class MeanPooling(SequentialRecommender):
    """Scores candidates against the mean embedding of the history.

    A repeated item counts each time; order does not matter.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: size of an item's embedding.
        dropout: the share of the history's embeddings that training sets to zero.
        embedding_stddev: standard deviation of the item table's normal initialisation.
        seed: seeds the dropout.
    """

    shares_items = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        dropout: float = 0.0,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.dropout = CountedDropout(dropout, seed=seed) if dropout else None

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The mean of the real items [B, D]; zero for an empty history."""
        history = self.item_embedding(batch["history"])  # [B, T, D]
        if self.dropout is not None:
            history = self.dropout(history, training=training)
        # In float32: a sum over a long history rounds too much in float16.
        real = tf.cast(tf.not_equal(batch["history"], PADDING_ID), tf.float32)  # [B, T]
        total = tf.einsum("bt,btd->bd", real, tf.cast(history, tf.float32))
        count = tf.reduce_sum(real, axis=1, keepdims=True)  # [B, 1]
        return tf.cast(total / tf.maximum(count, 1.0), history.dtype)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D] or [N, D]
        return tf.cast(inner_products(state, items), tf.float32)
