"""Flags that say how a log is read, of every command that reads one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from data.log_options import LogOptions

_COLUMNS = flags.DEFINE_string(
    "columns",
    None,
    "Which column is what: user=...,item=...,timestamp=...[,rating=...][,order=...]; "
    "by number from 1 on with --no_header. Default: told by the names.",
)
_SEPARATOR = flags.DEFINE_string(
    "separator",
    None,
    "What stands between fields: one character, or one repeated as in ::, or tab, "
    "space. Default: told by the first rows.",
)
_NO_HEADER = flags.DEFINE_bool("no_header", False, "The first row is an event.")
_TIME_UNIT = flags.DEFINE_enum(
    "time_unit",
    "auto",
    ["auto", "s", "ms", "us", "ns", "iso"],
    "Of the times: seconds, milli-, micro- or nanoseconds since the epoch, or dates "
    "in ISO 8601. auto is told by their size.",
)
_WHERE = flags.DEFINE_multi_string(
    "where",
    [],
    "Take only rows where a column has a value, as in --where=event=purchase; "
    "repeatable: several values of a column mean any, several columns mean all.",
)
_TIME_FROM = flags.DEFINE_string(
    "time_from", None, "Take only events from this date or time (UTC) on."
)
_TIME_UNTIL = flags.DEFINE_string(
    "time_until", None, "Take only events before this date or time (UTC)."
)
_ALL = (
    *(_COLUMNS, _SEPARATOR, _NO_HEADER, _TIME_UNIT, _WHERE),
    *(_TIME_FROM, _TIME_UNTIL),
)


def options() -> LogOptions:
    """What the flags say about a log.

    Raises:
        UserError: for a value that is none.
    """
    from data import times
    from data.log_options import (
        LogOptions,
        parse_columns,
        parse_separator,
        parse_where,
    )

    since, until = _TIME_FROM.value, _TIME_UNTIL.value
    return LogOptions(
        columns=parse_columns(_COLUMNS.value) if _COLUMNS.value else {},
        separator=parse_separator(_SEPARATOR.value),
        no_header=_NO_HEADER.value,
        time_unit=_TIME_UNIT.value,
        where=parse_where(_WHERE.value),
        time_from=times.parse_date(since, "time_from") if since else -math.inf,
        time_until=times.parse_date(until, "time_until") if until else math.inf,
    )


def given() -> list[str]:
    """Those of the flags that were given, as one types them."""
    return typed(_ALL)


def typed(holders: Iterable[flags.FlagHolder[Any]]) -> list[str]:
    """Those of some flags that were given, as one types them."""
    texts = []
    for holder in holders:
        if holder.present:
            values = holder.value if isinstance(holder.value, list) else [holder.value]
            texts += [
                f"--{holder.name}" if value is True else f"--{holder.name}={value}"
                for value in values
            ]
    return texts
