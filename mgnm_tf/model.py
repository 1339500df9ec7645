"""MGNM: multi-grained neural model for sequential recommendation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.layers.interest_extractors import (
    BiLSTMInterest,
    SelfAttentionInterests,
    SumInterest,
)
from mgnm_tf.layers.level_scorer import LevelScorer
from mgnm_tf.layers.sequential_capsule import SequentialCapsule
from mgnm_tf.layers.shared_gcn import SharedGCN
from mgnm_tf.layers.user_aware_graph import UserAwareGraph
from mgnm_tf.ops import score_in_chunks
from mgnm_tf.recommender import SequentialRecommender

LEVEL_POOLINGS = ("max", "sum")
# What Table 3 puts in the capsules' place.
_OTHER_EXTRACTORS: dict[str, type[keras.layers.Layer]] = {
    "bilstm": BiLSTMInterest,
    "sum": SumInterest,
    "self_attention": SelfAttentionInterests,
}
INTEREST_EXTRACTORS = ("capsule", *_OTHER_EXTRACTORS)


@keras.saving.register_keras_serializable(package="mgnm_tf")
class MGNM(SequentialRecommender):
    """Multi-level graph convolution, then multi-interest capsules, Figure 2.

    A history becomes a graph (Eq. 1), the graph becomes levels (Eq. 2-4), each level
    becomes K interests (Eq. 5-11); a candidate is scored by each level (Eq. 12-14) and
    by the best of them (Eq. 15). The loss is summed over levels (Eq. 16-17).

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, 0 = padding included.
        max_history: m, the longest history.
        embedding_dim: d; the paper has 16 for Amazon, 40 for Micro-video.
        num_layers: L; there are L + 1 levels. With 0, Table 3's "w/o UGCN", there is
            neither a graph nor, since only the graph reads it, a user table.
        num_interests: K.
        num_iterations: tau.
        l1: theta_1, of the adjacency's L1 norm.
        normalization: of the graph, see `SharedGCN`.
        routing_axis: see `SequentialCapsule`.
        stop_routing_gradient: see `SequentialCapsule`.
        sequence_encoder: see `SequentialCapsule`.
        interest_extractor: "capsule", or what Table 3 puts in its place: "bilstm",
            "sum" or "self_attention"; these take no notice of the arguments of
            capsules, and have no Eq. 11.
        level_pooling: Eq. 15, or the sum over levels of Figure 7; inference only.
        embedding_stddev: of the normal initialisation of both tables.
        seed: of the routing draws.
        l2: theta_2.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        num_layers: int = 3,
        num_interests: int = 4,
        num_iterations: int = 3,
        l1: float = 1e-6,
        normalization: str = "symmetric",
        routing_axis: str = "items",
        stop_routing_gradient: bool = True,
        sequence_encoder: str = "bilstm",
        interest_extractor: str = "capsule",
        level_pooling: str = "max",
        embedding_stddev: float = 0.1,
        seed: int = 0,
        l2: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(l2=l2, **kwargs)
        if level_pooling not in LEVEL_POOLINGS:
            raise ValueError(
                f"`level_pooling` must be one of {LEVEL_POOLINGS}. "
                f"Received: level_pooling={level_pooling}"
            )
        if interest_extractor not in INTEREST_EXTRACTORS:
            raise ValueError(
                f"`interest_extractor` must be one of {INTEREST_EXTRACTORS}. "
                f"Received: interest_extractor={interest_extractor}"
            )
        self.level_pooling = level_pooling
        self.interest_extractor = interest_extractor
        # With self-attention every item is an interest, and candidates come in chunks.
        self.shares_items = interest_extractor != "self_attention"
        if num_layers:
            self.user_embedding = _table(num_users, embedding_dim, embedding_stddev)
            self.graph = UserAwareGraph(l1=l1)
        self.item_embedding = _table(num_items, embedding_dim, embedding_stddev)
        self.gcn = SharedGCN(num_layers=num_layers, normalization=normalization)
        if interest_extractor == "capsule":
            self.capsule = SequentialCapsule(
                num_interests=num_interests,
                max_history=max_history,
                num_iterations=num_iterations,
                routing_axis=routing_axis,
                stop_routing_gradient=stop_routing_gradient,
                sequence_encoder=sequence_encoder,
                seed=seed,
            )
        else:
            self.extractor = _OTHER_EXTRACTORS[interest_extractor]()
        self.scorer = LevelScorer()

    def encode(self, batch: Batch, training: bool | None = None) -> Any:
        """Interests [B, L, K, D]; with self-attention, and which are real [B, T]."""
        levels, _, mask = self._levels(batch)
        if self.interest_extractor == "capsule":
            self.capsule.under_xla = bool(self.jit_compile)
            return self.capsule(levels, mask=mask, training=training)
        interests = self.extractor(levels, mask=mask)
        if self.interest_extractor == "self_attention":
            return interests, mask
        return interests

    def explain(self, batch: Batch) -> dict[str, tf.Tensor]:
        """With `interest_extractor` "capsule" alone there are interests."""
        levels, adjacency, mask = self._levels(batch)
        found = {} if adjacency is None else {"adjacency": adjacency}
        if self.interest_extractor != "capsule":
            logits = self.level_logits(self.encode(batch), batch["candidates"])
            return {**found, "level_logits": logits}
        interests, couplings = self.capsule(levels, mask=mask, return_couplings=True)
        return {
            **found,
            "interests": interests,
            "couplings": couplings,
            "level_logits": self.level_logits(interests, batch["candidates"]),
        }

    def _levels(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
        """Levels [B, L, T, D], the adjacency [B, T, T] behind them, mask [B, T]."""
        mask = tf.not_equal(batch["history"], PADDING_ID)
        history = self.item_embedding(batch["history"])  # [B, T, D]
        adjacency = self._adjacency(batch["user"], history, mask)
        return self.gcn(history, adjacency=adjacency, mask=mask), adjacency, mask

    def _adjacency(
        self, users: tf.Tensor, history: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor | None:
        if not self.gcn.num_layers:
            return None
        known = tf.not_equal(users, 0)[:, None]  # [B, 1]
        # An unknown user is the origin: every pair of items relates by one half.
        user = tf.where(known, self.user_embedding(users), 0.0)  # [B, D]
        return self.graph(history, user=user, mask=mask)

    def level_logits(self, state: Any, candidates: tf.Tensor) -> tf.Tensor:
        """Each level's logits [B, L, C] of the candidate ids [B, C], or of [C]."""
        interests, mask = state if isinstance(state, tuple) else (state, None)
        items = self.item_embedding(candidates)  # [B, C, D] or [C, D]
        return self.scorer(interests, candidates=items, mask=mask)

    def score(self, state: Any, candidates: tf.Tensor) -> tf.Tensor:
        if not isinstance(state, tuple):
            return self._pooled(state, candidates)
        # Every item is an interest: the scorer's tensor is [B, T, L, C].
        floats = tf.size(state[0]) // state[0].shape[-1]
        return score_in_chunks(lambda c: self._pooled(state, c), candidates, floats)

    def _pooled(self, state: Any, candidates: tf.Tensor) -> tf.Tensor:
        logits = self.level_logits(state, candidates)  # [B, L, C]
        if self.level_pooling == "sum":
            return tf.reduce_sum(logits, axis=1)
        return tf.reduce_max(logits, axis=1)

    def training_logits(self, batch: Batch) -> tf.Tensor:
        """Level logits [B, L, C]: each level has a loss of its own, Eq. 16."""
        # Through __call__, so that Keras collects the graph's penalty.
        return self(self._scorable(batch), training=True, return_levels=True)

    def call(
        self,
        batch: Batch,
        training: bool | None = None,
        return_levels: bool = False,
    ) -> tf.Tensor:
        if not return_levels:
            return super().call(batch, training=training)
        state = self.encode(batch, training=training)
        logits = self.level_logits(state, batch["candidates"])
        if "shared_negatives" not in batch:
            return logits
        shared = self.level_logits(state, batch["shared_negatives"])
        return tf.concat([logits, shared], axis=2)


def _table(rows: int, size: int, stddev: float) -> keras.layers.Embedding:
    normal = keras.initializers.RandomNormal(stddev=stddev)
    return keras.layers.Embedding(rows, size, embeddings_initializer=normal)
