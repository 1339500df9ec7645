"""How a text file of rows and fields is written: told by its first rows."""

from __future__ import annotations

import csv
import dataclasses

from data.errors import UserError
from data.log_forms import (
    Form,
    ask_for_columns,
    plain,
    recognise_header,
    recognise_rows,
)
from data.log_options import LogOptions
from data.raw_file import LONGEST_LINE, RawFile

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


def recognise(raw: RawFile, options: LogOptions) -> Form:
    """The form by the first rows.

    Raises:
        UserError: if they do not tell, and the options do not either.
    """
    return lay_out(raw, options).form


def first_values(raw: RawFile, options: LogOptions, role: str) -> list[str]:
    """What the first rows have in a role's column.

    Raises:
        UserError: as `recognise`.
    """
    layout = lay_out(raw, options)
    at = layout.names.index(layout.form.columns[role])
    lines = raw.first_lines(_SAMPLE)[int(layout.has_header) : -1]
    rows = [_fields(line, layout.separator, layout.quoted) for line in lines]
    return [row[at] for row in rows if at < len(row)]


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


def describe(layout: Layout) -> str:
    separators = {"\t": "tabs", " ": "spaces", ",": "commas", ";": "semicolons"}
    between = separators.get(layout.separator, f"`{layout.separator}`")
    return f"{between}, {'a header' if layout.has_header else 'no header'}"


# Python's own reader refuses longer fields; ours are as long as a line may be.
csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
