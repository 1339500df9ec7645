"""ComiRec-SA (Cen et al., KDD 2020), https://arxiv.org/abs/2005.09347.

Self-attention with K heads over the history. Departs from the authors' code
(THUDM/ComiRec): positions count from the newest item, where theirs count from the
oldest kept; trained by cross-entropy over given candidates, each of which chooses its
interest, not by a sampled softmax for the positive's interest (the strong recipe is
theirs, with `readout` "positive"). As in their code, and
not as in one reading of the text, positions steer the attention but are not summed,
unless `sum_positions` is true.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from baselines.layers import (
    READOUTS,
    read_interests,
    read_positives_interest,
)
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import masked_softmax
from mgnm_tf.recommender import SequentialRecommender


class ComiRecSA(SequentialRecommender):
    """Attends K times to the history; a candidate takes the nearest interest.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the longest history; each position has an embedding.
        embedding_dim: D; the attention has 4 D hidden units.
        num_interests: K.
        readout: see `read_interests` and, for the training of "positive",
            `read_positives_interest`.
        dropout: the share of the history's embeddings that training sets to zero.
        sum_positions: an interest is the sum of items with their positions, the
            reading of shenweichen/DeepMatch; else of items alone, the authors' code.
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
        num_interests: int = 4,
        readout: str = "hard",
        dropout: float = 0.0,
        sum_positions: bool = False,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users
        if num_interests < 1:
            raise ValueError(
                f"`num_interests` must be positive. Received: {num_interests}"
            )
        if readout not in READOUTS:
            raise ValueError(
                f"`readout` must be one of {READOUTS}. Received: readout={readout}"
            )
        self.max_history = max_history
        self.readout = readout
        self.dropout = CountedDropout(dropout, seed=seed) if dropout else None
        self.sum_positions = sum_positions
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.positions = self.add_weight(
            "positions", (max_history, embedding_dim), initializer="glorot_uniform"
        )
        self.attention_hidden = keras.layers.Dense(
            4 * embedding_dim, activation="tanh", name="attention_hidden"
        )
        self.attention_heads = keras.layers.Dense(num_interests, name="attention_heads")

    def attend(self, history: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Weights of the items in each interest, summing to one over the items.

        Shapes:
            history [B, T, D], mask [B, T] bool -> [B, T, K], zero at padding
        """
        logits = self.attention_heads(self.attention_hidden(self._placed(history)))
        return masked_softmax(tf.cast(logits, tf.float32), mask[..., None], axis=1)

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """`score` of `encode`, as in the base class; "positive" trains otherwise."""
        if not (training and self.readout == "positive"):
            return super().call(batch, training=training)
        interests = self.encode(batch, training=True)
        shared = batch.get("shared_negatives")
        return read_positives_interest(
            interests,
            self.item_embedding(batch["candidates"]),
            shared=None if shared is None else self.item_embedding(shared),
        )

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """Interests [B, K, D] float32."""
        return self._interests(batch, training)[0]

    def explain(self, batch: Batch) -> dict[str, tf.Tensor]:
        interests, weights = self._interests(batch)
        couplings = tf.transpose(weights, [0, 2, 1])  # [B, K, T]
        return {"interests": interests[:, None], "couplings": couplings[:, None]}

    def _interests(
        self, batch: Batch, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Interests [B, K, D] float32, and the weights of the items [B, T, K]."""
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        history = self.item_embedding(batch["history"])  # [B, T, D]
        if self.dropout is not None:
            history = self.dropout(history, training=training)
        weights = self.attend(history, mask)
        summed = self._placed(history) if self.sum_positions else history
        mixed = tf.einsum("btk,btd->bkd", weights, tf.cast(summed, tf.float32))
        return mixed, weights

    def _placed(self, history: tf.Tensor) -> tf.Tensor:
        """Items with their positions [B, T, D]."""
        rows = self._positions(tf.shape(history)[1])
        return history + tf.cast(tf.gather(self.positions, rows), history.dtype)

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        rows = self._positions(tf.shape(batch["history"])[1])
        return [*super().embedding_rows(batch), (self.positions, rows)]

    def _positions(self, length: tf.Tensor) -> tf.Tensor:
        """Rows of the positions [T]; the newest item has the last."""
        return tf.range(self.max_history - length, self.max_history)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return read_interests(state, self.item_embedding(candidates), self.readout)
