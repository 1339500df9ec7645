"""ItemKNN (Sarwar et al., WWW 2001): items like those of the history."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch, TrainEvents
from mgnm_tf.recommender import SequentialRecommender

# Rows of the similarity matrix made at a time, sparse, to bound memory.
_BLOCK = 1_024


class ItemKNN(SequentialRecommender):
    """Sums the cosine similarities of a candidate to the items of the history.

    An item is the set of its training users; the cosine of two is

        |U_i & U_j| / (sqrt(|U_i| |U_j|) + shrinkage)

    and each item keeps its `num_neighbors` most similar ones. The item that stands n
    places before the newest counts `decay ** n`; one that the history holds twice
    counts twice. Popularity, scaled to at most half the smallest similarity, is added:
    it orders candidates that are alike, most often those with no neighbour in the
    history.

    Departs from the paper, which predicts ratings: the events are implicit, so that
    similarities are summed, not averaged (Deshpande & Karypis, TOIS 2004).

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: the shared signature; not read.
        num_neighbors: kept for each item.
        shrinkage: against similarities that few users support.
        decay: weight of an item against the next newer one, in (0, 1]; 1, the default,
            is the plain sum of the papers.
    """

    shares_items = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        num_neighbors: int = 100,
        shrinkage: float = 5.0,
        decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del max_history, embedding_dim
        if num_neighbors < 1 or shrinkage < 0:
            raise ValueError(
                "`num_neighbors` must be positive and `shrinkage` non-negative. "
                f"Received: num_neighbors={num_neighbors}, shrinkage={shrinkage}"
            )
        if not 0 < decay <= 1:
            raise ValueError(f"`decay` must be in (0, 1]. Received: decay={decay}")
        self.num_users = num_users
        self.num_items = num_items
        self.num_neighbors = num_neighbors
        self.shrinkage = shrinkage
        self.decay = decay
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
            common = owners[start : start + _BLOCK] @ owners.T
            for row, item in enumerate(range(start, start + common.shape[0])):
                entries = slice(common.indptr[row], common.indptr[row + 1])
                others, both = common.indices[entries], common.data[entries]
                # A candidate in the history is no neighbour of itself.
                others, both = others[others != item], both[others != item]
                norms = np.sqrt(counts[item] * counts[others])
                cosines = both / (norms + self.shrinkage)
                if len(others) > self.num_neighbors:
                    best = np.argpartition(-cosines, self.num_neighbors - 1)
                    best = best[: self.num_neighbors]
                    others, cosines = others[best], cosines[best]
                neighbors[item, : len(others)] = others
                similarities[item, : len(others)] = cosines
        self.neighbors.assign(neighbors)
        self.similarities.assign(similarities)
        smallest = similarities[similarities > 0].min(initial=1.0)
        self.tie_breaks.assign(smallest / 2 * counts / max(counts.max(), 1.0))

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """Summed similarities of all items [B, num_items]."""
        history = batch["history"]  # [B, T]
        size = tf.shape(history)[0]
        ages = tf.cast(tf.range(tf.shape(history)[1] - 1, -1, -1), tf.float32)
        weights = tf.pow(self.decay, ages)[None]  # [1, T]
        weights *= tf.cast(tf.not_equal(history, PADDING_ID), tf.float32)  # [B, T]
        rows = tf.broadcast_to(tf.range(size)[:, None, None], self._near(history))
        places = tf.stack([rows, tf.gather(self.neighbors, history)], axis=-1)
        summed = tf.scatter_nd(
            tf.reshape(places, [-1, 2]),
            tf.reshape(
                tf.gather(self.similarities, history) * weights[:, :, None], [-1]
            ),
            [size, self.num_items],
        )
        return summed + self.tie_breaks

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        if candidates.shape.rank == 1:
            return tf.gather(state, candidates, axis=1)
        return tf.gather(state, candidates, batch_dims=1)

    def _near(self, history: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.shape(history), [self.num_neighbors]], axis=0)

    def _table(self, name: str, shape: tuple[int, ...], dtype: Any) -> tf.Variable:
        return self.add_weight(
            name,
            shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            experimental_autocast=False,  # Half floats would tie.
        )
