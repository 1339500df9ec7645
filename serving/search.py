"""The best items of a catalogue, exactly, inside a TensorFlow graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.recommender import Request, SequentialRecommender
from serving import short_list, vectors

# Scores in memory at a time where every item is scored, and the fewest and the most
# items of them. MGNM's largest tensor has levels * interests as many numbers, and
# memory of 32 MB and more is asked of the system anew each time.
_CHUNK_SCORES, _FEWEST, _MOST = 2**18, 256, 8_192
# Groups on the short list: so many, two for each item asked for, and one for each item
# that was had, as these are among what suits a person best; but not for long histories.
_MORE_GROUPS, _MOST_SEEN = 16, 64
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


class TopK(NamedTuple):
    """The best k items of some rows; where fewer are left, the lowest float."""

    ids: tf.Tensor  # int32 [B, k]
    scores: tf.Tensor  # float32 [B, k]
    finite: tf.Tensor  # bool


def best_items(
    model: SequentialRecommender,
    batch: Batch,
    items: tf.Tensor,
    seen: tf.Tensor,
    popularity: tf.Tensor,
    k: tf.Tensor,
) -> Best:
    """The best of the items for every row, exactly.

    A history is encoded once. Where scores are made of inner products, the items of a
    short list are scored; where that does not prove which are the best, and for other
    models, all items are. Memory is bounded, however large the catalogue. A row whose
    history is empty gets the popular items, scored by their training events.

    Args:
        model: any model of the contract.
        batch: without candidates; histories [B, T] with T of at least 1.
        items: ids to choose from, int32 [M], ascending and different.
        seen: ids to leave out of each row, int32 [B, P], 0 at padding.
        popularity: training events by item id, float32 [num_items].
        k: how many, int32; of fewer than k items all are kept.
    """
    request = model.request(batch)
    empty = ~tf.reduce_any(tf.not_equal(batch["history"], PADDING_ID), axis=1)  # [B]
    k = tf.minimum(k, tf.size(items))

    def whole(rows: tf.Tensor) -> TopK:
        own, own_seen, counted = tf.nest.map_structure(
            lambda part: tf.gather(part, rows), (request, seen, empty)
        )
        return _of_all(model, own, items, own_seen, counted, popularity, k)

    top = _of_short_list_or_all(model, request, items, seen, empty, k, whole)
    return finished(model, request, top, empty)


def finished(
    model: SequentialRecommender, request: Request, top: TopK, empty: tf.Tensor
) -> Best:
    """What was found, with levels; rows that are `empty` [B] are the popular items'."""
    left = top.scores > top.scores.dtype.min
    ids = tf.where(left, top.ids, PADDING_ID)
    levels = best_levels(model, request.state, ids)
    return Best(
        ids=ids,
        scores=tf.where(left, top.scores, -float("inf")),
        levels=tf.where(left & ~empty[:, None], levels, NO_LEVEL),
        popular=empty,
        finite=top.finite,
    )


def _of_short_list_or_all(
    model: SequentialRecommender,
    request: Request,
    items: tf.Tensor,
    seen: tf.Tensor,
    empty: tf.Tensor,
    k: tf.Tensor,
    whole: Callable[[tf.Tensor], TopK],
) -> TopK:
    """The best k items; `whole` scores all of them for some rows."""
    rows = tf.size(empty)
    if not vectors.has_vectors(model):
        return whole(tf.range(rows))

    def short() -> tuple[TopK, tf.Tensor]:
        return of_short_list(model, request, items, seen, groups, k)

    def nothing() -> tuple[TopK, tf.Tensor]:
        none = TopK(tf.zeros([rows, k], tf.int32), tf.zeros([rows, k]), True)
        return none, tf.zeros([rows], tf.bool)

    groups = groups_for(k, seen)
    is_short = 2 * short_list.GROUP * groups < tf.size(items)
    top, proven = tf.cond(is_short, short, nothing)
    # `whole` stands in one place, since to trace it takes seconds.
    return _replaced(top, tf.where(~proven | empty), whole)


