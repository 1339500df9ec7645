"""Text of rows and fields -> the columns of a log, by Arrow's reader."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import logging

from data.columns import Columns
from data.errors import UserError
from data.log_forms import (
    Form,
    LogOptions,
    ask_for_columns,
    plain,
    recognise_header,
    recognise_rows,
)
from data.raw_file import LONGEST_LINE, RawFile, Scan, not_utf8

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 24
_SAMPLE = 200
# Which separators an ending makes likely, the likeliest first.
_SEPARATORS = {
    "csv": (",", ";", "\t", "|"),
    "tsv": ("\t",),
    "inter": ("\t",),
    "dat": ("::", "\t", ",", ";", "|"),
}
_ANY_SEPARATOR = ("\t", ",", ";", "|", "::", " ")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How rows are written.

    Attributes:
        separator: one character, or one repeated.
        names: of the columns; "1", "2", ... without a header.
        has_header: whether the first row that is not blank names the columns.
        quoted: whether quotes around a field are no part of it.
        form: what the columns mean.
    """

    separator: str
    names: list[str]
    has_header: bool
    quoted: bool
    form: Form


def read(raw: RawFile, options: LogOptions) -> Columns:
    """Reads the columns that the form or the options name.

    Raises:
        UserError: naming file and row, for what cannot be read.
    """
    layout = lay_out(raw, options)
    scan = raw.scan()
    multi_line = 0
    if layout.quoted and scan.has_quotes:
        multi_line = _check_quotes(raw, layout)
    elif layout.quoted:
        layout = dataclasses.replace(layout, quoted=False)
    table = _read_table(raw, layout, options)
    columns = Columns(
        file=str(raw.path),
        names={role: name for role, name in layout.form.columns.items()},
        values={
            name: table.column(f"c{layout.names.index(name)}")
            for name in _wanted(layout, options)
        },
        rows=table.num_rows,
        form=layout.form,
        described=_describe(layout),
        line=lambda row: _line_of(raw, layout, row),
    )
    _check_line_ends(raw, layout, scan, columns, multi_line)
    return columns


def recognise(raw: RawFile, options: LogOptions) -> Form:
    """The form by the first rows.

    Raises:
        UserError: if they do not tell, and the options do not either.
    """
    return lay_out(raw, options).form


def lay_out(raw: RawFile, options: LogOptions) -> Layout:
    """Tells separator, header and columns by the first rows.

    Raises:
        UserError: if they do not tell, and the options do not either.
    """
    lines = raw.first_lines(_SAMPLE)
    separator = options.separator or _find_separator(lines, raw.suffix)
    quoted = len(separator) == 1 and not _quotes_are_letters(lines, separator)
    try:
        rows = [_fields(line, separator, quoted) for line in lines[:-1] or lines]
    except csv.Error as error:
        raise UserError(f"{raw.path}: row 1 cannot be read: {error}.") from error
    header = [plain(name.strip()) for name in rows[0]]
    if len(header) == 1:
        raise UserError(
            f"{raw.path}: row 1 has one field: {header[0][:80]}. Say what stands "
            "between fields: --separator=..."
        )
    numbers = [str(number) for number in range(1, len(header) + 1)]
    form = None if options.columns else recognise_rows(rows, separator)
    if form is None and not options.no_header:
        form = recognise_header(header, options, f"{raw.path}: row 1")
        if form is not None:
            return Layout(separator, header, True, quoted, form)
    elif form is None:
        form = recognise_header(numbers, options, f"{raw.path}: row 1")
    if form is None:
        raise ask_for_columns(header, f"{raw.path}: row 1", options)
    unknown = [name for name in options.where if name not in numbers]
    if unknown:
        raise UserError(
            f"{raw.path} has no header: --where takes a column's number, 1 to "
            f"{len(numbers)}, as in --where=4=buy. Received: {unknown[0]}"
        )
    # Logs without a header are dumps of databases, which quote nothing.
    quoted = quoted and separator not in ("\t", "::")
    return Layout(separator, numbers, False, quoted, form)


def _find_separator(lines: list[str], suffix: str) -> str:
    candidates = _SEPARATORS.get(suffix, _ANY_SEPARATOR)
    several = []
    for separator in candidates:
        try:
            widths = {
                len(_fields(line, separator, len(separator) == 1))
                for line in lines[:20]
            }
        except csv.Error:
            continue
        if min(widths) > 1 and len(widths) == 1:
            return separator
        if len(lines[0].split(separator)) > 1:
            several.append(separator)
    return (several or [*candidates])[0]


def _quotes_are_letters(lines: list[str], separator: str) -> bool:
    """Whether quotes belong to the fields: tabbed text that is not quoted properly."""
    if separator != "\t":
        return False
    try:
        for _ in csv.reader(lines, delimiter=separator, strict=True):
            pass
    except csv.Error:
        return True
    return False


