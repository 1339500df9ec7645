"""Scores of candidates, and how many of the catalogue are above the positive."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import tensorflow as tf

from data.errors import UserError
from data.pipeline import NumpyBatch, batch_signature, gather_histories, targets
from data.prepared import PreparedData
from harness import provenance
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender

# The longest history of a batch, from its shortest: a factor, and events on top.
_STRETCH, _SLACK = 1.25, 4


# Catalogue items scored at a time in full ranking.
_CATALOGUE_CHUNK = 1_024


# Data, instances and the longest history -> a batch without candidates.
Gather = Callable[[PreparedData, np.ndarray, int], NumpyBatch]


_NOT_FINITE = (
    "The model gives scores that are not finite numbers. Training has diverged: lower "
    "the learning rate."
)


class NotFinite(UserError):
    """Scores that are not finite numbers: the training has diverged."""


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise NotFinite(_NOT_FINITE)


def _tensors(batch: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {key: tf.convert_to_tensor(value) for key, value in batch.items()}


def like_lengths(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in batches of at most `size`, shortest first.

    A few long histories would make padding of all the short ones in their batch.
    """
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    start = 0
    while start < len(order):
        longest = ordered[start] * _STRETCH + _SLACK
        stop = int(np.searchsorted(ordered, longest, side="right"))
        stop = min(stop, start + size)
        yield order[start:stop]
        start = stop


def whole_users(users: np.ndarray, size: int) -> Iterator[slice]:
    """Cuts rows that are ordered by user into slabs of about `size`, users whole."""
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    start = 0
    while start < len(users):
        later = starts[starts >= start + size]
        stop = int(later[0]) if len(later) else len(users)
        yield slice(start, stop)
        start = stop


def distinct_past(data: PreparedData, instances: np.ndarray) -> np.ndarray:
    """Each user's whole known past, an item once: int32 [B, P], zero-padded.

    None of it where the data keep the past among the candidates.
    """
    if data.keeps_past:
        return np.zeros((len(instances), 1), dtype=np.int32)
    offsets = data.store.offsets
    pasts = [
        np.unique(data.store.items[offsets[user] : offsets[user] + end])
        for user, end in instances
    ]
    result = np.zeros((len(pasts), max(map(len, pasts))), dtype=np.int32)
    for row, past in zip(result, pasts):
        row[: len(past)] = past
    return result


