"""What a user says about a log, and how it is written on the command line."""

from __future__ import annotations

import dataclasses
import math

from data.errors import UserError
from data.times import TIME_UNITS

ROLES = ("user", "item", "timestamp", "rating", "order")


@dataclasses.dataclass(frozen=True)
class LogOptions:
    """What a user says about a log; by default nothing, and it is recognised.

    Attributes:
        columns: the column's name, or its number from 1 on without a header, of each
            role that is given.
        separator: between fields, one character or one repeated; None finds it out.
        no_header: the first row is an event.
        time_unit: a name of `data.times.TIME_UNITS`.
        where: column and values; only rows that have one of the values are events.
        time_from: seconds since the epoch; earlier events are dropped.
        time_until: seconds since the epoch; events from then on are dropped.
    """

    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    separator: str | None = None
    no_header: bool = False
    time_unit: str = "auto"
    where: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    time_from: float = -math.inf
    time_until: float = math.inf

    def __post_init__(self) -> None:
        if self.time_unit not in TIME_UNITS:
            raise UserError(
                f"--time_unit must be one of {', '.join(TIME_UNITS)}. "
                f"Received: {self.time_unit}"
            )
        if self.separator is not None and len({*self.separator}) != 1:
            raise UserError(
                "--separator takes one character, or one repeated, such as `;`, `::` "
                f"or tab. Received: {self.separator!r}"
            )
        if self.time_from >= self.time_until:
            raise UserError("--time_from must be earlier than --time_until.")


def parse_columns(text: str) -> dict[str, str]:
    """The columns of "user=user_id,item=parent_asin,timestamp=ts".

    Raises:
        UserError: if that is not their form.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        role, column = role.strip(), column.strip()
        if not equals or not column or role not in ROLES or role in columns:
            raise UserError(
                "--columns takes each of user, item, timestamp, rating and order at "
                "most once, as in --columns=user=user_id,item=asin,timestamp=ts. "
                f"Received: {part or text}"
            )
        columns[role] = column
    return columns


def parse_where(texts: list[str]) -> dict[str, tuple[str, ...]]:
    """The conditions of --where: several values of one column mean any of them.

    Raises:
        UserError: if one is not of the form column=value.
    """
    conditions: dict[str, tuple[str, ...]] = {}
    for text in texts:
        column, equals, value = text.partition("=")
        if not (column and equals):
            raise UserError(
                "--where takes column=value, as in --where=event=purchase. "
                f"Received: {text}"
            )
        conditions[column] = (*conditions.get(column, ()), value)
    return conditions


def parse_separator(text: str | None) -> str | None:
    """A separator as it is written on a command line, tab and space by name."""
    names = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}
    return text if text is None else names.get(text, text)
