"""The columns of a log as they were read, before anything is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from data.errors import UserError
from data.log_forms import Form

if TYPE_CHECKING:
    import pyarrow as pa


# Bad rows that an error shows, and characters of what stands in one.
_SHOWN, _LONGEST = 10, 60


class BadRows:
    """Rows of a log that cannot be taken: gathered, so that all are mended at once.

    Args:
        file: the path of the log.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._left_out = 0
        self._rows = np.zeros(0, np.int64)
        # By what is wrong: the file's line numbers, and what stands there.
        self._problems: dict[str, dict[int, str]] = {}

    def leave_out(self, line: int, what: str) -> None:
        """Notes a line of which no row was made; `what` follows "row 5"."""
        self._left_out += 1
        if self._left_out <= _SHOWN:
            self._problems.setdefault(what, {})[line] = ""

    def add(self, rows: np.ndarray, shown: dict[int, str], what: str) -> None:
        """Notes rows of the columns, by number; `shown` has the first ones' lines."""
        self._rows = np.union1d(self._rows, rows)
        self._problems.setdefault(what, {}).update(shown)

    def check(self) -> None:
        """Raises if there are bad rows.

        Raises:
            UserError: listing the first ten, and how many there are.
        """
        count = self._left_out + len(self._rows)
        if not count:
            return
        every = {line for lines in self._problems.values() for line in lines}
        first = sorted(every)[:_SHOWN]
        texts = [
            _sentence(what, {line: lines[line] for line in first if line in lines})
            for what, lines in self._problems.items()
            if not lines.keys().isdisjoint(first)
        ]
        if count > len(first):
            lead = f" {count:,} bad rows, the first {len(first)} are:"
        else:
            lead = f" {count} bad rows:" if len(texts) > 1 and count > 1 else ""
        if not any(" --" in text for text in texts):  # Else a flag is named that helps.
            whose = "this row" if count == 1 else "these rows"
            texts.append(f"Correct or delete {whose}.")
        raise UserError(f"{self._file}:{lead} {' '.join(texts)}")


def _text(value: pa.Scalar) -> str:
    """A value as it is shown; empty where it is missing."""
    try:
        known = value.as_py()
    except (OverflowError, ValueError):  # A date that Python does not know.
        known = value.value
    return "" if known is None else str(known).strip()


def _sentence(what: str, lines: dict[int, str]) -> str:
    numbers = ", ".join(map(str, sorted(lines)))
    if what.startswith("`"):
        text = f"row{'s' if len(lines) > 1 else ''} {numbers}: {what}."
    else:
        text = f"{'each of rows' if len(lines) > 1 else 'row'} {numbers} {what}."
    longest = _LONGEST if len(lines) == 1 else _LONGEST // 3
    values = [
        value if len(value) <= longest else f"{value[:longest]}..."
        for _, value in sorted(lines.items())
        if value
    ]
    return f"{text} Received: {', '.join(values)}." if values else text


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the readers of all formats give.

    Attributes:
        file: its path.
        names: the column of each role.
        values: by name of the column: strings (maybe as dictionaries) as written, or
            what Parquet holds, [rows].
        rows: how many.
        form: what the columns mean.
        described: format, separator and header, for people.
        lines: the file's own line numbers, from 1 on, of rows, from 0 on.
        bad: the rows that cannot be taken, as far as they are known.
    """

    file: str
    names: dict[str, str]
    values: dict[str, pa.ChunkedArray]
    rows: int
    form: Form
    described: str
    lines: Callable[[list[int]], list[int]]
    bad: BadRows

    def note(self, rows: np.ndarray, what: str, column: str = "") -> None:
        """Notes rows that cannot be taken; the log is refused when all are known.

        Args:
            rows: their numbers, from 0 on, int [n].
            what: what is wrong with them.
            column: whose values are shown; a row without one is said to miss it.
        """
        first = [int(row) for row in rows[:_SHOWN]]
        if not first:
            return
        shown: dict[str, dict[int, str]] = {what: {}}
        for row, line in zip(first, self.lines(first)):
            text = _text(self.values[column][row]) if column else ""
            missing = column and not text
            whose = f"`{column}` is missing" if missing else what
            shown.setdefault(whose, {})[line] = text
        for problem, lines in shown.items():
            if lines:
                self.bad.add(rows, lines, problem)

    def refuse(self, rows: np.ndarray, what: str, column: str = "") -> NoReturn:
        """Notes rows without which nothing can be made of the others.

        Raises:
            UserError: always, with all that was noted.
        """
        self.note(rows, what, column)
        self.bad.check()
        raise AssertionError("there are no bad rows")
