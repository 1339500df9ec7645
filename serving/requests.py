"""Raw ids in, numbers out: whom to recommend to, and what they have had."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from data.errors import UserError
from data.times import LATEST
from harness.vocabulary import Vocabulary
from serving.histories import Histories

_SECONDS = "seconds since the epoch"


@dataclasses.dataclass(frozen=True)
class Requests:
    """One row a person.

    Attributes:
        names: raw ids, str [n], or None where nobody was named.
        users: ids, int32 [n]; 0 where unknown.
        histories: of known items.
        unknown_items: how many events were of items that the model does not know.
        unknown_users: how many people the model does not know.
        examples: the raw ids of the first few of these items.
    """

    names: np.ndarray | None
    users: np.ndarray
    histories: Histories
    unknown_items: int = 0
    unknown_users: int = 0
    examples: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.users)


class Ids:
    """Finds the numbers of raw ids."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._items = pd.Index(vocabulary.items)
        self._users = pd.Index(vocabulary.users)

    def items(self, raw: Sequence[str]) -> np.ndarray:
        """int32 [n]; 0 where unknown."""
        return (self._items.get_indexer(raw) + 1).astype(np.int32)

    def users(self, raw: Sequence[str]) -> np.ndarray:
        """int32 [n]; 0 where unknown."""
        return (self._users.get_indexer(raw) + 1).astype(np.int32)


def of_history(history: Iterable[Any], times: Any, ids: Ids) -> Requests:
    """One person, whom nobody named, by what he or she has had, oldest first."""
    raw = raw_ids(history, "history")
    when = None if times is None else numbers_of(times, "times", _SECONDS)
    if when is not None and len(when) != len(raw):
        raise UserError(
            f"`times` has {len(when)} entries and `history` {len(raw)}: each item "
            "needs the time at which it was had."
        )
    if when is not None and (when[1:] < when[:-1]).any():
        raise UserError(
            "`times` must not fall: a history is given oldest first, in seconds since "
            "the epoch."
        )
    items = ids.items(raw)
    known = items > 0
    histories = Histories(
        items[known],
        np.array([0, known.sum()], np.int64),
        None if when is None else seconds_of(when[known], "times"),
    )
    return Requests(
        None,
        np.zeros(1, np.int32),
        histories,
        unknown_items=int((~known).sum()),
        examples=_first_few(raw, items),
    )


def of_table(table: pd.DataFrame, ids: Ids) -> Requests:
    """Many people: a row an event, `user,item[,timestamp]`, each one's oldest first.

    People come in the order of their first rows. The events of each are put in the
    order of `data.prepare`: by timestamp, fractions of a second too, then by `order`;
    what neither tells apart keeps the order of the table.
    """
    for name in ("user", "item"):
        if name not in table:
            raise UserError(
                f"The histories have no column `{name}`; there are "
                f"{', '.join(map(str, table.columns))}. Columns: user,item[,timestamp]."
            )
    owners, names = pd.factorize(pd.Series(raw_ids(table["user"], "user"), dtype=str))
    raw = raw_ids(table["item"], "item")
    items = ids.items(raw)
    given = {
        name: numbers_of(table[name], name, wanted)
        for name, wanted in (("order", "numbers"), ("timestamp", _SECONDS))
        if name in table
    }
    times = None
    if "timestamp" in given:
        times = seconds_of(given["timestamp"], "timestamp")
    order = np.lexsort((*given.values(), owners))
    known = items[order] > 0
    lengths = np.bincount(owners[order][known], minlength=len(names))
    users = ids.users(names)
    return Requests(
        names=np.asarray(names, dtype=object),
        users=users,
        histories=Histories(
            items[order][known],
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            None if times is None else times[order][known],
        ),
        unknown_items=int((~known).sum()),
        unknown_users=int((users == 0).sum()),
        examples=_first_few(raw, items),
    )


def _first_few(raw: Sequence[str], numbers: np.ndarray) -> tuple[str, ...]:
    """Unknown ids, each once, as an example of what is left out."""
    unknown = (raw[place] for place in np.flatnonzero(numbers == 0)[:100])
    return tuple(dict.fromkeys(unknown))[:3]


