"""JSON lines -> the columns of a log, numbers as they are written."""

from __future__ import annotations

import ast
import itertools
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from data.columns import BadRows, Columns
from data.errors import UserError
from data.log_forms import Form, ask_for_columns, recognise_header
from data.log_options import LogOptions
from data.raw_file import RawFile, not_utf8

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 1 << 17
_SAMPLE = 100
# Numbers are kept as text: an id 007 or 1e400 stays what it is. NaN and Infinity are
# no JSON, but what Python writes for numbers that are missing: they stay numbers.
_AS_WRITTEN: dict[str, Any] = {
    "parse_int": str,
    "parse_float": str,
    "parse_constant": float,
}


def read(raw: RawFile, options: LogOptions) -> Columns:
    """Reads one object a line: JSON, or Python's own form (as Steam's reviews).

    Raises:
        UserError: naming file and row, for what cannot be read.
    """
    form = recognise(raw, options)
    names = list(dict.fromkeys([*form.columns.values(), *options.where]))
    optional = {form.columns.get("rating")}
    chunks: dict[str, list[pa.Array]] = {name: [] for name in names}
    lists: dict[str, list[str | None]] = {name: [] for name in names}
    lines: list[int] = []
    bad = BadRows(str(raw.path))
    for number, row in _objects(raw, bad):
        try:
            texts = [_text(row, name, name in optional) for name in names]
        except _BadLineError as error:
            bad.leave_out(number, str(error))
            continue
        for name, text in zip(names, texts):
            lists[name].append(text)
        lines.append(number)
        if len(lines) % _CHUNK == 0:
            _flush(raw, lines, lists, chunks)
    _flush(raw, lines, lists, chunks)
    return Columns(
        file=str(raw.path),
        names=dict(form.columns),
        values=_unified(chunks),
        rows=len(lines),
        form=form,
        described="an object a line",
        lines=lambda rows: [lines[row] for row in rows],
        bad=bad,
    )


def recognise(raw: RawFile, options: LogOptions) -> Form:
    """The form by the names in the first rows.

    Raises:
        UserError: if they do not tell.
    """
    names: dict[str, None] = {}
    bad = BadRows(str(raw.path))
    for count, (_, row) in enumerate(_objects(raw, bad), start=1):
        names.update(dict.fromkeys(row))
        if count == _SAMPLE:
            break
    if not names:
        bad.check()
        raise UserError(f"{raw.path} has no rows.")
    form = recognise_header([*names], options, f"{raw.path}: row 1")
    if form is None:
        raise ask_for_columns([*names], f"{raw.path}: row 1", options)
    return form


def first_values(raw: RawFile, options: LogOptions, role: str) -> list[str]:
    """What the first rows have under a role's name.

    Raises:
        UserError: as `recognise`.
    """
    name = recognise(raw, options).columns[role]
    rows = itertools.islice(_objects(raw, BadRows(str(raw.path))), _SAMPLE)
    return [str(row[name]) for _, row in rows if name in row]


class _BadLineError(Exception):
    """What is wrong with a line, as it follows "row 5"."""


def _objects(raw: RawFile, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line that is not blank; notes what is none."""
    with raw.opened() as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise UserError(not_utf8(raw.path, number)) from error
            if not text:
                continue
            try:
                row = _object(text)
            except _BadLineError as error:
                if number == 1 and text.startswith("[") and "not JSON" in str(error):
                    raise UserError(
                        f"{raw.path}: row 1 is an array; {_FORM}."
                    ) from error
                bad.leave_out(number, str(error))
                continue
            yield number, row


_FORM = 'a log has one object a line, as {"user": ..., "item": ..., "timestamp": ...}'


def _object(text: str) -> dict[str, Any]:
    try:
        if text.startswith(("{'", "{u'")):
            row = ast.literal_eval(text)
        else:
            row = json.loads(text, object_pairs_hook=_unique, **_AS_WRITTEN)
    except _RepeatedError as error:
        raise _BadLineError(f"has {error} twice") from error
    except (RecursionError, MemoryError) as error:
        raise _BadLineError("is nested too deeply") from error
    except (ValueError, SyntaxError) as error:
        raise _BadLineError(f"is not JSON; {_FORM}") from error
    if not isinstance(row, dict):
        kind = {list: "a list", str: "a text or a number", type(None): "null"}
        raise _BadLineError(
            f"is {kind.get(type(row), 'a single value')}, not an object; {_FORM}"
        )
    return row


class _RepeatedError(Exception):
    """A key that stands twice in an object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedError(f"`{next(k for k in keys if keys.count(k) > 1)}`")
    return row


def _text(row: dict[str, Any], name: str, optional: bool) -> str | None:
    value = row.get(name)
    if isinstance(value, str):
        return value
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if optional and (value is None or not is_finite):
        return None
    if value is None:
        problem = "is null" if name in row else "is missing"
    elif isinstance(value, bool):
        problem = "is true or false, not a text or a number"
    elif not is_finite:
        problem = "is NaN or infinite, which counts as missing"
    elif isinstance(value, (int, float)):  # Of Python's own form.
        return str(value)
    else:
        problem = "is a list or an object, not a text or a number"
    raise _BadLineError(f"`{name}` {problem}")


def _flush(
    raw: RawFile,
    lines: list[int],
    lists: dict[str, list[str | None]],
    chunks: dict[str, list[pa.Array]],
) -> None:
    import pyarrow as pa

    for name, values in lists.items():
        try:
            chunks[name].append(pa.array(values, pa.string()).dictionary_encode())
        except UnicodeEncodeError as error:  # Half of a pair of surrogates.
            line = lines[values.index(error.object) - len(values)]
            raise UserError(
                f"{raw.path}: row {line}: `{name}` is not text: {error.object[:60]!r}."
            ) from error
        values.clear()


def _unified(chunks: dict[str, list[pa.Array]]) -> dict[str, pa.ChunkedArray]:
    import pyarrow as pa

    table = pa.table({name: pa.chunked_array(parts) for name, parts in chunks.items()})
    return dict(zip(table.column_names, table.unify_dictionaries().columns))
