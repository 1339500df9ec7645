"""Delimited interaction logs: `user,item[,rating][,timestamp|order]`."""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from pathlib import Path

import pandas as pd

IDS = ("user", "item")
NUMBERS = ("rating", "timestamp", "order")


def load(path: Path) -> pd.DataFrame:
    """Reads a CSV file with a header, gzipped or not.

    Ids are kept as they are written ("007" is not "7"); times may have fractions of
    a second. Other columns are ignored.

    Returns:
        Columns user, item, and of rating, timestamp and order those that exist.

    Raises:
        ValueError: naming file and row, for what cannot be read.
    """
    header = fields(first_line(path))
    for name in IDS:
        if name not in header:
            raise ValueError(
                f"{path}: row 1 has no column `{name}`. Received: {', '.join(header)}. "
                "The header must be user,item[,rating][,timestamp|order]."
            )
    if not {"timestamp", "order"} & {*header}:
        raise ValueError(
            f"{path}: row 1 has neither `timestamp` (seconds since the epoch) nor "
            "`order` (0, 1, 2, ... within a user); one of them says what comes next."
        )
    return read(path, header=0)


def read(path: Path, separator: str = ",", **options: object) -> pd.DataFrame:
    """`pandas.read_csv` of such columns, with errors that name file and row."""
    try:
        with warnings.catch_warnings():
            # Rows longer than the header would be cut with a warning only.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=dict.fromkeys(IDS, "category"),
                index_col=False,
                low_memory=False,
                **options,
            )
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty.") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path} is not a table: {str(error).strip()}.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(_damaged(path, error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}.") from error
    table = table[[name for name in (*IDS, *NUMBERS, "time_ms") if name in table]]
    return checked(path, table, first_row=1 if options.get("header") is None else 2)


def checked(path: Path, table: pd.DataFrame, first_row: int) -> pd.DataFrame:
    """Refuses what is missing or not a number; `first_row` is the row of line 0."""
    table = table.copy(deep=False)
    if table.empty:
        raise ValueError(f"{path} has no rows.")
    for name in table.columns:
        if name in NUMBERS and not pd.api.types.is_numeric_dtype(table[name]):
            numbers = pd.to_numeric(table[name], errors="coerce")
            bad = numbers.isna() & table[name].notna()
            if bad.any():
                row = int(bad.to_numpy().argmax())
                raise ValueError(
                    f"{path}: row {row + first_row}: `{name}` is not a number. "
                    f"Received: {table[name].iloc[row]}"
                )
            table[name] = numbers
        missing = table[name].isna()
        if missing.any():
            row = int(missing.to_numpy().argmax())
            raise ValueError(f"{path}: row {row + first_row}: `{name}` is missing.")
        if name in NUMBERS:
            infinite = table[name].abs().to_numpy() == float("inf")
            if infinite.any():
                row = int(infinite.argmax())
                raise ValueError(
                    f"{path}: row {row + first_row}: `{name}` is infinite."
                )
    return table


def fields(line: str) -> list[str]:
    """The fields of one line, quoted or not."""
    return next(csv.reader([line]))


def first_line(path: Path) -> str:
    """The first line of a text file, gzipped or not.

    Raises:
        ValueError: if the file is missing, empty or damaged.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            line = file.readline().strip()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(_damaged(path, error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}.") from error
    if not line:
        raise ValueError(f"{path} is empty.")
    return line


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is not a whole gzip file ({error}). Fetch or copy it again."
