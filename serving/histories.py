"""What people have had: many histories in flat arrays, and batches of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from data.errors import UserError


@dataclasses.dataclass(frozen=True)
class Histories:
    """Events of many people, person after person, each one's in time order.

    Attributes:
        items: ids, int32 [E].
        offsets: int64 [n + 1]; events of row r are `items[offsets[r]:offsets[r + 1]]`.
        times: seconds since the epoch, int64 [E]; None where they are not known.
    """

    items: np.ndarray
    offsets: np.ndarray
    times: np.ndarray | None

    def take(self, rows: np.ndarray) -> Histories:
        """The histories of some rows, in their order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        events += np.arange(offsets[-1])
        times = None if self.times is None else self.times[events]
        return Histories(self.items[events], offsets, times)


def stored(histories: Histories | None) -> Histories:
    """The histories of a run's users.

    Raises:
        UserError: if they are not at hand.
    """
    if histories is None:
        raise UserError(
            "The histories of the run's users are in the prepared data, not in the "
            "run's folder. Give their place as data_dir (--data_dir=...), a bundle "
            "that was exported with histories, or the histories themselves."
        )
    return histories


def batch_of(
    users: np.ndarray,
    past: Histories,
    newest: int,
    last_time: int | None,
    when: int | None,
) -> dict[str, np.ndarray]:
    """What a model reads of some histories: the newest events, padded on the left.

    Args:
        users: ids [n].
        past: their histories.
        newest: events of each, at most.
        last_time: of the log, for a model that reads times; None for others.
        when: it is asked, seconds since the epoch. None: `last_time` or, if it is
            later, the newest time of the history.
    """
    batch = {"user": users, "history": padded(past.items, past.offsets, newest)}
    if last_time is not None:
        times = padded(past.times, past.offsets, newest)
        # The newest stands last. An empty history has a zero there, which is no time.
        own = np.where(np.diff(past.offsets) > 0, times[:, -1], last_time)
        latest = np.maximum(own, last_time)
        asked = latest if when is None else np.full(len(users), when)
        batch["history_times"] = times
        batch["target_time"] = asked.astype(np.int64)
    return batch


def padded(values: Any, offsets: np.ndarray, newest: int | None = None) -> Any:
    """Rows of flat values, the newest last, 0 on the left: [n, T], T at least 1."""
    lengths = np.diff(offsets)
    if newest is not None:
        lengths = np.minimum(lengths, newest)
    width = max(1, int(lengths.max(initial=0)))
    places = offsets[1:, None] - width + np.arange(width)
    real = places >= (offsets[1:] - lengths)[:, None]
    if not len(values):
        return np.zeros(real.shape, values.dtype)
    return np.where(real, values[np.maximum(places, 0)], 0).astype(values.dtype)


def no_items(rows: np.ndarray) -> np.ndarray:
    """Of each row nothing: int32 [n, 0]."""
    return np.zeros((len(rows), 0), np.int32)
