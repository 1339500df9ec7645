"""Reads a text file row by row: slow, and only to say what is wrong, and where."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from absl import logging

from data.columns import BadRows, Columns
from data.errors import UserError
from data.layout import Layout
from data.raw_file import RawFile, Scan, not_utf8, split_lines


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


def _whole_rows(raw: RawFile, layout: Layout) -> Iterator[tuple[int, int, list[str]]]:
    """Those that Arrow has made rows of: they have as many fields as the header."""
    width = len(layout.names)
    return (row for row in _rows(raw, layout) if len(row[2]) == width)


def lines_of(raw: RawFile, layout: Layout, rows: list[int]) -> list[int]:
    """The file's own numbers, from 1 on, of the lines where rows, from 0 on, begin."""
    wanted, found = {*rows}, {}
    for number, (line, _, _) in enumerate(_whole_rows(raw, layout)):
        if number in wanted:
            found[number] = line
            if len(found) == len(wanted):
                break
    return [found[row] for row in rows]


def note_widths(raw: RawFile, layout: Layout, bad: BadRows) -> None:
    """Notes the rows with more or fewer fields than the header."""
    width = len(layout.names)
    for line, _, fields in _rows(raw, layout):
        if len(fields) != width:
            bad.leave_out(
                line,
                f"has {len(fields)} fields, and row 1 has {width}; a field that holds "
                "the separator has to stand in quotes",
            )


def what_is_wrong(raw: RawFile, error: Exception) -> str:
    """What Arrow could not read, found by reading slowly."""
    with raw.opened() as file:
        for number, raw_line in enumerate(file, start=1):
            try:
                raw_line.decode()
            except UnicodeDecodeError:
                return not_utf8(raw.path, number)
    return f"{raw.path} is not a table: {str(error).strip()}."


def check_quotes(raw: RawFile, layout: Layout) -> int:
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
            inner = split_lines(text)[1:-1]
            if any(line.count(layout.separator) == len(fields) - 1 for line in inner):
                raise UserError(
                    f"{raw.path}: row {first} opens a quote that ends in row {last} "
                    f"only, and what it swallows looks like rows. Remove that quote."
                )
    return swallowed


def check_line_ends(
    raw: RawFile, layout: Layout, scan: Scan, columns: Columns, multi_line: int
) -> None:
    """Says what stands on several lines; refuses ids and times that do."""
    if not multi_line:
        return
    for first, last, fields in _whole_rows(raw, layout):
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
