"""ComiRec-DR (Cen et al., KDD 2020), https://arxiv.org/abs/2005.09347.

Dynamic routing as in CapsNet, with a matrix for each position and interest. Departs
from the authors' code (THUDM/ComiRec): positions count from the newest item, where
theirs count from the oldest kept; trained by cross-entropy over given candidates, each
of which chooses its interest, not by a sampled softmax for the positive's interest (the
strong recipe is theirs, with `readout` "positive"). The controllable aggregation needs
categories and is left out.
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
from mgnm_tf.ops import squash
from mgnm_tf.recommender import SequentialRecommender


class ComiRecDR(SequentialRecommender):
    """Routes the history into K interests; a candidate takes the nearest.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the longest history; there is a matrix for each position.
        embedding_dim: D.
        num_interests: K.
        num_iterations: how often the routing logits are updated.
        readout: see `read_interests` and, for the training of "positive",
            `read_positives_interest`.
        dropout: the share of the history's embeddings that training sets to zero.
        kernel_stddev: of the matrices' normal initialisation. The authors' 1 makes
            votes sqrt(D) times as long as items; D^-0.5 leaves them as long.
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
        num_iterations: int = 3,
        readout: str = "hard",
        dropout: float = 0.0,
        kernel_stddev: float = 1.0,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users
        if num_interests < 1 or num_iterations < 1:
            raise ValueError(
                "`num_interests` and `num_iterations` must be positive. Received: "
                f"num_interests={num_interests}, num_iterations={num_iterations}"
            )
        if readout not in READOUTS:
            raise ValueError(
                f"`readout` must be one of {READOUTS}. Received: readout={readout}"
            )
        if not kernel_stddev > 0:
            raise ValueError(
                "`kernel_stddev` must be positive. "
                f"Received: kernel_stddev={kernel_stddev}"
            )
        self.max_history = max_history
        self.num_iterations = num_iterations
        self.readout = readout
        self.dropout = CountedDropout(dropout, seed=seed) if dropout else None
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.kernel = self.add_weight(
            "kernel",
            (max_history, num_interests, embedding_dim, embedding_dim),
            initializer=keras.initializers.RandomNormal(stddev=kernel_stddev),
        )

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
        return self._routed(batch, training)[0]

    def explain(self, batch: Batch) -> dict[str, tf.Tensor]:
        interests, couplings = self._routed(batch)
        return {"interests": interests[:, None], "couplings": couplings[:, None]}

    def _routed(
        self, batch: Batch, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Interests [B, K, D] float32, and the last shares of the items [B, K, T]."""
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        history = self.item_embedding(batch["history"])  # [B, T, D]
        if self.dropout is not None:
            history = self.dropout(history, training=training)
        kernel = tf.gather(self.kernel, self._positions(batch))  # [T, K, D, D]
        kernel = tf.cast(kernel, history.dtype)  # Keras casts within `__call__` alone.
        votes = tf.einsum("btd,tkde->bkte", history, kernel)
        votes = tf.cast(votes, tf.float32)  # [B, K, T, D]
        constant = tf.stop_gradient(votes)
        logits = tf.zeros(tf.shape(votes)[:3])
        for iteration in range(self.num_iterations):
            last = iteration == self.num_iterations - 1
            weights = self.couple(logits, mask)  # [B, K, T]
            seen = votes if last else constant
            interests = squash(tf.einsum("bkt,bktd->bkd", weights, seen))
            if not last:
                logits += tf.einsum("bkd,bktd->bkt", interests, constant)
        return interests, weights

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        return [*super().embedding_rows(batch), (self.kernel, self._positions(batch))]

    def _positions(self, batch: Batch) -> tf.Tensor:
        """Rows of the kernel [T]; the newest item has the last."""
        length = tf.shape(batch["history"])[1]
        return tf.range(self.max_history - length, self.max_history)

    def couple(self, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Shares of each item over the interests [B, K, T]; zero at padding."""
        return tf.where(mask[:, None], tf.nn.softmax(logits, axis=1), 0.0)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return read_interests(state, self.item_embedding(candidates), self.readout)
