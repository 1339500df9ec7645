"""Which events train, validate and test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data import times
from data.errors import UserError
from data.store import SequenceStore

Parts = dict[str, np.ndarray]
_DAY = 86_400
_TRAIN, _VALID = 0.7, 0.8  # ends of training and validation: 70/10/20, Section 4.1


def split(
    store: SequenceStore, rule: str, utc_offset_hours: float = 8.0
) -> tuple[Parts, str]:
    """Divides all instances of a store.

    Args:
        store: the sequences.
        rule: a name of `RULES`.
        utc_offset_hours: of the clock by which "by_date" tells days and noon.

    Returns:
        "train", "valid" and "test" as int32 [n, 2] of `(user, end)`, ordered by user
        then end; and the rule in words.

    Raises:
        UserError: if the rule needs times that are not there, or a part is empty.
    """
    if rule not in RULES:
        raise UserError(f"`split` must be one of {sorted(RULES)}. Received: {rule}")
    counts = np.diff(store.offsets)
    users = np.repeat(np.arange(store.num_users), np.maximum(counts - 1, 0))
    firsts = np.flatnonzero(np.diff(users, prepend=-1))
    runs = np.diff(np.append(firsts, len(users)))
    ends = np.arange(len(users)) - np.repeat(firsts, runs) + 1
    part, description = RULES[rule](store, users, ends, utc_offset_hours)
    instances = np.stack([users, ends], axis=1).astype(np.int32)
    parts = {
        name: instances[part == number]
        for number, name in enumerate(("train", "valid", "test"))
    }
    empty = [name for name, rows in parts.items() if not len(rows)]
    if empty:
        raise UserError(
            f"The split {rule} leaves nothing to {' and '.join(empty)}. Of "
            f"{_count(len(instances), 'instance')} of {np.sum(counts > 1)} users, "
            + ", ".join(f"{len(rows)} {_DO[name]}" for name, rows in parts.items())
            + f". {_span(store)}{_last_day(store, rule, utc_offset_hours)}"
        )
    return parts, description


_DO = {"train": "train", "valid": "validate", "test": "test"}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _span(store: SequenceStore) -> str:
    """A sentence: the dates of the first and last event, and how many times differ."""
    if store.times is None:
        return "Longer sequences are needed."
    first, last = (
        times.date(bound) for bound in (store.times.min(), store.times.max())
    )
    return (
        f"Events go from {first} to {last}, at "
        f"{_count(len(np.unique(store.times)), 'different time')}."
    )


def _last_day(store: SequenceStore, rule: str, utc_offset_hours: float) -> str:
    if rule != "by_date":
        return ""
    local = int(_times(store).max()) + int(3_600 * utc_offset_hours)
    return (
        f" The last day, {times.date(local // _DAY * _DAY)} by the clock of "
        f"UTC{utc_offset_hours:+g} h (--utc_offset_hours of data.prepare), needs "
        "events before and after noon, and a day before it."
    )


def _times(store: SequenceStore) -> np.ndarray:
    if store.times is None:
        raise UserError(
            "This split needs timestamps, and these data have an order only. Split "
            "them by it: --split=leave_one_out or --split=per_user of data.prepare."
        )
    return store.times


def _global_time(
    store: SequenceStore, users: np.ndarray, ends: np.ndarray, utc_offset_hours: float
) -> tuple[np.ndarray, str]:
    del utc_offset_hours
    when = _times(store)[store.offsets[users] + ends]
    ordered = np.sort(when)
    cuts = ordered[[int(_TRAIN * len(ordered)), int(_VALID * len(ordered))]]
    return np.searchsorted(cuts, when, side="right"), (
        "global_time: all instances by time, 70/10/20; instances at the time of a cut "
        f"are all on its later side (cuts at {_moment(cuts[0])} "
        f"and {_moment(cuts[1])})"
    )


def _moment(seconds: int) -> str:
    """A time for people, and as it is stored."""
    return f"{times.date(seconds)} UTC = {seconds} s"


def _by_date(
    store: SequenceStore, users: np.ndarray, ends: np.ndarray, utc_offset_hours: float
) -> tuple[np.ndarray, str]:
    local = _times(store) + int(3_600 * utc_offset_hours)
    seconds = local[store.offsets[users] + ends]
    last_day = int(local.max()) // _DAY * _DAY
    noon = last_day + _DAY // 2
    return np.searchsorted([last_day, noon], seconds, side="right"), (
        "by_date: the last day before noon validates, from noon on tests, earlier days "
        f"train (clock of UTC{utc_offset_hours:+g} h)"
    )


def _per_user(
    store: SequenceStore, users: np.ndarray, ends: np.ndarray, utc_offset_hours: float
) -> tuple[np.ndarray, str]:
    del utc_offset_hours
    totals = np.diff(store.offsets)[users] - 1
    share = ends / totals  # The last instance of a user has 1.
    return (share > _TRAIN).astype(int) + (share > _VALID), (
        "per_user: each user's instances in order, 70/10/20"
    )


def _leave_one_out(
    store: SequenceStore, users: np.ndarray, ends: np.ndarray, utc_offset_hours: float
) -> tuple[np.ndarray, str]:
    del utc_offset_hours
    totals = np.diff(store.offsets)[users] - 1
    part = np.select([ends == totals, ends == totals - 1], [2, 1], 0)
    return np.where(totals < 2, 0, part), (
        "leave_one_out: the last event of each user tests, the one before validates; "
        "users of two events train. Later events of other users are seen in training"
    )


Rule = Callable[[SequenceStore, np.ndarray, np.ndarray, float], tuple[np.ndarray, str]]
RULES: dict[str, Rule] = {
    "global_time": _global_time,
    "by_date": _by_date,
    "per_user": _per_user,
    "leave_one_out": _leave_one_out,
}
