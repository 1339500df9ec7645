"""Model and instances -> the rank of every positive among its candidates."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import tensorflow as tf

from data.candidates import PROTOCOLS, candidate_negatives
from data.errors import UserError
from data.pipeline import NumpyBatch, batch_signature, gather_histories, targets
from data.prepared import PreparedData
from harness import metrics, provenance
from harness.distribution import own_share
from harness.rankings import Ranking
from harness.scoring import (
    CATALOGUE_CHUNK,
    NOT_FINITE,
    Gather,
    check_finite,
    distinct_past,
    like_lengths,
    tensors,
    whole_users,
)
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender

# Scores kept at a time, whole users together, for the pooled lists of `user` grouping.
_SLAB_INSTANCES = 4_096
# A catalogue of at most so many items, as many as both sampled protocols draw, is
# scored once, and all protocols are read from these scores.
_SMALL_CATALOGUE = 2_000
# Most scores of a full ranking: those of 20,000 instances and 12,000 items.
# On the paper's data a target-aware model would take days for all of them.
_FULL_SCORES = 250_000_000
_FULL_SEED = 11


class Ranker:
    """Ranks instances with one model; traced once, whatever the lengths.

    Args:
        model: any model of the contract.
        data: the prepared data.
        max_history: the newest events shown to the model.
        candidate_seed: of the candidate sets, one for all models of a table.
        batch_size: instances encoded at a time, in each of two threads; no score
            depends on it.
    """

    def __init__(
        self,
        model: SequentialRecommender,
        data: PreparedData,
        max_history: int,
        candidate_seed: int,
        batch_size: int = 256,
    ) -> None:
        self._model = model
        self._data = data
        self._max_history = max_history
        self._candidate_seed = candidate_seed
        self._batch_size = batch_size
        self._threads = 1 if model.stateful_scoring else provenance.SIDE_BY_SIDE
        self._gather: Gather = gather_histories
        signature = batch_signature(data)
        self._sampled = tf.function(self._score_candidates, input_signature=[signature])
        past = tf.TensorSpec([None, None], tf.int32)
        self._full = tf.function(self._count_above, input_signature=[signature, past])

    def rank(
        self,
        part: str,
        protocol: str,
        group_users: bool = False,
        rows: np.ndarray | None = None,
    ) -> Ranking:
        """Ranks the instances of a part, or only its `rows`.

        Raises:
            UserError: if a score is not a finite number.
        """
        instances = self._data.instances[part]
        rows = np.arange(len(instances)) if rows is None else rows
        started = time.perf_counter()
        own = self._rank(
            part, protocol, group_users, own_share(instances[rows, 0], rows)
        )
        return own.timed(started).gathered()

    def rank_protocols(self, part: str) -> dict[str, Ranking]:
        """Ranks the instances of a part under every protocol.

        The catalogue's ranks are of a fixed sample of the instances where all of them
        would take more than 250 million scores; the sample is the same for all models.
        """
        count = len(self._data.instances[part])
        if self._data.num_items - 1 <= _SMALL_CATALOGUE:
            users = self._data.instances[part][:, 0]
            started = time.perf_counter()
            own = self._rank_by_catalogue(part, own_share(users, np.arange(count)))
            return {name: one.timed(started).gathered() for name, one in own.items()}
        affordable = _FULL_SCORES // self._data.num_items
        return {
            protocol: self.rank(part, "full", rows=_sample(count, affordable))
            if protocol == "full"
            else self.rank(part, protocol, group_users=True)
            for protocol in PROTOCOLS
        }

    def altered(
        self,
        data: PreparedData | None = None,
        gather: Gather | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Ranker:
        """The same model, already traced, on what is given in place of its own.

        Args:
            data: with the vocabularies, and times or none, of the data before.
            gather: makes the batches.
            batch_size: instances encoded at a time.
            threads: how many batches are ranked at a time.
        """
        other = copy.copy(self)
        other._data = data or self._data
        other._gather = gather or self._gather
        other._batch_size = batch_size or self._batch_size
        other._threads = threads or self._threads
        return other

    def score(self, batch: NumpyBatch) -> np.ndarray:
        """Scores [B, C] of a batch's own candidates."""
        return self._sampled(tensors(batch)).numpy()

    def _rank(
        self, part: str, protocol: str, group_users: bool, rows: np.ndarray
    ) -> Ranking:
        """Ranks on this worker."""
        instances = self._data.instances[part]
        if protocol == "full":
            return Ranking(instances[rows], self._rank_full(instances[rows]), None)
        negatives = candidate_negatives(
            self._data, part, protocol, self._candidate_seed
        )
        ranks, pools = [], []
        for slab in whole_users(instances[rows, 0], _SLAB_INSTANCES):
            chosen = rows[slab]
            positives = targets(self._data, instances[chosen])[:, None]
            candidates = np.concatenate([positives, negatives[chosen]], axis=1)
            scores = self.score_lists(instances[chosen], candidates)
            valid = negatives[chosen] != PADDING_ID
            ranks.append(metrics.rank_scores(scores[:, 0], scores[:, 1:], valid))
            if group_users:
                users = instances[chosen, 0]
                pools.append(
                    metrics.pool_users(users, scores[:, 0], scores[:, 1:], valid)
                )
        return Ranking(
            instances[rows],
            metrics.Ranks.concatenate(ranks),
            metrics.UserRanks.concatenate(pools) if group_users else None,
        )

    def _rank_by_catalogue(self, part: str, rows: np.ndarray) -> dict[str, Ranking]:
        """All protocols, on this worker, from one table of the catalogue's scores."""
        instances = self._data.instances[part]
        catalogue = np.arange(self._data.num_items, dtype=np.int32)
        ranks: dict[str, list[metrics.Ranks]] = {name: [] for name in PROTOCOLS}
        pools: dict[str, list[metrics.UserRanks]] = {name: [] for name in PROTOCOLS}
        for slab in whole_users(instances[rows, 0], _SLAB_INSTANCES):
            chosen = rows[slab]
            users = instances[chosen, 0]
            shape = (len(chosen), len(catalogue))
            every = np.broadcast_to(catalogue, shape)
            scores = self.score_lists(instances[chosen], every)  # By item id.
            wanted = targets(self._data, instances[chosen])[:, None]
            positives = np.take_along_axis(scores, wanted, axis=1)[:, 0]
            for name in PROTOCOLS:
                if name == "full":
                    past = distinct_past(self._data, instances[chosen])
                    valid = np.ones(shape, dtype=bool)
                    for known in (wanted, past, np.full_like(wanted, PADDING_ID)):
                        np.put_along_axis(valid, known, False, axis=1)
                    ranks[name].append(metrics.rank_scores(positives, scores, valid))
                    continue
                negatives = candidate_negatives(
                    self._data, part, name, self._candidate_seed
                )[chosen]
                valid = negatives != PADDING_ID
                drawn = np.take_along_axis(scores, negatives, axis=1)
                ranks[name].append(metrics.rank_scores(positives, drawn, valid))
                pools[name].append(metrics.pool_users(users, positives, drawn, valid))
        return {
            name: Ranking(
                instances[rows],
                metrics.Ranks.concatenate(ranks[name]),
                metrics.UserRanks.concatenate(pools[name]) if pools[name] else None,
            )
            for name in PROTOCOLS
        }

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
        check_finite(scores[candidates != PADDING_ID])
        return scores

    def _rank_full(self, instances: np.ndarray) -> metrics.Ranks:
        above = np.empty((len(instances), 2), dtype=np.int64)
        negatives = np.empty(len(instances), dtype=np.int64)

        def fill(rows: np.ndarray, batch: dict[str, np.ndarray]) -> None:
            batch["candidates"] = targets(self._data, instances[rows])[:, None]
            past = distinct_past(self._data, instances[rows])
            above[rows] = self._full(tensors(batch), past).numpy()
            others = (past != PADDING_ID) & (past != batch["candidates"])
            negatives[rows] = self._data.num_items - 2 - others.sum(axis=1)

        self._for_batches(instances, fill)
        if (above < 0).any():
            raise UserError(NOT_FINITE)
        return metrics.Ranks(
            pessimistic=above[:, 0], optimistic=above[:, 1], negatives=negatives
        )

    def _for_batches(
        self,
        instances: np.ndarray,
        fill: Callable[[np.ndarray, dict[str, np.ndarray]], None],
    ) -> None:
        """Calls `fill(rows, batch)`, shortest histories first, some at a time.

        One at a time, and so in order, where scoring changes the model.
        """

        def gather_and_fill(rows: np.ndarray) -> None:
            fill(rows, self._gather(self._data, instances[rows], self._max_history))

        lengths = np.minimum(instances[:, 1], self._max_history)
        # Few instances are shared among the threads too.
        size = min(self._batch_size, -(-len(instances) // self._threads))
        batches = like_lengths(lengths, size)
        # On leaving, also by an error or Ctrl-C, it drops the batches not yet begun.
        with ThreadPool(self._threads) as pool:
            for _ in pool.imap(gather_and_fill, batches):
                pass

    def _score_candidates(self, batch: Any) -> tf.Tensor:
        return self._model(batch, training=False)

    def _count_above(self, batch: Any, past: tf.Tensor) -> tf.Tensor:
        """Items of the catalogue at or above, and above, the positive: [B, 2].

        The past (distinct items, then zeros) is counted out. -1 marks scores that are
        not finite.
        """
        state = self._model.encode(batch, training=False)
        target = batch["candidates"]  # [B, 1]
        bar = self._model.score(state, target)

        def above(scores: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
            tied = tf.math.count_nonzero(real & (scores >= bar), axis=1)
            return tf.stack(
                [tied, tf.math.count_nonzero(real & (scores > bar), axis=1)], axis=1
            )  # [B, 2]

        others = tf.not_equal(past, PADDING_ID) & tf.not_equal(past, target)
        total = tf.zeros([tf.shape(target)[0], 2], tf.int64)
        finite = tf.reduce_all(tf.math.is_finite(bar))
        for first in tf.range(1, self._data.num_items, CATALOGUE_CHUNK):
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[(total, tf.TensorShape([None, 2]))]
            )
            last = tf.minimum(first + CATALOGUE_CHUNK, self._data.num_items)
            chunk = tf.range(first, last)
            scores = self._model.score_items(state, chunk)  # [B, N]
            # The past is counted out by the same scores: others may round otherwise.
            seen = others & (past >= first) & (past < last)
            places = tf.where(seen, past - first, 0)
            total += above(scores, tf.not_equal(chunk, target))
            total -= above(tf.gather(scores, places, batch_dims=1), seen)
            finite &= tf.reduce_all(tf.math.is_finite(scores))
        return tf.where(finite, total, -1)


def _sample(count: int, most: int) -> np.ndarray | None:
    """Rows of a fixed sample, in order; None for all of them."""
    if count <= most:
        return None
    rng = np.random.default_rng(_FULL_SEED)
    return np.sort(rng.choice(count, max(most, 1), replace=False))
