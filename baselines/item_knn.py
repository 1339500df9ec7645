"""ItemKNN (Sarwar et al., WWW 2001): items like those of the history."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch, TrainEvents
from mgnm_tf.recommender import SequentialRecommender

# Rows of the similarity matrix made at a time, to bound memory.
_BLOCK = 1_024


class ItemKNN(SequentialRecommender):
    """Sums the cosine similarities of a candidate to the items of the history.

    An item is the set of its training users; the cosine of two is

        |U_i & U_j| / (sqrt(|U_i| |U_j|) + shrinkage)

    and each item keeps its `num_neighbors` most similar ones. An item that the
    history holds twice counts twice. Popularity, scaled below any similarity, decides
    between candidates that are alike, most often those with no neighbour in the
    history.

    Departs from the paper, which predicts ratings: the events are implicit, so that
    similarities are summed, not averaged (Deshpande & Karypis, TOIS 2004).

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        num_neighbors: kept for each item.
        shrinkage: against similarities that few users support.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        num_neighbors: int = 100,
        shrinkage: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del max_history
        if num_neighbors < 1 or shrinkage < 0:
            raise ValueError(
                "`num_neighbors` must be positive and `shrinkage` non-negative. "
                f"Received: num_neighbors={num_neighbors}, shrinkage={shrinkage}"
            )
        self.num_users = num_users
        self.num_items = num_items
        self.num_neighbors = num_neighbors
        self.shrinkage = shrinkage
        shape = (num_items, num_neighbors)
        self.neighbors = self._table("neighbors", shape, tf.int32)
        self.similarities = self._table("similarities", shape, tf.float32)
        self.tie_breaks = self._table("tie_breaks", (num_items,), tf.float32)

    def adapt(self, train: TrainEvents) -> None:
        pairs = np.unique(np.stack([train.items, train.users], axis=1), axis=0)
        ones = np.ones(len(pairs), dtype=np.float32)
        shape = (self.num_items, self.num_users)
        owners = scipy.sparse.csr_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape)
        counts = np.asarray(owners.sum(axis=1)).ravel()
        neighbors = np.zeros(self.neighbors.shape, dtype=np.int32)
        similarities = np.zeros(self.similarities.shape, dtype=np.float32)
        for start in range(0, self.num_items, _BLOCK):
            rows = slice(start, min(start + _BLOCK, self.num_items))
            common = (owners[rows] @ owners.T).toarray()
            norms = np.sqrt(counts[rows, None] * counts[None])
            cosines = common / np.maximum(norms + self.shrinkage, 1e-9)
            # A candidate in the history is no neighbour of itself.
            cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop)] = 0.0
            kept = min(self.num_neighbors, self.num_items)
            best = np.argpartition(-cosines, kept - 1, axis=1)[:, :kept]
            neighbors[rows, :kept] = best
            similarities[rows, :kept] = np.take_along_axis(cosines, best, axis=1)
        self.neighbors.assign(neighbors)
        self.similarities.assign(similarities)
        smallest = similarities[similarities > 0].min(initial=1.0)
        self.tie_breaks.assign(smallest / 2 * counts / max(counts.max(), 1.0))

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """Summed similarities of all items [B, num_items]."""
        history = batch["history"]  # [B, T]
        size = tf.shape(history)[0]
        real = tf.cast(tf.not_equal(history, PADDING_ID), tf.float32)[:, :, None]
        rows = tf.broadcast_to(tf.range(size)[:, None, None], self._near(history))
        places = tf.stack([rows, tf.gather(self.neighbors, history)], axis=-1)
        summed = tf.scatter_nd(
            tf.reshape(places, [-1, 2]),
            tf.reshape(tf.gather(self.similarities, history) * real, [-1]),
            [size, self.num_items],
        )
        return summed + self.tie_breaks

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return tf.gather(state, candidates, batch_dims=1)

    def _near(self, history: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.shape(history), [self.num_neighbors]], axis=0)

    def _table(self, name: str, shape: tuple[int, ...], dtype: Any) -> tf.Variable:
        return self.add_weight(
            name, shape, dtype=dtype, initializer="zeros", trainable=False
        )
