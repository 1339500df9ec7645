"""Interaction sequences as flat arrays: what a prepared data set is on disk."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class SequenceStore:
    """All events, user after user, each user's in time order.

    Events of user `u` are `items[offsets[u]:offsets[u + 1]]`. Users are 1..N and
    items 1..M; user 0 (unknown) and item 0 (padding) own no event. An *instance*
    `(user, end)` asks for the event `end` of a user, given the `end` before it.

    Attributes:
        items: int32 [E], ids 1..M.
        offsets: int64 [N + 2].
        times: int64 [E], seconds since the epoch; None where only order is known.
        seen_keys: int64 [S], sorted `user * num_items + item` of distinct pairs.
        seen_first: int32 [S], the position of each pair's first event.
        num_items: size of the item vocabulary, padding included (M + 1).
    """

    items: np.ndarray
    offsets: np.ndarray
    times: np.ndarray | None
    seen_keys: np.ndarray
    seen_first: np.ndarray
    num_items: int

    @classmethod
    def build(
        cls,
        users: np.ndarray,
        items: np.ndarray,
        times: np.ndarray | None,
        num_users: int,
        num_items: int,
    ) -> SequenceStore:
        """Builds from columns that are sorted by user, then by time.

        `num_users` and `num_items` are vocabulary sizes, id 0 included.
        """
        counts = np.bincount(users, minlength=num_users)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        positions = np.arange(len(items), dtype=np.int64) - offsets[users]
        keys = users.astype(np.int64) * num_items + items
        # `unique` returns first occurrences, which are earliest: rows are in order.
        seen_keys, first_rows = np.unique(keys, return_index=True)
        return cls(
            items=np.ascontiguousarray(items, dtype=np.int32),
            offsets=offsets,
            times=None if times is None else np.ascontiguousarray(times, np.int64),
            seen_keys=seen_keys,
            seen_first=positions[first_rows].astype(np.int32),
            num_items=num_items,
        )

    @property
    def num_users(self) -> int:
        """Size of the user vocabulary, the unknown user included (N + 1)."""
        return len(self.offsets) - 1

    def events_up_to(self, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Users and rows, int64 [n] each, of events up to a user's last instance."""
        last = np.full(self.num_users, -1, dtype=np.int64)
        np.maximum.at(last, instances[:, 0], instances[:, 1])
        owners = np.repeat(np.arange(self.num_users), np.diff(self.offsets))
        positions = np.arange(len(owners)) - self.offsets[owners]
        rows = np.flatnonzero(positions <= last[owners])
        return owners[rows], rows

    def seen_before(self, user: int, end: int) -> np.ndarray:
        """Items, each once, among the first `end` events of a user, int64."""
        first, stop = user * self.num_items, (user + 1) * self.num_items
        rows = slice(*np.searchsorted(self.seen_keys, [first, stop]))
        return self.seen_keys[rows][self.seen_first[rows] < end] - first

    def was_seen(
        self, users: np.ndarray, ends: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """Tells which items occur among the first `end` events of their user.

        The arguments broadcast; the result is bool of their common shape. The whole
        past counts, however short the history that a model is shown.
        """
        keys = users.astype(np.int64) * self.num_items + items
        rows = np.searchsorted(self.seen_keys, keys)
        rows = np.minimum(rows, len(self.seen_keys) - 1)
        return (self.seen_keys[rows] == keys) & (self.seen_first[rows] < ends)
