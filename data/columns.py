"""The columns of a log as they were read, before anything is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from data.errors import UserError
from data.log_forms import Form

if TYPE_CHECKING:
    import pyarrow as pa


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
        line: the file's own line number, from 1 on, of a row, from 0 on.
    """

    file: str
    names: dict[str, str]
    values: dict[str, pa.ChunkedArray]
    rows: int
    form: Form
    described: str
    line: Callable[[int], int]

    def refuse(self, row: int, what: str, column: str = "") -> NoReturn:
        """Raises for a row: which, what is wrong, and what stands there.

        Raises:
            UserError: always.
        """
        text = f"{self.file}: row {self.line(row)}: {what}."
        if column:
            value = self.values[column][row].as_py()
            if value is not None and str(value).strip():
                shown = str(value)
                shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
                text += f" Received: {shown}"
        raise UserError(text)