def _fields(line: str, separator: str, quoted: bool) -> list[str]:
    if not quoted or '"' not in line:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator))


def _wanted(layout: Layout, options: LogOptions) -> list[str]:
    return list(dict.fromkeys([*layout.form.columns.values(), *options.where]))


def _read_table(raw: RawFile, layout: Layout, options: LogOptions) -> pa.Table:
    """The wanted columns as strings; those of few values as dictionaries."""
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
    bad: list[str] = []

    def invalid(row: Any) -> str:
        if not row.text.strip():
            return "skip"
        bad.append(row.text)
        return "error"

    try:
        with _arrow_stream(raw) as stream:
            return arrow_csv.read_csv(
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
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            raise UserError(f"{raw.path} has no rows below its header.") from error
        raise UserError(_what_is_wrong(raw, layout, error)) from error


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


def _records(raw: RawFile, layout: Layout) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and fields of each row below the header; slow.

    Raises:
        UserError: naming the row where a quote does not end as it should.
    """
    start = 0
    with raw.lines() as lines:
        if not layout.quoted:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, number, line.rstrip("\r\n").split(layout.separator)
            return
        reader = csv.reader(lines, delimiter=layout.separator, strict=True)
        try:
            for fields in reader:
                if any(field.strip() for field in fields) or len(fields) > 1:
                    yield start + 1, reader.line_num, fields
                start = reader.line_num
        except csv.Error as error:
            raise UserError(
                f"{raw.path}: row {start + 1} opens a quote that does not end as it "
                f"should, up to row {reader.line_num} ({error}). Double a quote that "
                "belongs to a field and quote that field, or remove the quote."
            ) from error


def _rows(raw: RawFile, layout: Layout) -> Iterator[tuple[int, int, list[str]]]:
    records = _records(raw, layout)
    if layout.has_header:
        next(records, None)
    return records


def _line_of(raw: RawFile, layout: Layout, row: int) -> int:
    """The file's own number of the line on which a row stands, both from 0 / 1."""
    for number, (line, _, _) in enumerate(_rows(raw, layout)):
        if number == row:
            return line
    raise IndexError(row)


def _what_is_wrong(raw: RawFile, layout: Layout, error: Exception) -> str:
    """The row that Arrow could not read, found by reading slowly."""
    width = len(layout.names)
    for line, _, fields in _rows(raw, layout):
        if len(fields) != width:
            return (
                f"{raw.path}: row {line} has {len(fields)} fields, and row 1 has "
                f"{width}. Mend that row; a field that holds the separator has to "
                "stand in quotes."
            )
    with raw.opened() as file:
        for number, raw_line in enumerate(file, start=1):
            try:
                raw_line.decode()
            except UnicodeDecodeError:
                return not_utf8(raw.path, number)
    return f"{raw.path} is not a table: {str(error).strip()}."


def _check_quotes(raw: RawFile, layout: Layout) -> int:
    """Counts the lines that continue a quoted field of the line before.

    Raises:
        UserError: if a quote is not closed as it should be, or closed so late that it
            swallows what look like rows.
    """
    swallowed = 0
    for first, last, fields in _rows(raw, layout):
        swallowed += last - first
        if last == first:
            continue
        for text in fields:
            inner = text.splitlines()[1:-1]
            if any(line.count(layout.separator) == len(fields) - 1 for line in inner):
                raise UserError(
                    f"{raw.path}: row {first} opens a quote that ends in row {last} "
                    f"only, and what it swallows looks like rows. Remove that quote."
                )
    return swallowed


def _check_line_ends(
    raw: RawFile, layout: Layout, scan: Scan, columns: Columns, multi_line: int
) -> None:
    """Says what stands on several lines; refuses ids and times that do."""
    if not multi_line:
        return
    for first, last, fields in _rows(raw, layout):
        if last > first:
            for name in columns.values:
                text = fields[layout.names.index(name)]
                if "\n" in text or "\r" in text:
                    raise UserError(
                        f"{raw.path}: row {first}: `{name}` goes on over the end of "
                        "the line, within quotes. Remove a quote that is too many, or "
                        "the line end."
                    )
    logging.warning(
        "%s: %d of %d lines continue a quoted field of the line before.",
        raw.path,
        multi_line,
        scan.lines,
    )


def _describe(layout: Layout) -> str:
    separators = {"\t": "tabs", " ": "spaces", ",": "commas", ";": "semicolons"}
    between = separators.get(layout.separator, f"`{layout.separator}`")
    return f"{between}, {'a header' if layout.has_header else 'no header'}"


# Python's own reader refuses longer fields; ours are as long as a line may be.
csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