class Scoring:
    """Scores with one model; traced once, whatever the lengths and the catalogue.

    Args:
        model: any model that follows `SequentialRecommender`'s contract.
        data: the prepared data whose histories are scored.
        max_history: the newest events shown to the model.
        batch_size: instances encoded at a time, in each of two threads; no score
            depends on it.
    """

    def __init__(
        self,
        model: SequentialRecommender,
        data: PreparedData,
        max_history: int,
        batch_size: int = 256,
    ) -> None:
        self._model = model
        self.data = data
        self._max_history = max_history
        self._batch_size = batch_size
        self._threads = 1 if model.stateful_scoring else provenance.SIDE_BY_SIDE
        self._gather: Gather = gather_histories
        signature = batch_signature(data)
        self._lists = tf.function(self._score_candidates, input_signature=[signature])
        past, size = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int32)
        self._catalogue = tf.function(
            self._count_above, input_signature=[signature, past, size]
        )

    def altered(
        self,
        data: PreparedData | None = None,
        gather: Gather | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Scoring:
        """The same model, already traced, on what is given in place of its own.

        Args:
            data: with the vocabularies, and times or none, of the data before.
            gather: the function that makes batches of histories from instances.
            batch_size: how many instances are encoded at a time.
            threads: how many batches are scored at a time.
        """
        other = copy.copy(self)
        other.data = data or self.data
        other._gather = gather or self._gather
        other._batch_size = batch_size or self._batch_size
        other._threads = threads or self._threads
        return other

    def score(self, batch: NumpyBatch) -> np.ndarray:
        """Scores [B, C] of a batch's own candidates."""
        return self._lists(_tensors(batch)).numpy()

    def score_lists(self, instances: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Scores [n, C] of the candidates [n, C] of each instance [n, 2].

        Raises:
            UserError: if a score is not a finite number, padded candidates apart.
        """
        scores = np.empty(candidates.shape, dtype=np.float32)

        def fill(rows: np.ndarray, batch: dict[str, np.ndarray]) -> None:
            batch["candidates"] = candidates[rows]
            scores[rows] = self.score(batch)

        self._for_batches(instances, fill)
        _check_finite(scores[candidates != PADDING_ID])
        return scores

    def count_above(self, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the positives in the catalogue, without each user's past.

        Returns:
            Items at or above the positive, and above it, int64 [n, 2]; how many items
            it was compared with, int64 [n].

        Raises:
            UserError: if a score is not a finite number.
        """
        above = np.empty((len(instances), 2), dtype=np.int64)
        negatives = np.empty(len(instances), dtype=np.int64)
        size = tf.constant(self.data.num_items, tf.int32)

        def fill(rows: np.ndarray, batch: dict[str, np.ndarray]) -> None:
            batch["candidates"] = targets(self.data, instances[rows])[:, None]
            past = distinct_past(self.data, instances[rows])
            above[rows] = self._catalogue(_tensors(batch), past, size).numpy()
            others = (past != PADDING_ID) & (past != batch["candidates"])
            negatives[rows] = self.data.num_items - 2 - others.sum(axis=1)

        self._for_batches(instances, fill)
        if (above < 0).any():
            raise NotFinite(_NOT_FINITE)
        return above, negatives

    def _for_batches(
        self,
        instances: np.ndarray,
        fill: Callable[[np.ndarray, dict[str, np.ndarray]], None],
    ) -> None:
        """Calls `fill(rows, batch)`, shortest histories first, some at a time.

        One at a time, and so in order, where scoring changes the model.
        """

        def gather_and_fill(rows: np.ndarray) -> None:
            fill(rows, self._gather(self.data, instances[rows], self._max_history))

        lengths = np.minimum(instances[:, 1], self._max_history)
        # Few instances are shared among the threads too.
        size = min(self._batch_size, -(-len(instances) // self._threads))
        batches = like_lengths(lengths, size)
        # On leaving, also by an error or Ctrl-C, it drops the batches not yet begun.
        with ThreadPool(self._threads) as pool:
            for _ in pool.imap(gather_and_fill, batches):
                pass

    def _score_candidates(self, batch: Any) -> tf.Tensor:
        return self._model.rank_batch(batch)

    def _count_above(
        self, batch: Any, past: tf.Tensor, num_items: tf.Tensor
    ) -> tf.Tensor:
        """Items of the catalogue at or above, and above, the positive: [B, 2].

        The past (distinct items, then zeros) is counted out. -1 marks scores that are
        not finite.
        """
        request = self._model.request(batch)
        target = batch["candidates"]  # [B, 1]
        bar = self._model.rank(request, target)

        def above(scores: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
            tied = tf.math.count_nonzero(real & (scores >= bar), axis=1)
            return tf.stack(
                [tied, tf.math.count_nonzero(real & (scores > bar), axis=1)], axis=1
            )  # [B, 2]

        others = tf.not_equal(past, PADDING_ID) & tf.not_equal(past, target)
        total = tf.zeros([tf.shape(target)[0], 2], tf.int64)
        finite = tf.reduce_all(tf.math.is_finite(bar))
        for first in tf.range(1, num_items, _CATALOGUE_CHUNK):
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[(total, tf.TensorShape([None, 2]))]
            )
            last = tf.minimum(first + _CATALOGUE_CHUNK, num_items)
            chunk = tf.range(first, last)
            scores = self._model.rank_items(request, chunk)  # [B, N]
            # The past is counted out by the same scores: others may round otherwise.
            seen = others & (past >= first) & (past < last)
            places = tf.where(seen, past - first, 0)
            total += above(scores, tf.not_equal(chunk, target))
            total -= above(tf.gather(scores, places, batch_dims=1), seen)
            finite &= tf.reduce_all(tf.math.is_finite(scores))
        return tf.where(finite, total, -1)