def groups_for(k: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    """How many groups of items make the short list of k items."""
    return 2 * k + _MORE_GROUPS + tf.minimum(tf.shape(seen)[1], _MOST_SEEN)


def of_short_list(
    model: SequentialRecommender,
    request: Request,
    items: tf.Tensor,
    seen: tf.Tensor,
    groups: tf.Tensor,
    k: tf.Tensor,
) -> tuple[TopK, tf.Tensor]:
    """The best k of a short list, and for which rows they are proven [B] the best.

    An item outside of the list scores at most what the list ended at: a k-th score
    above that is a proof.
    """
    interests = vectors.interest_vectors(model, request.state)  # [B, L, K, D]
    some = short_list.make(model, interests, items, groups)
    best = best_of(model, request, some.ids, seen, k)
    proven = best.scores[:, -1] > some.ends + some.slack
    return best._replace(finite=best.finite & some.finite), proven


def best_of(
    model: SequentialRecommender,
    request: Request,
    ids: tf.Tensor,
    seen: tf.Tensor,
    k: tf.Tensor,
) -> TopK:
    """The best k of each row's own items [B, S], of which 0 and seen ones are none."""
    scores = model.rank(request, ids)  # [B, S]
    finite = tf.reduce_all(tf.math.is_finite(scores))
    choosable = tf.not_equal(ids, PADDING_ID) & ~_among(ids, seen)
    scores = tf.where(choosable, scores, scores.dtype.min)
    scores, where = tf.math.top_k(scores, tf.minimum(k, tf.shape(ids)[1]))
    return TopK(tf.gather(ids, where, batch_dims=1), scores, finite)


def _replaced(top: TopK, rows: tf.Tensor, whole: Callable[[tf.Tensor], TopK]) -> TopK:
    """What was found, but of some rows [R, 1] that of all items."""

    def replaced() -> TopK:
        other = whole(rows[:, 0])
        return TopK(
            tf.tensor_scatter_nd_update(top.ids, rows, other.ids),
            tf.tensor_scatter_nd_update(top.scores, rows, other.scores),
            top.finite & other.finite,
        )

    return tf.cond(tf.size(rows) > 0, replaced, lambda: top)


def _of_all(
    model: SequentialRecommender,
    request: Request,
    items: tf.Tensor,
    seen: tf.Tensor,
    empty: tf.Tensor,
    popularity: tf.Tensor,
    k: tf.Tensor,
) -> TopK:
    """Scores every item for every row, in chunks, and keeps the best."""
    rows, size = tf.shape(empty)[0], tf.size(items)
    width = tf.clip_by_value(_CHUNK_SCORES // tf.maximum(rows, 1), _FEWEST, _MOST)
    owners, places = _places(items, seen)  # [S] each: row, and place among the items
    # What is there before the first chunk: nothing.
    scores, ids = tf.zeros([rows, 0]), tf.zeros([rows, 0], tf.int32)
    finite = tf.constant(True)
    for first in tf.range(0, size, width):
        tf.autograph.experimental.set_loop_options(
            shape_invariants=[
                (scores, tf.TensorShape([None, None])),
                (ids, tf.TensorShape([None, None])),
            ]
        )
        chunk = items[first : first + width]
        of_chunk = model.rank_items(request, chunk)  # [B, C]
        finite &= tf.reduce_all(tf.math.is_finite(of_chunk))
        of_chunk = tf.where(empty[:, None], tf.gather(popularity, chunk), of_chunk)
        inside = (places >= first) & (places < first + width)
        cells = tf.stack([owners, places - first], axis=1)
        cells = tf.boolean_mask(cells, inside)
        nothing = tf.fill([tf.shape(cells)[0]], of_chunk.dtype.min)
        of_chunk = tf.tensor_scatter_nd_update(of_chunk, cells, nothing)
        # Earlier chunks stand first, and of equal scores `top_k` keeps the first.
        joined = tf.concat([scores, of_chunk], axis=1)
        kept = tf.shape(scores)[1]
        scores, where = tf.math.top_k(joined, tf.minimum(k, tf.shape(joined)[1]))
        before = tf.gather(
            tf.pad(ids, [[0, 0], [0, 1]]), tf.minimum(where, kept), batch_dims=1
        )
        now = tf.gather(chunk, tf.maximum(where - kept, 0))
        ids = tf.where(where < kept, before, now)
    return TopK(ids, scores, finite)


def _among(ids: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    """Which ids of a row [B, S] are among its seen ones [B, P]: bool [B, S]."""
    # One more, above all ids, so that each id has a place.
    ordered = tf.pad(seen, [[0, 0], [0, 1]], constant_values=seen.dtype.max)
    ordered = tf.sort(ordered, axis=1)
    places = tf.searchsorted(ordered, ids)
    return tf.equal(tf.gather(ordered, places, batch_dims=1), ids)


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
