"""SASRec (Kang & McAuley, ICDM 2018), https://arxiv.org/abs/1808.09781.

This follows the paper, where kang205/SASRec differs: the code takes keys and values
from states that are not normalised, adds each layer's output to normalised ones, has
biases in the projections, and dropout on attention weights and hidden units but not on
what attention adds. Two things are from the code alone: item embeddings are scaled by
sqrt(D), and the last states are normalised.

Departs from both, because all compared models train on the same samples with the same
loss: only the newest position predicts, each prefix of a history being an instance of
its own, where they train on all positions at once with one negative each. An empty
history has the zero state, not the bias of the last normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import inner_products
from mgnm_tf.recommender import SequentialRecommender

# The authors'. Keras's 1e-3 is no longer small beside embeddings that L2 shrinks.
_EPSILON = 1e-8


class SASRec(SequentialRecommender):
    """Scores candidates against the newest state of causal self-attention.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the learned positions; of a longer history the newest are read.
        embedding_dim: D, of items and positions, and units of every layer.
        num_blocks: how many blocks of self-attention and feed-forward network.
        num_heads: into which D is split; the paper finds two no better than one.
        dropout: of the input and of what each layer adds to it. The paper has 0.2 on
            its dense data set and 0.5 on its sparse ones, with D = 50.
        embedding_stddev: standard deviation of the tables' normal initialisation.
        seed: seeds the dropout.
    """

    shares_items = True

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
            raise ValueError(
                f"`num_blocks` must be positive. Received: num_blocks={num_blocks}"
            )
        if num_heads < 1 or embedding_dim % num_heads:
            raise ValueError(
                "`num_heads` must be positive and divide `embedding_dim`. Received: "
                f"num_heads={num_heads}, embedding_dim={embedding_dim}"
            )
        self.max_history = max_history
        self.embedding_dim = embedding_dim
        self.item_embedding, self.position_embedding = (
            keras.layers.Embedding(
                rows,
                embedding_dim,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=embedding_stddev
                ),
            )
            for rows in (num_items, max_history)
        )
        self.dropout = CountedDropout(dropout, seed=seed)
        self.blocks = [_Block(num_heads) for _ in range(num_blocks)]
        self.norm = keras.layers.LayerNormalization(epsilon=_EPSILON)

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The newest state [B, D]; zero for an empty history."""
        history = batch["history"][:, -self.max_history :]
        mask = tf.not_equal(history, PADDING_ID)  # [B, T]
        items = self.item_embedding(history) * self.embedding_dim**0.5  # [B, T, D]
        positions = self.position_embedding(self._positions(history))  # [T, D]

        def drop(values: tf.Tensor) -> tf.Tensor:
            return self.dropout(values, training=training)

        states = drop(items + positions)
        for block in self.blocks[:-1]:
            states = block(states, mask=mask, drop=drop)
        # Only the newest state is scored, so only it asks in the last block.
        states = self.blocks[-1](states, mask=mask, drop=drop, newest_only=True)
        newest = self.norm(states)[:, 0]
        return tf.where(tf.reduce_any(mask, axis=1, keepdims=True), newest, 0.0)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D] or [N, D]
        return tf.cast(inner_products(state, items), tf.float32)

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        positions = self._positions(batch["history"][:, -self.max_history :])
        table = self.position_embedding.embeddings
        return [*super().embedding_rows(batch), (table, positions)]

    def _positions(self, history: tf.Tensor) -> tf.Tensor:
        """Rows of the position table [T]; the newest item has the last."""
        return tf.range(self.max_history - tf.shape(history)[1], self.max_history)


class _Block(keras.layers.Layer):
    """Causal self-attention and a feed-forward network, Sections III-B and III-C.

    Each is wrapped as x + drop(g(norm(x))); the projections have no bias, and no layer
    follows the heads.

    Shapes:
        states [B, T, D], mask [B, T] bool -> [B, T, D], or [B, 1, D] if `newest_only`.
        What stands at padding is not read, and means nothing in the result.

    Args:
        num_heads: H.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, shape: tf.TensorShape) -> None:
        size = shape[-1]
        self.attention_norm, self.feed_forward_norm = (
            keras.layers.LayerNormalization(epsilon=_EPSILON, name=name)
            for name in ("attention_norm", "feed_forward_norm")
        )
        self.query, self.key, self.value = (
            keras.layers.Dense(size, use_bias=False, name=name)
            for name in ("query", "key", "value")
        )
        self.inner = keras.layers.Dense(size, activation="relu", name="inner")
        self.outer = keras.layers.Dense(size, name="outer")
        super().build(shape)

    def call(
        self,
        states: tf.Tensor,
        mask: tf.Tensor,
        drop: Callable[[tf.Tensor], tf.Tensor],
        newest_only: bool = False,
    ) -> tf.Tensor:
        normed = self.attention_norm(states)
        asking = normed[:, -1:] if newest_only else normed  # [B, Q, D]
        attended = self._attend(asking, normed, mask)
        states = (states[:, -1:] if newest_only else states) + drop(attended)
        return states + drop(self.outer(self.inner(self.feed_forward_norm(states))))

    def _attend(
        self, asking: tf.Tensor, states: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        """Scaled dot-product attention of the newest Q positions [B, Q, D]."""
        queries = self._split(self.query(asking))  # [B, H, Q, D / H]
        keys, values = self._split(self.key(states)), self._split(self.value(states))
        logits = tf.matmul(queries, keys, transpose_b=True)  # [B, H, Q, T]
        logits = tf.cast(logits, tf.float32) / float(queries.shape[-1]) ** 0.5
        count, length = tf.shape(asking)[1], tf.shape(states)[1]
        square = tf.ones([length, length], tf.bool)
        past = tf.linalg.band_part(square, -1, 0)[length - count :]  # [Q, T]
        valid = past & mask[:, None, None]  # [B, 1, Q, T]
        # A real item sees itself, so only padding can see nothing: no need, and twice
        # the time, for the softmax that gives zeros there.
        weights = tf.nn.softmax(tf.where(valid, logits, logits.dtype.min))
        attended = tf.matmul(tf.cast(weights, values.dtype), values)
        joined = tf.transpose(attended, [0, 2, 1, 3])  # [B, Q, H, D / H]
        return tf.reshape(joined, tf.shape(asking))

    def _split(self, states: tf.Tensor) -> tf.Tensor:
        """One head after another: [B, T, D] -> [B, H, T, D / H]."""
        batch, length, _ = tf.unstack(tf.shape(states))
        size = states.shape[-1] // self.num_heads
        heads = tf.reshape(states, [batch, length, self.num_heads, size])
        return tf.transpose(heads, [0, 2, 1, 3])
