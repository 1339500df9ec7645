"""MIND (Li et al., CIKM 2019), https://arxiv.org/abs/1904.08030.

The authors released no code; this follows the paper, and where it is silent the
version in THUDM/ComiRec, which most comparisons run. Departs from both, unless
`readout` is "positive" and the objective sampled softmax: each candidate chooses its
interest in training as in testing, where they choose by the positive within a sampled
softmax; MGNM's own code does as we do. There are no profile features.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from baselines.layers import (
    READOUTS,
    read_interests,
    read_positives_interest,
)
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout, add_count, next_draw, seed_pair
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import squash
from mgnm_tf.recommender import SequentialRecommender

_normal = tf.random.stateless_truncated_normal


class MIND(SequentialRecommender):
    """Routes the history into K interests; a candidate takes the nearest.

    Behaviour-to-interest routing with one bilinear map S for all pairs: softmax over
    the K interests for each item, `num_iterations` times, all but the last without
    gradient. The routing logits are drawn anew for each batch in training; inference
    has one draw kept with the weights, indexed from the newest item.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the longest history.
        embedding_dim: D.
        num_interests: K.
        num_iterations: R.
        relu_layer: a D x D layer with ReLU after the capsules, as ComiRec has it for
            books; interests then are non-negative.
        adaptive_interests: a history of n items uses max(1, min(K, log2 n)) interests.
        readout: "hard", the maximum over interests; "soft", label-aware attention with
            power 1, in training and testing alike; "positive", "hard" in testing, while
            in training all candidates meet the positive's interest.
        dropout: the share of the history's embeddings that training sets to zero.
        embedding_stddev: standard deviation of the item table's normal initialisation.
        seed: of the random first routing logits and of dropout; the same seed and step
            draw the same numbers.
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
        relu_layer: bool = False,
        adaptive_interests: bool = False,
        readout: str = "hard",
        dropout: float = 0.0,
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
        self.max_history = max_history
        self.num_interests = num_interests
        self.num_iterations = num_iterations
        self.adaptive_interests = adaptive_interests
        self.readout = readout
        self.seed = seed
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.dropout = CountedDropout(dropout, seed=seed) if dropout else None
        self.bilinear = keras.layers.Dense(embedding_dim, use_bias=False)
        self.interest_layer = (
            keras.layers.Dense(embedding_dim, activation="relu") if relu_layer else None
        )
        self.inference_draw = self.add_weight(
            "inference_draw",
            (num_interests, max_history),
            initializer=lambda shape, dtype: _normal(shape, seed_pair(seed, -1)),
            trainable=False,
            experimental_autocast=False,
        )
        self.draws = add_count(self)

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """`score` of `encode`, as in the base class; "positive" trains otherwise."""
        if not (training and self.readout == "positive"):
            return super().call(batch, training=training)
        interests, active = self.encode(batch, training=True)
        shared = batch.get("shared_negatives")
        return read_positives_interest(
            interests,
            self.item_embedding(batch["candidates"]),
            shared=None if shared is None else self.item_embedding(shared),
            active=active,
        )

    def encode(
        self,
        batch: Batch,
        training: bool | None = None,
        routing_logits: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Interests [B, K, D], and which of them are active, bool [B, K, 1].

        `routing_logits` [(B,) K, T] replaces the draw.
        """
        return self._routed(batch, training, routing_logits)[:2]

    def explain(self, batch: Batch) -> dict[str, tf.Tensor]:
        interests, active, couplings = self._routed(batch, training=False)
        return {
            "interests": interests[:, None],
            "active": tf.transpose(active, [0, 2, 1]),  # [B, 1, K]
            "couplings": couplings[:, None],
        }

    def _routed(
        self,
        batch: Batch,
        training: bool | None,
        routing_logits: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Interests, which are active, and the last shares of the items [B, K, T]."""
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        history = self.item_embedding(batch["history"])  # [B, T, D]
        if self.dropout is not None:
            history = self.dropout(history, training=training)
        votes = self.bilinear(history)  # [B, T, D]
        votes = tf.cast(votes, tf.float32)
        if routing_logits is None:
            routing_logits = self._initial_logits(tf.shape(mask)[1], training)
        shape = [tf.shape(mask)[0], self.num_interests, tf.shape(mask)[1]]
        logits = tf.broadcast_to(routing_logits, shape)  # [B, K, T]
        active = self._active(mask)  # [B, K, 1]
        constant = tf.stop_gradient(votes)
        for iteration in range(self.num_iterations):
            last = iteration == self.num_iterations - 1
            weights = self.couple(logits, mask, active)  # [B, K, T]
            interests = squash(tf.matmul(weights, votes if last else constant))
            if not last:
                logits += tf.matmul(interests, constant, transpose_b=True)
        if self.interest_layer is not None:
            interests = tf.cast(self.interest_layer(interests), tf.float32)
        return tf.where(active, interests, 0.0), active, weights

    def couple(
        self, logits: tf.Tensor, mask: tf.Tensor, active: tf.Tensor
    ) -> tf.Tensor:
        """Shares of each item over the active interests [B, K, T]; zero at padding."""
        logits = tf.where(active, logits, logits.dtype.min)
        weights = tf.nn.softmax(logits, axis=1)
        return weights * tf.cast(mask, weights.dtype)[:, None]

    def score(
        self, state: tuple[tf.Tensor, tf.Tensor], candidates: tf.Tensor
    ) -> tf.Tensor:
        interests, active = state
        items = self.item_embedding(candidates)  # [B, C, D] or [N, D]
        return read_interests(interests, items, self.readout, active)

    def _active(self, mask: tf.Tensor) -> tf.Tensor:
        """Which interests a history uses: bool [B, K, 1]."""
        count = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1)  # [B]
        allowed = tf.fill(tf.shape(count), float(self.num_interests))
        if self.adaptive_interests:
            wanted = tf.floor(tf.math.log(tf.maximum(count, 1.0)) / tf.math.log(2.0))
            allowed = tf.maximum(1.0, tf.minimum(allowed, wanted))
        numbers = tf.range(self.num_interests, dtype=tf.float32)
        return (numbers[None] < allowed[:, None])[:, :, None]

    def _initial_logits(self, length: tf.Tensor, training: bool | None) -> tf.Tensor:
        if not training:
            return self.inference_draw[:, self.max_history - length :]
        shape = [self.num_interests, length]
        return next_draw(functools.partial(_normal, shape), self.seed, self.draws)
