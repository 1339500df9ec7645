"""Text of rows and fields -> the columns of a log, by Arrow's reader."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from data import row_by_row
from data.columns import BadRows, Columns
from data.errors import UserError
from data.layout import Layout, describe, lay_out
from data.log_options import LogOptions
from data.raw_file import RawFile

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 24


def read(raw: RawFile, options: LogOptions) -> Columns:
    """Reads the columns that the form or the options name.

    Raises:
        UserError: naming file and row, for what cannot be read.
    """
    layout = lay_out(raw, options)
    scan = raw.scan()
    multi_line = 0
    if layout.quoted and scan.has_quotes:
        multi_line = row_by_row.check_quotes(raw, layout)
    elif layout.quoted:
        layout = dataclasses.replace(layout, quoted=False)
    bad = BadRows(str(raw.path))
    table, is_whole = _read_table(raw, layout, options)
    if not is_whole:
        row_by_row.note_widths(raw, layout, bad)
    columns = Columns(
        file=str(raw.path),
        names={role: name for role, name in layout.form.columns.items()},
        values={
            name: table.column(f"c{layout.names.index(name)}")
            for name in _wanted(layout, options)
        },
        rows=table.num_rows,
        form=layout.form,
        described=describe(layout),
        lines=lambda rows: row_by_row.lines_of(raw, layout, rows),
        bad=bad,
    )
    row_by_row.check_line_ends(raw, layout, scan, columns, multi_line)
    return columns


def _wanted(layout: Layout, options: LogOptions) -> list[str]:
    return list(dict.fromkeys([*layout.form.columns.values(), *options.where]))


def _read_table(
    raw: RawFile, layout: Layout, options: LogOptions
) -> tuple[pa.Table, bool]:
    """The wanted columns as strings; those of few values as dictionaries.

    Returns:
        The table; and whether every row has as many fields as the header.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    wanted = {name: f"c{layout.names.index(name)}" for name in _wanted(layout, options)}
    texts = pa.dictionary(pa.int32(), pa.string())
    columns = layout.form.columns
    coded = {columns["user"], columns["item"], *options.where}
    # A repeated separator is read as one with nothing between.
    repeats = len(layout.separator)
    names = [
        name
        for number in range(len(layout.names))
        for name in (f"c{number}", *(f"e{number}-{i}" for i in range(repeats - 1)))
    ][: len(layout.names) * repeats - (repeats - 1)]
    is_whole = True

    def invalid(row: Any) -> str:
        nonlocal is_whole
        is_whole = is_whole and not row.text.strip()
        return "skip"

    try:
        with _arrow_stream(raw) as stream:
            table = arrow_csv.read_csv(
                stream,
                read_options=arrow_csv.ReadOptions(
                    column_names=names,
                    skip_rows=_lines_before(raw, layout),
                    block_size=_BLOCK,
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=layout.separator[0],
                    quote_char='"' if layout.quoted else False,
                    newlines_in_values=layout.quoted,
                    invalid_row_handler=invalid,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={
                        wanted[name]: texts if name in coded else pa.string()
                        for name in wanted
                    },
                    include_columns=[*wanted.values()],
                    strings_can_be_null=False,
                ),
            ).unify_dictionaries()
            return table, is_whole
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            raise UserError(f"{raw.path} has no rows below its header.") from error
        raise UserError(row_by_row.what_is_wrong(raw, error)) from error


@contextlib.contextmanager
def _arrow_stream(raw: RawFile) -> Iterator[Any]:
    import pyarrow as pa

    if raw.packing == "zip":
        with raw.opened() as file:
            yield pa.PythonFile(file, mode="r")
    else:
        packing = "gzip" if raw.packing == "gz" else None
        with pa.input_stream(str(raw.path), compression=packing) as stream:
            yield stream


def _lines_before(raw: RawFile, layout: Layout) -> int:
    """Lines up to the header, it included."""
    if not layout.has_header:
        return 0
    with raw.lines() as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                return number
    return 0
