"""Other pasts than the stored ones: in other orders, and those of other users."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.errors import UserError
from data.pipeline import NumpyBatch, gather_histories
from data.prepared import PreparedData
from data.store import SequenceStore
from mgnm_tf.batch import TrainEvents


@dataclasses.dataclass(frozen=True)
class Reordered(PreparedData):
    """Stored data whose simultaneous events stand in another order; in memory alone.

    `folder`, `instances` and `meta` are those of the stored data. What is kept beside
    these, like candidates, is of the stored order.

    Attributes:
        stored: the data on disk, which models were trained on.
        rows: int64 [E], where in the stored order each event stands.
    """

    stored: PreparedData
    rows: np.ndarray

    def train_events(self) -> TrainEvents:
        """The events in the stored order, which training saw."""
        return self.stored.train_events()


def reorder_simultaneous(data: PreparedData, seed: int | list[int]) -> Reordered:
    """Draws a new order of each user's events of equal time; times stay sorted.

    An instance `(user, end)` then asks for another event where its target has
    simultaneous ones, and its history may end with others.

    Args:
        data: the stored data.
        seed: seeds the drawn order.

    Raises:
        UserError: if the data have no times, which alone tell what is simultaneous.
    """
    store = data.store
    groups = _groups(store)
    drawn = np.random.default_rng(seed).random(len(groups))
    rows = np.lexsort((drawn, groups))  # Groups stand in order: each keeps its rows.
    owners = np.repeat(np.arange(store.num_users), np.diff(store.offsets))
    return Reordered(
        folder=data.folder,
        store=SequenceStore.build(
            owners, store.items[rows], store.times, store.num_users, store.num_items
        ),
        instances=data.instances,
        meta=data.meta,
        stored=data,
        rows=rows,
    )


def has_simultaneous(store: SequenceStore, instances: np.ndarray) -> np.ndarray:
    """Which instances [n, 2] have a target with simultaneous events: bool [n].

    Only these can have another target, or another past, in another such order.

    Raises:
        UserError: if the store has no times.
    """
    groups = _groups(store)
    rows = store.offsets[instances[:, 0]] + instances[:, 1]
    return np.bincount(groups)[groups[rows]] > 1


def gather_shuffled(
    data: PreparedData, instances: np.ndarray, max_history: int, seed: int
) -> NumpyBatch:
    """`gather_histories` with the items of each history in a drawn order.

    The newest `max_history` items are chosen before they are shuffled. Times stay at
    their positions and so stay sorted, which models of times take for granted. A
    history's order depends on the seed and its instance alone.
    """
    batch = gather_histories(data, instances, max_history)
    history = batch["history"]  # [B, T]
    for row, (user, end) in zip(history, instances):
        first = len(row) - min(int(end), len(row))
        rng = np.random.default_rng([seed, user, end])
        row[first:] = rng.permutation(row[first:])
    return batch


def gather_of_others(
    data: PreparedData, instances: np.ndarray, max_history: int, seed: int
) -> NumpyBatch:
    """`gather_histories` of a drawn test instance of another user for each instance.

    All that a model is shown but the candidates is the other's: user, items, times.
    Whose it is depends on the seed and the instance alone.

    Raises:
        UserError: if no other user has a test instance.
    """
    pool = data.instances["test"]  # Ordered by user.
    first = np.searchsorted(pool[:, 0], instances[:, 0], side="left")
    own = np.searchsorted(pool[:, 0], instances[:, 0], side="right") - first
    if (own == len(pool)).any():
        raise UserError(
            f"All test instances of {data.name} are of one user: there is no other "
            "user's history to show."
        )
    drawn = np.array(
        [
            np.random.default_rng([seed, user, end]).integers(len(pool) - count)
            for (user, end), count in zip(instances, own)
        ]
    )
    drawn += np.where(drawn >= first, own, 0)  # Past the user's own instances.
    return gather_histories(data, pool[drawn], max_history)


def _groups(store: SequenceStore) -> np.ndarray:
    """Numbers the groups of a user's simultaneous events, in order: int64 [E]."""
    if store.times is None:
        raise UserError(
            "The order of simultaneous events is unknown for data without times."
        )
    starts = np.diff(store.times, prepend=store.times[0]) != 0
    starts[store.offsets[1:-1]] = True  # Each user's first event.
    return np.cumsum(starts)
