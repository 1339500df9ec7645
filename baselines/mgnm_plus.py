"""MGNM+: MGNM on the parts of today's models, for people who want recommendations.

Not in the paper: its graph levels (Eq. 1-4), interests (Eq. 5-9) and scores
(Eq. 12-15) as `mgnm_tf` has them, with these parts, each of which `--set name=...`
takes out (docs/mgnm_readings.md):

- maps that start at the identity, no ReLU in Eq. 11, no squash in the last iteration,
  first logits that are learned from a start by recency: readings of MGNM itself;
- the sequence is encoded once, before the graph, and not once for each level and
  interest in Eq. 10, which is most of MGNM's time;
- the newest item of each level, mapped, is added to that level's interests;
- interests are normalised (layer normalisation, in the place of the last squash), so
  that logits are large while L2 keeps the items small;
- the item table starts from a truncated SVD of who had what;
- a bias for each item, and dropout of embedded histories.

It is no part of `mgnm_tf`, which is the paper alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from scipy import sparse

from mgnm_tf.batch import PADDING_ID, Batch, TrainEvents
from mgnm_tf.keras2 import keras
from mgnm_tf.model import MGNM, History
from mgnm_tf.ops import square_maps
from mgnm_tf.sequence_encoders import TransformerEncoder

# What the encoder adds at first: beside items that already start near their like, all
# that is drawn is noise. Not zero, or nothing behind it would have a gradient.
_FIRST_SCALE = 1e-2
# Keras's 1e-3 is no longer small beside embeddings that L2 shrinks.
_EPSILON = 1e-8


class MGNMPlus(MGNM):
    """MGNM's levels and interests over items that are encoded once.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, 0 = padding included.
        max_history: the longest history.
        embedding_dim: D.
        num_layers: L; there are L + 1 levels.
        num_interests: K.
        dropout: of embedded histories, and of what the encoder adds to them.
        encode_once: a Transformer block reads the items before the graph does.
        newest_item: is added to the interests of its level.
        normalize: the interests, by a layer normalisation.
        cooccurrence_start: `adapt` starts the item table from the SVD.
        item_bias: a number for each item is added to its logits.
        embedding_stddev: of the tables' entries at the start, by either start.
        seed: of dropout and of the SVD.
        **kwargs: of `MGNM`.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 50,
        embedding_dim: int = 64,
        num_layers: int = 1,
        num_interests: int = 4,
        dropout: float = 0.4,
        encode_once: bool = True,
        newest_item: bool = True,
        normalize: bool = True,
        cooccurrence_start: bool = True,
        item_bias: bool = True,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        readings = {
            "sequence_encoder": "none",
            "interest_activation": "linear",
            "map_initialization": "identity",
            "routing_init": "recency",
            "squash_last": False,
        }
        super().__init__(
            num_users,
            num_items,
            max_history=max_history,
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            num_interests=num_interests,
            dropout=dropout,
            embedding_stddev=embedding_stddev,
            seed=seed,
            **{**readings, **kwargs},
        )
        self.cooccurrence_start = cooccurrence_start
        self.embedding_stddev = embedding_stddev
        self.seed = seed
        self.encoder = (
            TransformerEncoder(max_history, first_scale=_FIRST_SCALE)
            if encode_once
            else None
        )
        self.newest_kernel = (
            self.add_weight(
                "newest_kernel",
                (num_layers + 1, embedding_dim, embedding_dim),
                initializer=square_maps("identity"),
            )
            if newest_item
            else None
        )
        self.norm = (
            keras.layers.LayerNormalization(epsilon=_EPSILON) if normalize else None
        )
        self.item_bias = (
            keras.layers.Embedding(num_items, 1, embeddings_initializer="zeros")
            if item_bias
            else None
        )

    def adapt(self, train: TrainEvents) -> None:
        """Starts the item table from who had what in training."""
        if not self.cooccurrence_start:
            return
        table = self.item_embedding
        table(tf.constant([0]))  # Makes its weights.
        rows, size = table.embeddings.shape
        factors = _cooccurrence(train, rows, size, self.seed) * self.embedding_stddev
        # An item without an event starts as drawn; the others keep a little of that,
        # so that no factor is at zero for all.
        had = factors.any(axis=1, keepdims=True)
        drawn = table.embeddings.numpy()
        table.embeddings.assign(factors + np.where(had, 0.1 * drawn, drawn))

    def _embed(self, batch: Batch, training: bool | None) -> tf.Tensor:
        items = super()._embed(batch, training)  # [B, T, D]
        if self.encoder is None:
            return items
        mask = tf.transpose(tf.not_equal(batch["history"], PADDING_ID))  # [T, B]
        encoded = self.encoder(tf.transpose(items, [1, 0, 2]), mask=mask)
        added = tf.transpose(encoded, [1, 0, 2]) - items
        if self.dropout is not None:
            added = self.dropout(added, training=training)
        return items + added

    def _extract(
        self, batch: Batch, history: History, training: bool | None
    ) -> tf.Tensor:
        vectors = super()._extract(batch, history, training)  # [B, L, K, D]
        if self.newest_kernel is not None:
            newest = history.levels[:, :, -1]  # [B, L, D]; zero without a history
            # Keras casts weights within `__call__` alone.
            kernel = tf.cast(self.newest_kernel, newest.dtype)
            mapped = tf.einsum("bld,lde->ble", newest, kernel)
            vectors += mapped[:, :, None]
        if self.norm is None:
            return vectors
        known = tf.reduce_any(history.mask, axis=1)[:, None, None, None]
        return tf.where(known, self.norm(vectors), 0.0)

    def level_logits(self, state: Any, candidates: tf.Tensor) -> tf.Tensor:
        logits = super().level_logits(state, candidates)  # [B, L, C]
        if self.item_bias is not None:
            bias = tf.cast(self.item_bias(candidates)[..., 0], tf.float32)
            logits += bias[:, None] if bias.shape.rank == 2 else bias  # or [C]
        return logits

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        rows = super().embedding_rows(batch)
        if self.item_bias is not None:
            rows.append((self.item_bias.embeddings, self.scored_items(batch)))
        return rows


def _cooccurrence(
    train: TrainEvents, num_items: int, size: int, seed: int
) -> np.ndarray:
    """Vectors of items whose products are near the cosines of their users.

    With R[u, i] = 1 where user u had item i, divided by the square roots of what u and
    i have in all, and R = U S V' truncated, an item's vector is its row of V S.

    Returns:
        float32 [num_items, size] with a root mean square of one over the items that
        were had; other rows, and factors that the data are too few for, are zero.
    """
    from sklearn.utils.extmath import randomized_svd

    shape = (int(train.users.max(initial=0)) + 1, num_items)
    had = sparse.csr_matrix((np.ones(len(train.items)), train[:2]), shape=shape)
    had.data[:] = 1.0  # Repeats count once.
    per_user, per_item = (np.asarray(had.sum(axis=axis)).ravel() for axis in (1, 0))
    scales = [np.maximum(counts, 1.0) ** -0.5 for counts in (per_user, per_item)]
    had = sparse.diags(scales[0]) @ had @ sparse.diags(scales[1])
    count = min(size, *shape)
    _, strengths, factors = randomized_svd(had, count, n_iter=4, random_state=seed)
    vectors = np.zeros((num_items, size), np.float32)
    vectors[:, :count] = (strengths[:, None] * factors).T
    real = per_item > 0
    square = np.square(vectors[real]).mean() if real.any() else 1.0
    return vectors / np.sqrt(max(square, 1e-12)) * real[:, None]
