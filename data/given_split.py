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
    # Where steps have ties, log_file has ranked them: within each file alone.
    is_ranked = first["time_unit"] == times.STEPS and "order" in first["columns"]
    if "order" in table and (is_ranked or _restarts(table)):
        table["order"] = _continued(table)
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


def _restarts(table: pd.DataFrame) -> bool:
    """Whether the order is counted anew in each file, and so tells nothing across them.

    It is where it numbers the rows of each file, or those of a user in each file: from
    the same number on. An order that goes on has a number in one file only, or gives a
    user a number in one file only.
    """
    first_of_file = table.groupby("part")["order"].min()
    if first_of_file.nunique() > 1:
        return False
    first_of_user = table.groupby(["part", "user"], observed=True)["order"].min()
    numbers_rows = not table.duplicated(["part", "order"]).any()
    return numbers_rows or first_of_user.nunique() == 1


def _continued(table: pd.DataFrame) -> np.ndarray:
    """The order within each file, file after file: int64 [n]."""
    values, ranks = np.unique(table["order"], return_inverse=True)
    return ranks + len(values) * table["part"].to_numpy()


def check_order(table: pd.DataFrame, keys: np.ndarray) -> None:
    """Refuses parts that are not one after the other in a user's time, or order.

    Args:
        table: columns user, part and timestamp or order or both, sorted by user, part,
            timestamp and order.
        keys: int [n], numbers of the users, in the same order.

    Raises:
        UserError: naming a user whose later part holds an earlier event.
    """
    tied = keys[1:] == keys[:-1]
    for name in ("timestamp", "order"):
        if name in table:
            values = table[name].to_numpy()
            # Compared, not subtracted: differences of unsigned numbers are never below
            # zero.
            early = tied & (values[1:] < values[:-1])
            if early.any():
                raise _shows_the_future(table, keys, early, name)
            tied &= values[1:] == values[:-1]


def _shows_the_future(
    table: pd.DataFrame, keys: np.ndarray, early: np.ndarray, name: str
) -> UserError:
    row = int(early.argmax())
    before, after = (PARTS[part] for part in table["part"].iloc[row : row + 2])
    high, low = table[name].iloc[row : row + 2]
    if name == "timestamp":
        shown = f"{after} {times.date(low)} is before {before} {times.date(high)}"
        remedy = "Split by time, or replace the times by a column `order` that numbers"
    else:
        shown = f"the order is {low} in {after} and {high} in {before}"
        remedy = "Split by this order, or number"
    return UserError(
        f"{len(np.unique(keys[1:][early])):,} users have events of a later part before "
        f"those of an earlier one, such as {table['user'].iloc[row]}: {shown}. "
        f"Histories would hold the future. {remedy} the rows of each file from 1 on: "
        "then the order of the files counts, training, validation, test."
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
