"""The few items of a catalogue that may be the best, and a bound for all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mgnm_tf.recommender import SequentialRecommender
from serving import vectors

# Neighbouring items of which only the best counts.
GROUP = 4
# Inner products in memory at a time: 4 MB, which stays in the processor's cache.
_CHUNK_PRODUCTS = 2**20


class ShortList(NamedTuple):
    """Items that may be the best of each row."""

    ids: tf.Tensor  # int32 [B, groups * GROUP], ascending, 0 where there is none
    ends: tf.Tensor  # float32 [B], the most that an item outside of the list scores
    slack: tf.Tensor  # float32 [B], by how much rounding may exceed that
    finite: tf.Tensor  # bool, whether all vectors are numbers


def make(
    model: SequentialRecommender,
    interests: tf.Tensor,
    items: tf.Tensor,
    groups: tf.Tensor,
) -> ShortList:
    """Takes the groups of items that hold the largest inner products.

    No score is above the largest inner product of the item with the interests
    (`serving.bounds`). To find these takes one product of matrices and a maximum;
    scores are a softmax for each pair and level. A group is as good as its best item,
    so that of `GROUP` numbers one is kept and sorted.

    Args:
        model: whose scores are made of inner products (`vectors.has_vectors`).
        interests: of each history [B, L, K, D].
        items: ids to choose from, int32 [M], ascending and different.
        groups: on the list; fewer than there are.
    """
    rows, levels, count, size = tf.unstack(tf.shape(interests))
    asked = levels * count  # Q
    flat = tf.reshape(interests, [rows, asked, size])
    queries = tf.reshape(tf.transpose(flat, [1, 0, 2]), [asked * rows, size])
    all_groups = -(-tf.size(items) // GROUP)
    per_chunk = _CHUNK_PRODUCTS // (GROUP * asked * rows)
    per_chunk = tf.clip_by_value(per_chunk, 1, all_groups)
    chunks = -(-all_groups // per_chunk)
    width = per_chunk * GROUP
    items = tf.pad(items, [[0, chunks * width - tf.size(items)]])
    bounds = tf.TensorArray(tf.float32, chunks)
    squares = tf.TensorArray(tf.float32, chunks)
    for number in tf.range(chunks):
        chunk = items[number * width : (number + 1) * width]
        table = vectors.item_vectors(model, chunk)  # [C, D]
        squares = squares.write(number, tf.reduce_sum(tf.square(table), axis=1))
        products = tf.matmul(table, queries, transpose_b=True)  # [C, Q * B]
        # Whole rows meet whole rows, which is what processors are fast at.
        best = tf.reduce_max(tf.reshape(products, [per_chunk, GROUP, -1]), axis=1)
        best = tf.reduce_max(tf.reshape(best, [per_chunk, asked, rows]), axis=1)
        bounds = bounds.write(number, best)
    tops = tf.transpose(tf.reshape(bounds.stack(), [-1, rows]))  # [B, groups, all]
    tops, chosen = tf.math.top_k(tops, groups + 1)
    chosen = tf.sort(chosen[:, :groups], axis=1)[:, :, None]
    places = tf.reshape(chosen * GROUP + tf.range(GROUP), [rows, groups * GROUP])
    item_squares = squares.stack()
    query_squares = tf.reduce_sum(tf.square(flat), axis=2)  # [B, Q]
    lengths = tf.sqrt(tf.reduce_max(query_squares, axis=1))
    return ShortList(
        ids=tf.gather(items, places),
        ends=tops[:, groups],
        slack=rounding(interests.shape[-1])
        * lengths
        * tf.sqrt(tf.reduce_max(item_squares)),
        finite=tf.reduce_all(tf.math.is_finite(item_squares))
        & tf.reduce_all(tf.math.is_finite(query_squares)),
    )


def rounding(size: int) -> float:
    """How far two float32 inner products of `size` numbers may be apart.

    Relative to the product of the two lengths, which is at least the sum of the terms'
    sizes: each is rounded `size` times, and the softmax adds a few.
    """
    return (size + 8) * float(np.finfo(np.float32).eps)
