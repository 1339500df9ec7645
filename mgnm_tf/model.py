"""MGNM: multi-grained neural model for sequential recommendation."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout
from mgnm_tf.keras2 import keras
from mgnm_tf.layers.gap_embedding import GapEmbedding
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


class Interests(NamedTuple):
    """What a history is read as; the state of `MGNM.score`."""

    vectors: tf.Tensor  # [B, L, K, D]
    real: tf.Tensor  # bool [B, K]: with self-attention padding has vectors too


class History(NamedTuple):
    """A history on its way to interests."""

    levels: tf.Tensor  # [B, L, T, D]
    adjacency: tf.Tensor | None  # [B, T, T]; None without graph layers
    mask: tf.Tensor  # bool [B, T]


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
        normalization: how the graph is normalised, see `SharedGCN`.
        routing_axis: the axis of Eq. 6's softmax, see `SequentialCapsule`.
        stop_routing_gradient: see `SequentialCapsule`.
        sequence_encoder: see `SequentialCapsule`.
        interest_extractor: "capsule", or what Table 3 puts in its place: "bilstm",
            "sum" or "self_attention"; these take no notice of the arguments of
            capsules, and have no Eq. 11.
        interest_activation: of Eq. 11, see `SequentialCapsule`.
        map_initialization: of W in Eq. 2 and the maps of Eq. 5 and 11: "glorot" or
            "identity"; the paper is silent.
        routing_init: the first logits of Eq. 6, see `SequentialCapsule`.
        squash_last: Eq. 7 in the last iteration too, see `SequentialCapsule`.
        dropout: the share of the embedded history [B, T, D] that is zero in training;
            none in the paper.
        time_in_routing: adds to the first logits of Eq. 6 a learned bias of level,
            interest and the time from the event to the request. The paper leaves time
            to future work (footnote 4); all three switches start at zero, that is as
            MGNM without them, and need data with times.
        time_in_encoder: adds to what the encoder of Eq. 10 reads an embedding of the
            time since the event before.
        time_in_graph: adds to the affinity of Eq. 1 a bias of the time between the two
            events.
        level_pooling: Eq. 15, or the sum over levels of Figure 7; inference only.
        embedding_stddev: standard deviation of both tables' normal initialisation.
        seed: seeds the random first routing logits and dropout; the same seed and step
            draw the same numbers.
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
        interest_activation: str = "relu",
        map_initialization: str = "glorot",
        routing_init: str = "drawn",
        squash_last: bool = True,
        dropout: float = 0.0,
        time_in_routing: bool = False,
        time_in_encoder: bool = False,
        time_in_graph: bool = False,
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
        _check_times(
            num_layers,
            sequence_encoder if interest_extractor == "capsule" else None,
            time_in_routing,
            time_in_encoder,
            time_in_graph,
        )
        self.level_pooling = level_pooling
        self.interest_extractor = interest_extractor
        self.needs_times = time_in_routing or time_in_encoder or time_in_graph
        # With self-attention every item is an interest, and candidates come in chunks.
        self.shares_items = interest_extractor != "self_attention"
        if num_layers:
            self.user_embedding = _table(num_users, embedding_dim, embedding_stddev)
            self.graph = UserAwareGraph(l1=l1)
        self.item_embedding = _table(num_items, embedding_dim, embedding_stddev)
        # Without dropout there is no count of draws among the weights either.
        self.dropout = CountedDropout(dropout, seed=seed) if dropout else None
        self.gcn = SharedGCN(
            num_layers=num_layers,
            normalization=normalization,
            map_initialization=map_initialization,
        )
        if interest_extractor == "capsule":
            self.capsule = SequentialCapsule(
                num_interests=num_interests,
                max_history=max_history,
                num_iterations=num_iterations,
                routing_axis=routing_axis,
                stop_routing_gradient=stop_routing_gradient,
                sequence_encoder=sequence_encoder,
                interest_activation=interest_activation,
                map_initialization=map_initialization,
                routing_init=routing_init,
                squash_last=squash_last,
                seed=seed,
            )
        else:
            self.extractor = _OTHER_EXTRACTORS[interest_extractor]()
        self.scorer = LevelScorer()
        levels_and_interests = (num_layers + 1, num_interests)
        self.routing_gap = (
            GapEmbedding(levels_and_interests) if time_in_routing else None
        )
        self.encoder_gap = GapEmbedding((embedding_dim,)) if time_in_encoder else None
        self.graph_gap = GapEmbedding(()) if time_in_graph else None

    def encode(self, batch: Batch, training: bool | None = None) -> Interests:
        """Interests [B, L, K, D], and which of the K there are [B, K]."""
        history = self._read(batch, training)
        vectors = self._extract(batch, history, training)
        if self.interest_extractor == "self_attention":
            return Interests(vectors, history.mask)
        shape = [tf.shape(vectors)[0], tf.shape(vectors)[2]]
        return Interests(vectors, tf.ones(shape, tf.bool))

    def explain(self, batch: Batch) -> dict[str, tf.Tensor]:
        """As in the base class; only "capsule" has interests and couplings to give."""
        history = self._read(batch)
        explanation = (
            {} if history.adjacency is None else {"adjacency": history.adjacency}
        )
        state = self.encode(batch)
        explanation["level_logits"] = self.level_logits(state, batch["candidates"])
        if self.interest_extractor == "capsule":
            _, couplings = self._capsules(batch, history, return_couplings=True)
            explanation.update(interests=state.vectors, couplings=couplings)
        return explanation

    def _read(self, batch: Batch, training: bool | None = None) -> History:
        """Eq. 1-4."""
        mask = tf.not_equal(batch["history"], PADDING_ID)
        items = self._embed(batch, training)  # [B, T, D]
        adjacency = self._adjacency(batch, items, mask)
        levels = self.gcn(items, adjacency=adjacency, mask=mask)
        return History(levels, adjacency, mask)

    def _embed(self, batch: Batch, training: bool | None) -> tf.Tensor:
        """H[0] of Eq. 4, before padding is made zero: [B, T, D]."""
        items = self.item_embedding(batch["history"])
        if self.dropout is None:
            return items
        return self.dropout(items, training=training)

    def _adjacency(
        self, batch: Batch, items: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor | None:
        if not self.gcn.num_layers:
            return None
        known = tf.not_equal(batch["user"], 0)[:, None]  # [B, 1]
        # An unknown user is the origin: every pair of items relates by one half.
        user = tf.where(known, self.user_embedding(batch["user"]), 0.0)  # [B, D]
        if self.graph_gap is None:
            return self.graph(items, user=user, mask=mask)
        times, _ = _times(batch)
        gaps = tf.abs(times[:, :, None] - times[:, None])  # [B, T, T]
        return self.graph(items, user=user, mask=mask, bias=self.graph_gap(gaps))

    def _extract(
        self, batch: Batch, history: History, training: bool | None
    ) -> tf.Tensor:
        """Interests of each level: [B, L, K, D]."""
        if self.interest_extractor == "capsule":
            return self._capsules(batch, history, training=training)
        return self.extractor(history.levels, mask=history.mask)

    def _capsules(self, batch: Batch, history: History, **options: Any) -> Any:
        """Eq. 5-11, with what times add."""
        if self.routing_gap is not None:
            times, request = _times(batch)
            options["routing_bias"] = self.routing_gap(request[:, None] - times)
        if self.encoder_gap is not None:
            times, _ = _times(batch)
            gaps = self.encoder_gap(times[:, 1:] - times[:, :-1])  # [B, T - 1, D]
            # The oldest event that is read has none before it.
            followed = tf.cast(history.mask[:, :-1], gaps.dtype)[..., None]
            options["encoder_shift"] = tf.pad(gaps * followed, [[0, 0], [1, 0], [0, 0]])
        return self.capsule(
            history.levels,
            mask=history.mask,
            under_xla=bool(self.jit_compile),
            **options,
        )

    def level_logits(self, state: Interests, candidates: tf.Tensor) -> tf.Tensor:
        """Each level's logits [B, L, C] of the candidate ids [B, C], or of [C]."""
        items = self.item_embedding(candidates)  # [B, C, D] or [C, D]
        attends = self.interest_extractor == "self_attention"
        mask = state.real if attends else None  # All are real, which is faster.
        return self.scorer(state.vectors, candidates=items, mask=mask)

    def score(self, state: Interests, candidates: tf.Tensor) -> tf.Tensor:
        if self.interest_extractor != "self_attention":
            return self._pooled(state, candidates)
        # Every item is an interest: the scorer's tensor is [B, T, L, C].
        floats = tf.size(state.vectors) // state.vectors.shape[-1]
        return score_in_chunks(lambda c: self._pooled(state, c), candidates, floats)

    def _pooled(self, state: Interests, candidates: tf.Tensor) -> tf.Tensor:
        logits = self.level_logits(state, candidates)  # [B, L, C]
        if self.level_pooling == "sum":
            return tf.reduce_sum(logits, axis=1)
        return tf.reduce_max(logits, axis=1)

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        rows = super().embedding_rows(batch)
        logits = getattr(getattr(self, "capsule", None), "first_logits", None)
        if logits is None:
            return rows
        # Learned by position from the newest: L2 spares those that no history has.
        longest = logits.shape[0]
        return [
            *rows,
            (logits, tf.range(longest - tf.shape(batch["history"])[1], longest)),
        ]

    def training_logits(self, batch: Batch, training: bool = True) -> tf.Tensor:
        """Level logits [B, L, C]: each level has a loss of its own, Eq. 16."""
        # Through __call__, so that Keras collects the graph's penalty.
        return self(self._scorable(batch), training=training, return_levels=True)

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


def _check_times(
    num_layers: int,
    encoder: str | None,
    in_routing: bool,
    in_encoder: bool,
    in_graph: bool,
) -> None:
    if in_routing and encoder is None:
        raise ValueError("`time_in_routing` needs `interest_extractor` capsule.")
    if in_encoder and encoder in (None, "none"):
        raise ValueError("`time_in_encoder` needs a sequence encoder of the capsules.")
    if in_graph and not num_layers:
        raise ValueError("`time_in_graph` needs `num_layers` of at least 1.")


def _times(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """When the events were [B, T], and when the request is [B]."""
    if "history_times" not in batch or "target_time" not in batch:
        raise ValueError(
            "A model with a `time_in_...` switch reads when events happened: the batch "
            "needs `history_times` and `target_time`."
        )
    return batch["history_times"], batch["target_time"]