def of_users(users: Iterable[Any], ids: Ids, histories: Histories) -> Requests:
    """People by their raw ids; an unknown one has an empty history."""
    raw = raw_ids(users, "users")
    user_ids = ids.users(raw)
    return Requests(
        np.array(raw, dtype=object),
        user_ids,
        histories.take(user_ids),
        unknown_users=int((user_ids == 0).sum()),
    )


def of_everyone(users: np.ndarray, histories: Histories) -> Requests:
    """All users of a run's log, by their raw ids [N]."""
    numbers = np.arange(1, len(users) + 1, dtype=np.int32)
    # Users 1, 2, ... follow on user 0, who owns nothing.
    own = Histories(histories.items, histories.offsets[1:], histories.times)
    return Requests(users, numbers, own)


def candidates(raw: Iterable[Any], ids: Ids) -> np.ndarray:
    """Ids of the items to choose from, int32 [M], ascending; unknown ones are said.

    Raises:
        UserError: if none is known.
    """
    names = raw_ids(raw, "candidates")
    items = ids.items(names)
    unknown = int((items == 0).sum())
    if unknown:
        logging.warning(
            "%d of %d candidates are not known to the model; they are left out.",
            unknown,
            len(names),
        )
    known = np.unique(items[items > 0])
    if not len(known):
        raise UserError("No candidate is an item that the model knows.")
    return known.astype(np.int32)


def say_unknown(asked: Requests) -> None:
    """Says once, with a count, what is not known, and who gets popular items."""
    if asked.unknown_items:
        logging.warning(
            "%d %s of items that the model does not know, such as %s; left out.",
            asked.unknown_items,
            "event is" if asked.unknown_items == 1 else "events are",
            ", ".join(asked.examples),
        )
    if asked.unknown_users:
        logging.warning(
            "%d of %d users are not known to the model.",
            asked.unknown_users,
            len(asked),
        )
    empty = int((np.diff(asked.histories.offsets) == 0).sum())
    if empty:
        logging.warning(
            "%d of %d histories have no item that the model knows: the answer is the "
            "popular items.",
            empty,
            len(asked),
        )


def raw_ids(values: Iterable[Any], name: str) -> list[str]:
    """Ids as text; whole numbers are written out, all else is refused."""
    if isinstance(values, (str, bytes)):
        raise UserError(f"`{name}` must be a list of ids. Received: {values!r}")
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if all(type(value) is str for value in listed):
        return listed
    return [_raw_id(value, name) for value in listed]


def _raw_id(value: Any, name: str) -> str:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return str(value)
    raise UserError(
        f"`{name}` must hold ids as text or whole numbers. Received: {value!r} "
        f"({type(value).__name__})"
    )


def numbers_of(values: Any, name: str, wanted: str) -> np.ndarray:
    """Numbers as they are, whole ones as int64; `wanted` says what they should be.

    Raises:
        UserError: if one is not a finite number.
    """
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind in "iu":
            return numbers.astype(np.int64)  # Large ones are no float.
        numbers = numbers.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"`{name}` must be {wanted}. Received: {values!r}") from error
    if not np.isfinite(numbers).all():
        raise UserError(f"`{name}` must be finite numbers: NaN or infinity is there.")
    return numbers


def seconds_of(values: Any, name: str) -> np.ndarray:
    """Whole seconds since the epoch, int64, as training reads them.

    Raises:
        UserError: if one is not a finite number, or lies after the year 2100.
    """
    numbers = numbers_of(values, name, _SECONDS)
    late = np.abs(numbers) >= LATEST
    if late.any():
        raise UserError(
            f"`{name}` must be {_SECONDS}, and {numbers[late][0]:g} is in no year that "
            "a log has. Are these milliseconds? Divide them by 1,000."
        )
    return np.floor(numbers).astype(np.int64)


def slabs(count: int, size: int) -> Iterator[np.ndarray]:
    """Row numbers, at most `size` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
