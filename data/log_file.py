"""Any log of (user, item, time): CSV and its kin, JSON lines, Parquet."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from absl import logging

from data import (
    delimited,
    json_lines,
    layout,
    odd_values,
    parquet_file,
    raw_file,
    times,
)
from data.columns import Columns
from data.errors import UserError
from data.log_forms import Form
from data.log_options import LogOptions

if TYPE_CHECKING:
    import pyarrow as pa

_READERS = {
    raw_file.TEXT: delimited.read,
    raw_file.JSON_LINES: json_lines.read,
    raw_file.PARQUET: parquet_file.read,
}
_FIRST_VALUES = {
    raw_file.TEXT: layout.first_values,
    raw_file.JSON_LINES: json_lines.first_values,
    raw_file.PARQUET: parquet_file.first_values,
}
_RECOGNISERS = {
    raw_file.TEXT: layout.recognise,
    raw_file.JSON_LINES: json_lines.recognise,
    raw_file.PARQUET: parquet_file.recognise,
}

# Files of ids have one a line.
_BREAKS = r"[\0\n\r]"


@dataclasses.dataclass(frozen=True)
class Log:
    """A log as it was understood.

    Attributes:
        table: columns user and item (categories, ids as they are written), timestamp
            (seconds since the epoch, UTC) or order or both, and rating if it was asked
            for; rows in the order of the file.
        read: for the record: form, columns, time_unit, rows read, dropped.
        odd: sentences on what is unusual.
        odd_times: those of them that may make a split by time fail.
    """

    table: pd.DataFrame
    read: dict[str, Any]
    odd: list[str]
    odd_times: list[str] = dataclasses.field(default_factory=list)


def load(
    path: Path, options: LogOptions | None = None, with_rating: bool = False
) -> Log:
    """Reads a log; what its columns mean is told by `options` or recognised.

    Args:
        path: csv, tsv, txt, dat, inter, jsonl or parquet, each also as .gz, or a zip
            archive of one of these.
        options: what the user says of it.
        with_rating: whether the ratings are needed; else they are not read.

    Raises:
        UserError: naming file, row and flag, for what cannot be read.
    """
    options = options or LogOptions()
    raw = raw_file.recognise(path)
    columns = _READERS[raw.kind](raw, options)
    if not columns.rows:
        columns.bad.check()
        raise UserError(f"{path} has no rows.")
    rows = _chosen(columns, options)
    odd: list[str] = []
    table_columns: dict[str, Any] = {}
    for role in ("user", "item"):
        table_columns[role] = _ids(columns, role, rows, odd)
    odd_times: list[str] = []
    read: dict[str, Any] = {
        "file": path.name,
        "form": columns.form.name,
        "columns": columns.names,
        "layout": columns.described,
        "time_unit": None,
        "rows": columns.rows,
        "dropped": {"where": columns.rows - len(rows)} if options.where else {},
    }
    if columns.form.note:
        read["note"] = columns.form.note
    kept = np.ones(len(rows), bool)
    for role in ("order", "rating"):
        if role in columns.names and (role == "order" or with_rating):
            table_columns[role] = _numbers(columns, role, rows)
    if "timestamp" in columns.names:
        try:
            parsed = _times(columns, rows, options, odd_times)
        except UserError as error:
            columns.bad.check()
            if path.name in str(error):
                raise
            raise UserError(f"{path}: {error}") from error
        kept = parsed.kept
        read["time_unit"] = parsed.unit
        if parsed.unit == times.STEPS:
            table_columns["order"] = _steps(parsed.seconds, table_columns.get("order"))
            odd_times.append(_is_steps(columns.names["timestamp"], parsed.seconds))
        else:
            table_columns["timestamp"] = parsed.seconds
            read["time_is"] = parsed.describe()
    is_bounded = not (math.isinf(options.time_from) and math.isinf(options.time_until))
    if is_bounded and "timestamp" not in table_columns:
        sentence = f"{path} has no times, which --time_from and --time_until read."
        raise UserError(" ".join([sentence, *odd_times]))
    columns.bad.check()
    table = pd.DataFrame(table_columns)[kept]
    if not kept.all():
        read["dropped"]["time_range"] = int((~kept).sum())
    if table.empty:
        raise UserError(f"{path}: --time_from and --time_until leave no row.")
    return Log(table, read, [*odd, *odd_times], odd_times)


def form_of(path: Path, options: LogOptions | None = None) -> Form:
    """What a log's columns mean, told by its first rows.

    Raises:
        UserError: if they do not tell, or the file cannot be read.
    """
    raw = raw_file.recognise(path)
    return _RECOGNISERS[raw.kind](raw, options or LogOptions())


def split_of(path: Path, options: LogOptions | None = None) -> str:
    """The split that a log allows, and which is said where there are no times.

    By time; or leave-one-out where the log has an order alone, or its column of times
    holds steps.

    Raises:
        UserError: if its columns are not told, or it cannot be read.
    """
    if "timestamp" in form_of(path, options).columns and not _has_steps(path, options):
        return "global_time"
    logging.info("%s has an order and no times: it is split leave_one_out.", path.name)
    return "leave_one_out"


def _has_steps(path: Path, options: LogOptions | None) -> bool:
    """Whether a log's column of times holds steps; one time in its first rows tells.

    Where all of these may be steps, the whole log is read.
    """
    options = options or LogOptions()
    if options.time_unit != "auto":
        return False
    raw = raw_file.recognise(path)
    if times.rule_out_steps(_FIRST_VALUES[raw.kind](raw, options, "timestamp")):
        return False
    return bool(load(path, options).read["time_unit"] == times.STEPS)


def _chosen(columns: Columns, options: LogOptions) -> np.ndarray:
    """Rows that the conditions of --where keep, by number."""
    mask = np.ones(columns.rows, bool)
    for name, wanted in options.where.items():
        values = columns.values[name].combine_chunks()
        known = values.dictionary.to_pylist()
        for value in wanted:
            if value not in known:
                shown = ", ".join(map(str, known[:10]))
                raise UserError(
                    f"--where={name}={value} keeps nothing: {columns.file} has no such "
                    f"value of `{name}`, which has {shown}"
                    f"{', ...' if len(known) > 10 else ''}."
                )
        codes = [known.index(value) for value in wanted]
        mask &= np.isin(values.indices.to_numpy(zero_copy_only=False), codes)
    if not mask.any():
        raise UserError(f"{columns.file}: no row meets all conditions of --where.")
    return np.flatnonzero(mask)


def _ids(
    columns: Columns, role: str, rows: np.ndarray, odd: list[str]
) -> pd.Categorical:
    """Ids as they are written, as categories [len(rows)]."""
    name = columns.names[role]
    values = columns.values[name].combine_chunks()
    known = values.dictionary.to_pandas()
    codes = values.indices.to_numpy(zero_copy_only=False)
    empty = np.flatnonzero(known.str.strip().eq("") | known.isna())
    if len(empty):
        missing = np.isin(codes[rows], empty)
        columns.note(rows[missing], f"`{name}` is missing")
    broken = np.flatnonzero(known.str.contains(_BREAKS))
    if len(broken):
        holding = np.isin(codes[rows], broken)
        columns.note(
            rows[holding], f"`{name}` holds a line end or a NUL, which no id can hold"
        )
    if len(rows) < columns.rows:
        codes = codes[rows]
        known_here = known.iloc[np.unique(codes)]
    else:
        known_here = known
    odd += odd_values.odd_ids(known_here, role)
    return pd.Categorical.from_codes(codes, categories=known)


def _numbers(columns: Columns, role: str, rows: np.ndarray) -> np.ndarray:
    name = columns.names[role]
    values = _taken(columns, name, rows)
    numbers, bad = times.numbers_of(values)
    columns.note(rows[bad], f"`{name}` is not a number", name)
    return numbers


def _times(
    columns: Columns, rows: np.ndarray, options: LogOptions, odd: list[str]
) -> times.Times:
    name = columns.names["timestamp"]
    values = _taken(columns, name, rows)

    def refuse(bad: np.ndarray, what: str) -> Any:
        columns.refuse(rows[bad], what, name)

    parsed = times.parse(
        values, options.time_unit, name, refuse, options.time_from, options.time_until
    )
    if parsed.unit != times.STEPS:
        odd += odd_values.odd_times(columns, rows, values, parsed)
    return parsed


def _taken(columns: Columns, name: str, rows: np.ndarray) -> pa.ChunkedArray:
    import pyarrow as pa

    values = columns.values[name]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values if len(rows) == columns.rows else values.take(rows)


def _steps(numbers: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Numbers that sort as the steps do, and as `order` where these are equal."""
    if order is None:
        return numbers
    ranks = np.empty(len(numbers), np.int64)
    both = np.lexsort((order, numbers))
    changes = (np.diff(numbers[both]) != 0) | (np.diff(order[both]) != 0)
    ranks[both] = np.concatenate([[0], np.cumsum(changes)])
    return ranks


def _is_steps(name: str, numbers: np.ndarray) -> str:
    return (
        f"`{name}` goes from {numbers.min():g} to {numbers.max():g}: in seconds all is "
        "on 1970-01-01, so these are steps and no times, of which the order alone is "
        "taken. If they are times, say the unit: --time_unit=s."
    )
