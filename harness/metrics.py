"""GAUC, HIT, NDCG and MRR from ranks and scores; ties count against the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.errors import UserError

CUTOFFS = (5, 10, 20)


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Where the positive of each list stands, counted from 0.

    Attributes:
        pessimistic: int [n], negatives with at least the positive's score.
        optimistic: int [n], negatives with more than the positive's score.
        negatives: int [n], how many negatives each list has.
    """

    pessimistic: np.ndarray
    optimistic: np.ndarray
    negatives: np.ndarray

    def __post_init__(self) -> None:
        ordered = (self.optimistic >= 0) & (self.optimistic <= self.pessimistic)
        if not (ordered & (self.pessimistic <= self.negatives)).all():
            raise UserError(
                "Ranks must obey 0 <= optimistic <= pessimistic <= negatives."
            )

    @classmethod
    def concatenate(cls, parts: Sequence[Ranks]) -> Ranks:
        return cls(*(_joined(parts, field) for field in dataclasses.fields(cls)))


@dataclasses.dataclass(frozen=True)
class UserRanks:
    """The pooled list of each user: all of a user's instances in one, as published.

    The authors' code ranks the positives and negatives of all of a user's test
    instances together; only the first hit counts.

    Attributes:
        pessimistic: int [u], negatives with at least the best positive's score.
        optimistic: int [u], negatives with more than it.
        auc: float [u], over all pairs of a positive and a negative, ties half.
        size: int [u], how many positives and negatives each user's list has.
    """

    pessimistic: np.ndarray
    optimistic: np.ndarray
    auc: np.ndarray
    size: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence[UserRanks]) -> UserRanks:
        return cls(*(_joined(parts, field) for field in dataclasses.fields(cls)))


def rank_scores(
    positives: np.ndarray, negatives: np.ndarray, valid: np.ndarray
) -> Ranks:
    """Ranks each positive among its own negatives.

    Shapes:
        positives [n], negatives [n, C], valid [n, C] bool -> n ranks
    """
    bars = positives[:, None]
    return Ranks(
        pessimistic=np.sum((negatives >= bars) & valid, axis=1),
        optimistic=np.sum((negatives > bars) & valid, axis=1),
        negatives=np.sum(valid, axis=1),
    )


def pool_users(
    users: np.ndarray, positives: np.ndarray, negatives: np.ndarray, valid: np.ndarray
) -> UserRanks:
    """Ranks the pooled list of each user; rows of a user must stand together.

    Shapes:
        users [n], positives [n], negatives [n, C], valid [n, C] bool -> u lists
    """
    starts = np.flatnonzero(np.diff(users, prepend=users[0] - 1))
    stops = np.append(starts[1:], len(users))
    pooled = [
        pool_user(positives[a:b], negatives[a:b], valid[a:b])
        for a, b in zip(starts, stops)
    ]
    pessimistic, optimistic, auc, size = (np.array(column) for column in zip(*pooled))
    return UserRanks(pessimistic, optimistic, auc, size)


def pool_user(
    positives: np.ndarray, negatives: np.ndarray, valid: np.ndarray
) -> tuple[int, int, float, int]:
    """One user's pooled list: pessimistic and optimistic rank, AUC, size.

    A list without negatives has no size, and so no weight in GAUC.

    Shapes:
        positives [p], negatives [p, C], valid [p, C] bool
    """
    others = np.sort(negatives[valid])
    below = np.searchsorted(others, positives, side="left")
    not_above = np.searchsorted(others, positives, side="right")
    best = int(np.argmax(positives))
    pairs = max(1, len(positives) * len(others))
    auc = float((below + not_above).sum() / 2 / pairs)
    pessimistic = int(len(others) - below[best])
    optimistic = int(len(others) - not_above[best])
    size = len(positives) + len(others) if len(others) else 0
    return pessimistic, optimistic, auc, size


def instance_metrics(ranks: Ranks, ks: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Means over instances, by name; GAUC weighs a list by its size, ties half."""
    sizes = np.where(ranks.negatives > 0, ranks.negatives + 1, 0)
    gauc = float(np.average(auc_of(ranks), weights=sizes))
    return {"gauc": gauc, **_at_cutoffs(ranks.pessimistic, ks)}


def auc_of(ranks: Ranks) -> np.ndarray:
    """Share of its negatives that each positive stands above, ties half: float [n]."""
    above = (ranks.pessimistic + ranks.optimistic) / 2
    return 1.0 - above / np.maximum(ranks.negatives, 1)


def user_metrics(users: UserRanks, ks: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Means over the users' pooled lists; GAUC weighs a list by its size."""
    gauc = float(np.average(users.auc, weights=users.size))
    return {"gauc": gauc, **_at_cutoffs(users.pessimistic, ks)}


def at_cutoff(ranks: np.ndarray, name: str, k: int) -> np.ndarray:
    """`hit`, `ndcg` or `mrr` at k of each rank, float [n]."""
    gains = {
        "hit": np.ones(len(ranks)),
        "ndcg": 1.0 / np.log2(ranks + 2.0),
        "mrr": 1.0 / (ranks + 1.0),
    }
    return np.where(ranks < k, gains[name], 0.0)


def tie_gap(ranks: Ranks) -> float:
    """How much NDCG@5 would gain if every tie went the model's way."""
    best = at_cutoff(ranks.optimistic, "ndcg", 5).mean()
    return float(best - at_cutoff(ranks.pessimistic, "ndcg", 5).mean())


# A gain of NDCG@5 by ties from which they decide.
TIE_LIMIT = 0.01


def check_ties(ranks: Ranks, limit: float = TIE_LIMIT) -> None:
    """Refuses ranks that ties decide.

    Raises:
        UserError: if `tie_gap` is above `limit`.
    """
    gap = tie_gap(ranks)
    if gap > limit:
        raise UserError(
            f"Ties decide the ranks: NDCG@5 would be {gap:.4f} higher if they went the "
            f"model's way, more than {limit}. Its scores are saturated, or constant."
        )


def _at_cutoffs(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    return {
        f"{name}@{k}": float(at_cutoff(ranks, name, k).mean())
        for k in ks
        for name in ("hit", "ndcg", "mrr")
    }


def _joined(parts: Sequence[object], field: dataclasses.Field[object]) -> np.ndarray:
    return np.concatenate([getattr(part, field.name) for part in parts])


METRICS = ("gauc", "ndcg@5", "hit@5", "mrr@5")
