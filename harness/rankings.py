"""Ranks of test instances, as metrics and as a table."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pandas as pd

from data.prepared import PreparedData
from harness import distribution, metrics


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Ranks of all instances of a part, and the pooled lists of their users.

    Attributes:
        instances: int32 [n, 2] of `(user, end)`.
        ranks: where each instance's positive stands, counted from 0.
        users: the same by user, as the authors' code pools them; None for "full",
            and where not asked for.
        seconds: that this worker took; of all protocols where one pass ranked them.
    """

    instances: np.ndarray
    ranks: metrics.Ranks
    users: metrics.UserRanks | None
    seconds: float = 0.0

    def gathered(self) -> Ranking:
        """The ranks of all workers, on every worker: metrics are never averaged."""
        users = self.users and distribution.gathered_fields(self.users)
        ranks = distribution.gathered_fields(self.ranks)
        instances = distribution.gathered(self.instances)
        return dataclasses.replace(self, instances=instances, ranks=ranks, users=users)

    def timed(self, started: float) -> Ranking:
        return dataclasses.replace(self, seconds=time.perf_counter() - started)


def summarise(ranking: Ranking, may_tie: bool = False) -> dict[str, dict[str, float]]:
    """Metrics by grouping; fails where ties decide them, unless they may."""
    if not may_tie:
        metrics.check_ties(ranking.ranks)
    metrics_by_grouping = {"instance": metrics.instance_metrics(ranking.ranks)}
    if ranking.users is not None:
        metrics_by_grouping["user"] = metrics.user_metrics(ranking.users)
    return metrics_by_grouping


def ranks_table(data: PreparedData, ranking: Ranking, protocol: str) -> pd.DataFrame:
    """One row an instance, as `ranks.parquet` holds them; time 0 where unknown."""
    users, ends = ranking.instances.T
    rows = data.store.offsets[users] + ends
    times = data.store.times
    return pd.DataFrame(
        {
            "user": users,
            "item": data.store.items[rows],
            "time": np.zeros(len(rows), np.int64) if times is None else times[rows],
            "protocol": protocol,
            "rank_pessimistic": ranking.ranks.pessimistic.astype(np.int32),
            "rank_optimistic": ranking.ranks.optimistic.astype(np.int32),
            "candidates": ranking.ranks.negatives.astype(np.int32) + 1,
        }
    )
