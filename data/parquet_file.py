"""Parquet -> the columns of a log."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from data.columns import BadRows, Columns
from data.errors import UserError
from data.log_forms import Form, ask_for_columns, recognise_header
from data.log_options import LogOptions
from data.raw_file import RawFile

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE = 200


def read(raw: RawFile, options: LogOptions) -> Columns:
    """Reads the columns that are needed; rows count from 1 on.

    Raises:
        UserError: naming file and row, for what cannot be read.
    """
    import pyarrow as pa

    file, form = _opened(raw, options)
    needed = list(dict.fromkeys([*form.columns.values(), *options.where]))
    try:
        table = file.read(columns=needed)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(raw, error) from error
    if not table.num_rows:
        raise UserError(f"{raw.path} has no rows.")
    ids = {form.columns["user"], form.columns["item"], *options.where}
    columns = Columns(
        file=str(raw.path),
        names=dict(form.columns),
        values=dict(zip(table.column_names, table.columns)),
        rows=table.num_rows,
        form=form,
        described="Parquet",
        lines=lambda rows: [row + 1 for row in rows],
        bad=BadRows(str(raw.path)),
    )
    for name in needed:
        kind = table.column(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or (name in ids and pa.types.is_boolean(kind)):
            raise UserError(
                f"{raw.path}: the column `{name}` holds {kind}, not texts or numbers."
            )
        columns.values[name] = (
            _texts(columns, name) if name in ids else _numbers(table.column(name))
        )
    return columns


def recognise(raw: RawFile, options: LogOptions) -> Form:
    """The form by the names of the columns.

    Raises:
        UserError: if they do not tell.
    """
    return _opened(raw, options)[1]


def first_values(raw: RawFile, options: LogOptions, role: str) -> list[str]:
    """What the first rows have in a role's column, as text.

    Raises:
        UserError: as `recognise`, or if the file is damaged.
    """
    import pyarrow as pa

    file, form = _opened(raw, options)
    name = form.columns[role]
    try:
        batches = [*itertools.islice(file.iter_batches(_SAMPLE, columns=[name]), 1)]
    except (pa.ArrowException, OSError) as error:
        raise _damaged(raw, error) from error
    values = [value for batch in batches for value in batch.columns]
    # A time that is out of Python's range is text of no date, and tells nothing.
    texts = [v.cast(pa.string()) if pa.types.is_temporal(v.type) else v for v in values]
    return [str(text) for column in texts for text in column.to_pylist()]


def _opened(raw: RawFile, options: LogOptions) -> tuple[Any, Form]:
    import pyarrow as pa
    from pyarrow import parquet

    source: Any = pa.BufferReader(raw.read_all()) if raw.packing else str(raw.path)
    try:
        file = parquet.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(raw, error) from error
    names = list(file.schema_arrow.names)
    form = recognise_header(names, options, str(raw.path))
    if form is None:
        raise ask_for_columns(names, str(raw.path), options)
    return file, form


def _damaged(raw: RawFile, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else "it ends too early"
    return UserError(f"{raw.path} is not a whole Parquet file: {reason}.")


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_large_string(values.type):
        return values.cast(pa.string())
    return values


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    values = _plain(values)
    return values.cast(pa.float64()) if pa.types.is_decimal(values.type) else values


def _texts(columns: Columns, name: str) -> pa.ChunkedArray:
    """Ids as text; whole numbers of floats and decimals have no point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _plain(columns.values[name])
    missing = f"`{name}` is missing"
    if values.null_count:
        columns.note(np.flatnonzero(values.is_null().to_numpy()), missing)
    if pa.types.is_decimal(values.type):
        values = _decimals(values)
    elif pa.types.is_floating(values.type):
        if pa.types.is_float16(values.type):  # Arrow has no floor of these.
            values = values.cast(pa.float32())
        bad = ~np.isfinite(values.fill_null(0.0).to_numpy())
        if bad.any():
            columns.note(np.flatnonzero(bad), f"{missing} or infinite")
            values = pc.if_else(pa.chunked_array([pa.array(bad)]), None, values)
        whole = pc.all(pc.equal(pc.floor(values), values)).as_py()
        # Where all are missing, there is no largest one.
        if (
            whole
            and values.null_count < len(values)
            and abs(pc.max(pc.abs(values)).as_py()) < 2**53
        ):
            values = values.cast(pa.int64())
    try:
        texts = values.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{columns.file}: the column `{name}` is not text: {error}."
        ) from error
    texts = texts.fill_null("")  # As in text; the rows are noted.
    table = pa.table({name: texts.dictionary_encode()})
    return table.unify_dictionaries().column(0)


def _decimals(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals as text: all digits, but no zeros at the end of a fraction."""
    import pyarrow as pa

    coded = values.combine_chunks().dictionary_encode()
    known = [f"{number:f}" for number in coded.dictionary.to_pylist()]
    texts = [text.rstrip("0").rstrip(".") if "." in text else text for text in known]
    return pa.chunked_array([pa.array(texts, pa.string()).take(coded.indices)])
