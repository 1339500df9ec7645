"""The best items of a catalogue, exactly, inside a TensorFlow graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.recommender import SequentialRecommender

# Items scored at a time: the largest tensor then is rows * levels * interests * this.
CHUNK = 2_048
NO_LEVEL = -1


class Best(NamedTuple):
    """The best k items of each row; where fewer are left, id 0 and the score -inf."""

    ids: tf.Tensor  # int32 [B, k]
    scores: tf.Tensor  # float32 [B, k], highest first; of equal ones the lower id
    levels: tf.Tensor  # int32 [B, k], of the level that scored highest, or NO_LEVEL
    popular: tf.Tensor  # bool [B], ranked by popularity, the history being empty
    finite: tf.Tensor  # bool, whether all scores are numbers


def signature(model: SequentialRecommender) -> dict[str, tf.TensorSpec]:
    """Of a batch without candidates: one trace serves every length and batch size."""
    specs = {
        "user": tf.TensorSpec([None], tf.int32),
        "history": tf.TensorSpec([None, None], tf.int32),
    }
    if model.needs_times:
        specs["history_times"] = tf.TensorSpec([None, None], tf.int64)
        specs["target_time"] = tf.TensorSpec([None], tf.int64)
    return specs


def best_items(
    model: SequentialRecommender,
    batch: Batch,
    items: tf.Tensor,
    seen: tf.Tensor,
    popularity: tf.Tensor,
    k: tf.Tensor,
) -> Best:
    """Scores every item for every row, in chunks, and keeps the best.

    A history is encoded once. Memory is bounded by `CHUNK`, however large the
    catalogue. A row whose history is empty gets the popular items, scored by their
    training events.

    Args:
        model: any model of the contract.
        batch: without candidates; histories [B, T] with T of at least 1.
        items: ids to choose from, int32 [M], ascending and different.
        seen: ids to leave out of each row, int32 [B, P], 0 at padding.
        popularity: training events by item id, float32 [num_items].
        k: how many, int32; of fewer than k items all are kept.
    """
    state = model.encode(batch, training=False)
    empty = ~tf.reduce_any(tf.not_equal(batch["history"], PADDING_ID), axis=1)  # [B]
    rows, size = tf.shape(empty)[0], tf.size(items)
    owners, places = _places(items, seen)  # [S] each: row, and place among the items
    # What is there before the first chunk: nothing.
    scores, ids = tf.zeros([rows, 0]), tf.zeros([rows, 0], tf.int32)
    finite = tf.constant(True)
    for first in tf.range(0, size, CHUNK):
        tf.autograph.experimental.set_loop_options(
            shape_invariants=[
                (scores, tf.TensorShape([None, None])),
                (ids, tf.TensorShape([None, None])),
            ]
        )
        chunk = items[first : first + CHUNK]
        found = model.score_items(state, chunk)  # [B, C]
        finite &= tf.reduce_all(tf.math.is_finite(found))
        found = tf.where(empty[:, None], tf.gather(popularity, chunk), found)
        inside = (places >= first) & (places < first + CHUNK)
        cells = tf.stack([owners, places - first], axis=1)
        cells = tf.boolean_mask(cells, inside)
        nothing = tf.fill([tf.shape(cells)[0]], found.dtype.min)
        found = tf.tensor_scatter_nd_update(found, cells, nothing)
        # Earlier chunks stand first, and of equal scores `top_k` keeps the first.
        joined = tf.concat([scores, found], axis=1)
        kept = tf.shape(scores)[1]
        scores, where = tf.math.top_k(joined, tf.minimum(k, tf.shape(joined)[1]))
        before = tf.gather(
            tf.pad(ids, [[0, 0], [0, 1]]), tf.minimum(where, kept), batch_dims=1
        )
        now = tf.gather(chunk, tf.maximum(where - kept, 0))
        ids = tf.where(where < kept, before, now)
    left = scores > scores.dtype.min
    ids = tf.where(left, ids, PADDING_ID)
    levels = best_levels(model, state, ids)
    return Best(
        ids=ids,
        scores=tf.where(left, scores, -float("inf")),
        levels=tf.where(left & ~empty[:, None], levels, NO_LEVEL),
        popular=empty,
        finite=finite,
    )


def _places(items: tf.Tensor, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows, and places in `items`, of what has been seen and is among the items."""
    rows, count = tf.unstack(tf.shape(seen))
    flat = tf.reshape(seen, [-1])
    places = tf.searchsorted(items, flat)
    there = tf.gather(items, tf.minimum(places, tf.size(items) - 1)) == flat
    there &= flat != PADDING_ID
    owners = tf.repeat(tf.range(rows), count)
    return tf.boolean_mask(owners, there), tf.boolean_mask(places, there)


def best_levels(model: Any, state: Any, ids: tf.Tensor) -> tf.Tensor:
    """Which level scores each item highest, Eq. 15: int32 [B, k]."""
    if not hasattr(model, "level_logits"):
        return tf.fill(tf.shape(ids), NO_LEVEL)
    logits = model.level_logits(state, ids)  # [B, L, k]
    return tf.argmax(logits, axis=1, output_type=tf.int32)
