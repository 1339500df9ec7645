"""Reads the authors' files (`data.authors_files`): their records and their ids.

Nothing here loads a pickle: `data.opcode_reader` reads their opcodes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data import archives
from data.errors import UserError
from data.opcode_reader import read_dict, stream_list

_MOST_BYTES = 4 << 30  # of the unpacked records


@dataclasses.dataclass(frozen=True)
class Records:
    """The records of a file, in its order.

    Attributes:
        users, targets: int32 [R].
        times: int64 [R], seconds.
        lengths: int32 [R], of the histories.
        events: int32 [sum of lengths], the histories one after the other.
    """

    users: np.ndarray
    targets: np.ndarray
    times: np.ndarray
    lengths: np.ndarray
    events: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


def read_records(path: Path, num_users: int, num_items: int) -> Records:
    """Reads the records, one after the other, into arrays.

    Args:
        path: the pickle, unpacked.
        num_users: the largest number of a user.
        num_items: the largest number of an item.

    Raises:
        UserError: naming the record, for one of another form, out of bounds or earlier
            than the one before it.
    """
    users, targets, lengths, events = array("i"), array("i"), array("i"), array("i")
    times = array("q")
    most = path.stat().st_size if path.is_file() else 0
    for number, record in enumerate(_each(path), start=1):
        try:
            user, history, target, label, when = record
            if type(record) not in (list, tuple) or type(history) not in (list, tuple):
                raise TypeError
            if label != "1" or type(user) is not int or type(target) is not int:
                raise TypeError
            events.extend(history)
            users.append(user)
            targets.append(target)
            times.append(math.floor(when))
            lengths.append(len(history))
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{path}: record {number} is not (user, history, target, '1', "
                f"time) in numbers. Received: {_form(record)}"
            ) from error
        if len(events) > most:
            raise UserError(
                f"{path}: the histories up to record {number} have more than "
                f"{most:,} events, which a file of {most:,} bytes cannot hold "
                "unless it repeats them. It is not the released file."
            )
    if not users:
        raise UserError(f"{path} holds no record.")
    records = Records(
        users=np.array(users, np.int32),
        targets=np.array(targets, np.int32),
        times=np.array(times, np.int64),
        lengths=np.array(lengths, np.int32),
        events=np.array(events, np.int32),
    )
    _check_bounds(path, records, num_users, num_items)
    return records


def _form(value: Any) -> str:
    """What a value is, in bounded space: it may hold itself a billion times."""
    if type(value) in (list, tuple):
        names = [type(part).__name__ for part in value[:6]]
        return f"a {type(value).__name__} of {len(value)} ({', '.join(names)})"
    if type(value) is str or (type(value) is int and abs(value) < 1 << 63):
        return repr(value)[:40]
    return f"a {type(value).__name__}"


def _each(path: Path) -> Iterator[Any]:
    for some in stream_list(path):
        yield from some


def _check_bounds(path: Path, records: Records, num_users: int, num_items: int) -> None:
    owners = np.repeat(np.arange(len(records)), records.lengths)
    for what, values, rows, most in (
        ("user", records.users, None, num_users),
        ("target", records.targets, None, num_items),
        ("item of the history", records.events, owners, num_items),
    ):
        wrong = (values < 1) | (values > most)
        if wrong.any():
            place = int(wrong.argmax())
            record = place if rows is None else int(rows[place])
            raise UserError(
                f"{path}: record {record + 1}: the {what} {values[place]} is not one "
                f"of the {most:,} numbers of the file of ids."
            )
    later = np.diff(records.times) < 0
    if later.any():
        raise UserError(
            f"{path}: record {int(later.argmax()) + 2} is earlier than the one before "
            "it. The released records are in the order of time."
        )
    if not records.lengths.all():
        record = int((records.lengths == 0).argmax())
        raise UserError(f"{path}: record {record + 1} has an empty history.")


def read_keys(path: Path) -> np.ndarray:
    """Amazon's ids by number: the keys of 1, 2, ..."""
    numbers = read_dict(path)
    keys = np.empty(len(numbers), dtype=object)
    for key, number in numbers.items():
        key = key.decode("latin-1") if isinstance(key, bytes) else key
        right = isinstance(key, str) and type(number) is int
        if not right or not 1 <= number <= len(keys) or keys[number - 1] is not None:
            raise UserError(
                f"{path} must number its {len(keys):,} ids from 1 to {len(keys):,}, "
                f"each once. Received: {_form(key)} with {_form(number)}"
            )
        keys[number - 1] = key
    if not len(keys):
        raise UserError(f"{path} holds no ids.")
    return keys


@contextlib.contextmanager
def unpacked(path: Path, scratch: Path) -> Iterator[Path]:
    """The file itself, or what its zip holds, for the while in a folder of its own."""
    if path.suffix != ".zip":
        yield path
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=scratch) as folder:
        target = Path(folder) / path.stem
        yield archives.extract_only_member(path, target, _MOST_BYTES)
