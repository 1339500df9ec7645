"""Model and instances -> the rank of every positive among its candidates."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

from data.candidates import PROTOCOLS, candidate_negatives
from data.pipeline import NumpyBatch, targets
from data.prepared import PreparedData
from harness import metrics
from harness.distribution import own_share
from harness.rankings import Ranking
from harness.sampling import TEST_SEED, sample_rows
from harness.scoring import (
    Scoring,
    distinct_past,
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


class Ranker:
    """Ranks instances with one model, under every protocol.

    Args:
        model: any model that follows `SequentialRecommender`'s contract.
        data: the prepared data whose instances are ranked.
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
        self._scoring = Scoring(model, data, max_history, batch_size)
        self._candidate_seed = candidate_seed

    @property
    def _data(self) -> PreparedData:
        return self._scoring.data

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

    def rank_protocols(self, part: str, most: int | None = None) -> dict[str, Ranking]:
        """Ranks the instances of a part under every protocol.

        The catalogue's ranks are of a fixed sample of the instances where all of them
        would take more than 250 million scores; the sample is the same for all models.

        Args:
            part: whose instances.
            most: of which a fixed sample of so many is ranked, if there are more.
        """
        rows = {name: protocol_rows(self._data, part, name, most) for name in PROTOCOLS}
        if _is_small(self._data):
            every = rows["full"]
            users = self._data.instances[part][every, 0]
            started = time.perf_counter()
            own = self._rank_by_catalogue(part, own_share(users, every))
            return {name: one.timed(started).gathered() for name, one in own.items()}
        return {
            name: self.rank(part, name, name != "full", rows=rows[name])
            for name in PROTOCOLS
        }

    def altered(self, **changes: Any) -> Ranker:
        """The same model, already traced; the arguments are `Scoring.altered`'s."""
        other = copy.copy(self)
        other._scoring = self._scoring.altered(**changes)
        return other

    def score(self, batch: NumpyBatch) -> np.ndarray:
        """Scores [B, C] of a batch's own candidates."""
        return self._scoring.score(batch)

    def score_lists(self, instances: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Scores [n, C] of the candidates [n, C] of each instance [n, 2]."""
        return self._scoring.score_lists(instances, candidates)

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

    def _rank_full(self, instances: np.ndarray) -> metrics.Ranks:
        above, negatives = self._scoring.count_above(instances)
        return metrics.Ranks(
            pessimistic=above[:, 0], optimistic=above[:, 1], negatives=negatives
        )


def protocol_rows(
    data: PreparedData, part: str, protocol: str, most: int | None = None
) -> np.ndarray:
    """Which instances `rank_protocols` ranks under a protocol, by number: int64 [n]."""
    rows = sample_rows(len(data.instances[part]), most, TEST_SEED)
    if protocol != "full" or _is_small(data):
        return rows
    affordable = _FULL_SCORES // data.num_items
    return rows[sample_rows(len(rows), affordable, TEST_SEED)]


def _is_small(data: PreparedData) -> bool:
    """Whether all protocols are ranked at once, by the scores of all items."""
    return data.num_items - 1 <= _SMALL_CATALOGUE
