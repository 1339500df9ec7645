"""A log that is already split: files of training, validation and test events."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from data import log_file, times
from data.errors import UserError
from data.log_file import Log
from data.log_options import LogOptions
from data.prepared import PARTS

SPLIT = "given"
_WORDS = {
    "train": "train|training",
    "valid": "valid|validation|val|dev",
    "test": "test",
}


def find(folder: Path) -> dict[str, Path]:
    """The files of a folder by part, told by a word of their names.

    Raises:
        UserError: if there is not exactly one file of each part.
    """
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    files = {}
    for part, words in _WORDS.items():
        pattern = re.compile(rf"(^|[._-])({words})([._-]|$)", re.IGNORECASE)
        matching = [path for path in paths if pattern.search(path.name)]
        if len(matching) != 1:
            names = ", ".join(path.name for path in matching or paths[:5]) or "no file"
            raise UserError(
                f"{folder} must hold one file of {part} events, with {part} in its "
                f"name. Found: {names}. Else give --train_file, --valid_file and "
                "--test_file."
            )
        files[part] = matching[0]
    if len({*files.values()}) != len(files):
        raise UserError(f"{folder}: the names of its files do not tell the parts.")
    return files


def load(files: dict[str, Path], options: LogOptions | None, with_rating: bool) -> Log:
    """Reads the three files as one log with a column `part`: 0, 1 or 2.

    Raises:
        UserError: if one cannot be read, or they have different columns.
    """
    logs = {part: log_file.load(files[part], options, with_rating) for part in PARTS}
    columns = {part: [*log.table.columns] for part, log in logs.items()}
    if len({tuple(names) for names in columns.values()}) > 1:
        shown = "; ".join(f"{part}: {', '.join(c)}" for part, c in columns.items())
        raise UserError(f"The three files must have the same columns. Found: {shown}.")
    tables = [log.table for log in logs.values()]
    table = pd.DataFrame(
        {
            name: (
                union_categoricals([part[name] for part in tables])
                if name in ("user", "item")
                else np.concatenate([part[name].to_numpy() for part in tables])
            )
            for name in tables[0].columns
        }
    )
    table["part"] = np.repeat(np.arange(len(PARTS)), [len(part) for part in tables])
    first = logs["train"].read
    read: dict[str, Any] = {
        **first,
        "file": [log.read["file"] for log in logs.values()],
        "rows": sum(log.read["rows"] for log in logs.values()),
        "dropped": {
            name: sum(log.read["dropped"].get(name, 0) for log in logs.values())
            for name in {key for log in logs.values() for key in log.read["dropped"]}
        },
    }
    return Log(
        table,
        read,
        odd=[f"{part}: {text}" for part, log in logs.items() for text in log.odd],
        odd_times=[text for log in logs.values() for text in log.odd_times],
    )


def check_order(table: pd.DataFrame, keys: np.ndarray) -> None:
    """Refuses parts that are not one after the other in a user's time.

    Args:
        table: columns user, timestamp and part, sorted by user, part and time.
        keys: int [n], numbers of the users, in the same order.

    Raises:
        UserError: naming a user whose later part holds an earlier event.
    """
    if "timestamp" not in table:
        return
    when = table["timestamp"].to_numpy()
    # Compared, not subtracted: differences of unsigned numbers are never below zero.
    early = (when[1:] < when[:-1]) & (keys[1:] == keys[:-1])
    if early.any():
        row = int(early.argmax())
        parts = table["part"].to_numpy()
        raise UserError(
            f"{len(np.unique(keys[1:][early])):,} users have events of a later part "
            f"before those of an earlier one, such as {table['user'].iloc[row]}: "
            f"{PARTS[parts[row + 1]]} {times.date(when[row + 1])} is before "
            f"{PARTS[parts[row]]} {times.date(when[row])}. Histories would hold the "
            "future. Split by time, or leave the column of times out to take the "
            "order of the files: training, validation, test."
        )


def instances(
    store_offsets: np.ndarray, users: np.ndarray, parts: np.ndarray
) -> dict[str, np.ndarray]:
    """Instances `(user, end)` of each part, int32 [n, 2]: that of the event asked for.

    A user's first event has no history before it and is asked of nobody.

    Args:
        store_offsets: `SequenceStore.offsets`, int64 [N + 2].
        users: int [E], ids from 1 on, sorted.
        parts: int [E], of each event.

    Raises:
        UserError: if a part has none.
    """
    ends = np.arange(len(users)) - store_offsets[users]
    both = np.stack([users, ends], axis=1).astype(np.int32)
    by_part = {
        name: both[(ends > 0) & (parts == number)] for number, name in enumerate(PARTS)
    }
    for name, rows in by_part.items():
        if not len(rows):
            raise UserError(
                f"The file of {name} events leaves none with a history before it."
            )
    return by_part
