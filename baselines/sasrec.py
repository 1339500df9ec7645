"""SASRec (Kang & McAuley, ICDM 2018), https://arxiv.org/abs/1808.09781.

Not in MGNM's paper. Departs from the authors' code (kang205/SASRec): each instance
predicts after its newest item only, since every prefix is an instance of its own, where
theirs predicts after each item at once, with one negative; positions count from the
newest item; keys and values are normalised as queries are, which is the paper's
x + g(LayerNorm(x)).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from baselines.layers import CountedDropout
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.ops import inner_products, masked_softmax
from mgnm_tf.recommender import SequentialRecommender


class SASRec(SequentialRecommender):
    """Scores candidates against the newest position of a causal transformer.

    Only the newest position is read, so the last block has one query; that changes no
    score.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the longest history; each position has an embedding.
        embedding_dim: D.
        num_blocks: of attention and feed-forward network.
        num_heads: of each attention; divides D.
        dropout: of the embeddings, the attention and both parts' outputs.
        embedding_stddev: of the tables' normal initialisation.
        seed: of dropout.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        num_blocks: int = 2,
        num_heads: int = 1,
        dropout: float = 0.2,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users
        if num_blocks < 1:
            raise ValueError(f"`num_blocks` must be positive. Received: {num_blocks}")
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(
                "`num_heads` must divide `embedding_dim`. Received: "
                f"num_heads={num_heads}, embedding_dim={embedding_dim}"
            )
        self.max_history = max_history
        self.embedding_dim = embedding_dim
        self.item_embedding = keras.layers.Embedding(
            num_items,
            embedding_dim,
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=embedding_stddev
            ),
        )
        self.positions = self.add_weight(
            "positions",
            (max_history, embedding_dim),
            initializer=keras.initializers.RandomNormal(stddev=embedding_stddev),
        )
        self.dropout = CountedDropout(dropout, seed=seed)
        self.blocks = [
            Block(num_heads, dropout, seed=seed + 1 + number)
            for number in range(num_blocks)
        ]
        self.norm = keras.layers.LayerNormalization()

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The newest position's output [B, D]; zero for an empty history."""
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        items = self.item_embedding(batch["history"]) * self.embedding_dim**0.5
        positions = self.positions[self.max_history - tf.shape(mask)[1] :]
        states = items + tf.cast(positions, items.dtype)  # [B, T, D]
        states = self.dropout(states, training=training)
        for number, block in enumerate(self.blocks):
            is_last = number == len(self.blocks) - 1
            states = block(states, mask=mask, newest_only=is_last, training=training)
        newest = self.norm(states[:, -1])
        return tf.where(mask[:, -1:], newest, tf.zeros_like(newest))

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D]
        return tf.cast(inner_products(state, items), tf.float32)


class Block(keras.layers.Layer):
    """x + Dropout(Attention(LN(x))), then the same of a feed-forward network.

    Shapes:
        states [B, T, D], mask [B, T] bool -> [B, T, D], or [B, 1, D] if `newest_only`
    """

    def __init__(
        self, num_heads: int, dropout: float, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.attention_dropout = CountedDropout(dropout, seed=seed)
        self.outer_dropout = CountedDropout(dropout, seed=seed + 1_000)
        self.inner_dropout = CountedDropout(dropout, seed=seed + 2_000)
        self.last_dropout = CountedDropout(dropout, seed=seed + 3_000)

    def build(self, states_shape: tf.TensorShape) -> None:
        size = states_shape[-1]
        self.attention_norm = keras.layers.LayerNormalization()
        self.query, self.key, self.value = (
            keras.layers.Dense(size, name=name) for name in ("query", "key", "value")
        )
        self.network_norm = keras.layers.LayerNormalization()
        self.inner = keras.layers.Dense(size, activation="relu", name="inner")
        self.outer = keras.layers.Dense(size, name="outer")
        super().build(states_shape)

    def call(
        self,
        states: tf.Tensor,
        mask: tf.Tensor,
        newest_only: bool = False,
        training: bool | None = None,
    ) -> tf.Tensor:
        normed = self.attention_norm(states)
        first = tf.shape(states)[1] - 1 if newest_only else 0
        attended = self._attend(normed[:, first:], normed, mask, training)
        states = states[:, first:] + self.outer_dropout(attended, training=training)
        hidden = self.inner(self.network_norm(states))
        hidden = self.outer(self.inner_dropout(hidden, training=training))
        return states + self.last_dropout(hidden, training=training)

    def _attend(
        self,
        queries: tf.Tensor,
        states: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None,
    ) -> tf.Tensor:
        """Each query [B, Q, D], the newest Q positions, reads itself and the past."""
        query, key, value = (
            self._heads(layer(inputs))
            for layer, inputs in (
                (self.query, queries),
                (self.key, states),
                (self.value, states),
            )
        )  # [B, H, Q or T, D / H]
        logits = tf.matmul(query, key, transpose_b=True) / query.shape[-1] ** 0.5
        count, length = tf.shape(queries)[1], tf.shape(states)[1]
        positions = tf.range(length)
        causal = positions <= positions[length - count :, None]  # [Q, T]
        visible = (mask[:, None] & causal)[:, None]  # [B, 1, Q, T]
        weights = masked_softmax(tf.cast(logits, tf.float32), visible)
        weights = tf.cast(weights, value.dtype)
        weights = self.attention_dropout(weights, training=training)
        merged = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return tf.reshape(merged, tf.shape(queries))

    def _heads(self, inputs: tf.Tensor) -> tf.Tensor:
        rows, length, _ = tf.unstack(tf.shape(inputs))
        width = inputs.shape[-1] // self.num_heads
        split = tf.reshape(inputs, [rows, length, self.num_heads, width])
        return tf.transpose(split, [0, 2, 1, 3])
