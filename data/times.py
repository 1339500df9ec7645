"""Times as logs write them -> seconds since the epoch."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from data.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TIME_UNITS = ("auto", *UNITS, "iso")
_NAMES = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "iso": "ISO 8601",
}
DAY = 86_400
# Numbers are taken for a unit where they lie in these years; no log is older or newer.
_EARLIEST = 315_532_800  # 1980
LATEST = 4_102_444_800  # 2100
# What was written down earlier, no log has: such a number is damaged.
_FIRST = -2_208_988_800  # 1900

_NO_DATE = "no time in ISO 8601, such as 2018-03-18 08:50:01, of the years 1678 to 2261"
_NO_TIME = "no time: neither a number nor a date in ISO 8601"

Refuse = Callable[[np.ndarray, str], NoReturn]


STEPS = "steps"
# First values that tell whether a column holds dates: one of them may be damaged.
_SAMPLE = 100


@dataclasses.dataclass(frozen=True)
class Times:
    """Times of a log.

    Attributes:
        seconds: int64 or float64 [n], since the epoch, UTC; or steps.
        kept: bool [n], which lie in the wanted range.
        unit: a name of `UNITS`, "iso", or `STEPS` for small numbers of which the
            order alone is known.
        guessed: whether the size of the numbers told the unit.
    """

    seconds: np.ndarray
    kept: np.ndarray
    unit: str
    guessed: bool

    def describe(self) -> str:
        name = _NAMES[self.unit]
        return f"{name}, told by their size" if self.guessed else name


def parse(
    values: pa.ChunkedArray,
    unit: str,
    column: str,
    refuse: Refuse,
    earliest: float = -math.inf,
    end: float = math.inf,
) -> Times:
    """Reads a column of times.

    Args:
        values: strings, numbers or Arrow's own times [n].
        unit: a name of `TIME_UNITS`; "auto" lets the middle of the numbers tell.
        column: its name in the file.
        refuse: raises for rows, given their indices [n] and what is wrong with them.
        earliest: seconds since the epoch; what is earlier is not kept.
        end: seconds; what is not earlier is not kept.

    Raises:
        UserError: if one is no time or lies before 1900 or after 2100, if no unit
            fits, or if two units are mixed.
    """
    numbers, is_date = _read(values, unit, column, refuse)
    if is_date:
        chosen, factor = "iso", 1
    elif unit == "auto" and is_first_day(numbers):
        return Times(numbers, np.ones(len(numbers), bool), STEPS, guessed=True)
    else:
        chosen = _unit(numbers, column) if unit in ("auto", "iso") else unit
        factor = UNITS[chosen]
    seconds = numbers if factor == 1 else numbers / factor
    kept = (seconds >= earliest) & (seconds < end)
    late = kept & (seconds >= LATEST)
    if late.any():
        _refuse_late(numbers, late, unit, chosen, column, refuse)
    early = kept & (seconds < _FIRST)
    if early.any():
        refuse(
            np.flatnonzero(early),
            f"`{column}` lies before the year 1900 as {_NAMES[chosen]}, and "
            f"{early.sum():,} of {len(early):,} rows do. Mend it, or drop such rows "
            "with --time_from=DATE",
        )
    if factor != 1:
        mixed = kept & (numbers >= _EARLIEST) & (numbers < LATEST)
        if mixed.any():
            refuse(
                np.flatnonzero(mixed),
                f"`{column}` looks like seconds, as in {mixed.sum():,} of "
                f"{len(mixed):,} rows, but is read as {_NAMES[chosen]}. Write all in "
                "one unit, or say another one by --time_unit",
            )
    return Times(seconds, kept, chosen, guessed=unit == "auto" and not is_date)


def _read(
    values: pa.ChunkedArray, unit: str, column: str, refuse: Refuse
) -> tuple[np.ndarray, bool]:
    """Numbers, or seconds of dates; and whether they are the latter."""
    import pyarrow as pa

    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        if values.null_count:
            refuse(_where(values.is_null()), f"`{column}` is missing")
        return _arrow_times(values), True
    if unit == "iso":
        return _dates(values, column, refuse), True
    numbers, bad = numbers_of(values)
    if not len(bad):
        return numbers, False
    first = [_is_date(value) for value in values[:_SAMPLE].to_pylist()]
    if unit == "auto" and 2 * sum(first) >= len(first):
        return _dates(values, column, refuse), True
    refuse(bad, f"`{column}` is {_NO_TIME}")


def is_first_day(numbers: np.ndarray) -> bool:
    """Whether all numbers would be seconds of 1970-01-01: steps, not times."""
    return bool(((numbers >= 0) & (numbers < DAY)).all())


def rule_out_steps(values: list[str]) -> bool:
    """Whether one of a column's first values is a time, so that it holds no steps."""
    return any(_is_date(value) or _is_late(value) for value in values)


def _is_late(value: str) -> bool:
    """Whether a value is a number, and none of a second of 1970-01-01."""
    try:
        return not 0 <= float(value) < DAY
    except ValueError:
        return False


def numbers_of(values: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A column's numbers, int64 where all are whole, and the rows without one.

    Shapes:
        values [n] strings or numbers -> int64 or float64 [n], int64 [m]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    none, bad = np.zeros(0, np.int64), None
    kind = values.type
    if not pa.types.is_string(kind):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return np.zeros(len(values)), np.arange(len(values))
        if values.null_count:
            # Not safe: a whole number that a float cannot hold would raise.
            values = values.cast(pa.float64(), safe=False)
        numbers = values.to_numpy()  # NaN for null.
    else:
        # Arrow would take 0x10 for 16, and skip blanks.
        odd = pc.match_substring_regex(values, "[^0-9.eE+-]|^$")
        if values.null_count or pc.any(odd).as_py():
            bad = np.asarray(odd.fill_null(True))
            numbers = _floats(values)
        else:
            try:
                return values.cast(pa.int64()).to_numpy(), none
            except pa.ArrowInvalid:
                numbers = _floats(values)
    if numbers.dtype.kind != "f":
        return numbers, none
    infinite = ~np.isfinite(numbers)
    return numbers, np.flatnonzero(infinite if bad is None else infinite | bad)


def date(seconds: float) -> str:
    """A time as text, UTC; far ones by their year alone."""
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(
            seconds=float(seconds)
        )
    except OverflowError:
        return f"about the year {1970 + seconds / 31_556_952:.0f}"
    text = moment.isoformat(sep=" ", timespec="seconds")
    return text.removesuffix(" 00:00:00")


def parse_date(text: str, flag: str) -> float:
    """Seconds of a date or time on the command line, UTC unless it says otherwise.

    Raises:
        UserError: if it is none.
    """
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise UserError(
            f"--{flag} takes a date such as 2017-11-25 or 2017-11-25T12:00. "
            f"Received: {text}"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()


def _floats(values: pa.ChunkedArray) -> np.ndarray:
    """Numbers of strings; NaN for what is none."""
    import pandas as pd

    return pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(np.float64)


def _arrow_times(values: pa.ChunkedArray) -> np.ndarray:
    import pyarrow as pa

    unit = getattr(values.type, "unit", "s")
    if not pa.types.is_timestamp(values.type):  # Dates.
        values = values.cast(pa.timestamp("s"))
        unit = "s"
    numbers = values.cast(pa.int64()).to_numpy()
    return numbers if unit == "s" else numbers / UNITS[unit]


def _is_date(text: Any) -> bool:
    return isinstance(text, str) and bool(re.match(r"\d{4}-\d\d", text))


def _dates(values: pa.ChunkedArray, column: str, refuse: Refuse) -> np.ndarray:
    import pandas as pd
    import pyarrow as pa

    texts = values.cast(pa.string()).to_pandas()
    dates = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    # pandas would take "now" and "today" for times, too.
    bad = (dates.isna() | ~texts.str.match(r"\s*\d", na=False)).to_numpy()
    if bad.any():
        refuse(np.flatnonzero(bad), f"`{column}` is {_NO_DATE}")
    counts = dates.astype("int64").to_numpy()
    factor = UNITS[dates.dt.unit]  # Nanoseconds in pandas 2, else microseconds.
    whole = counts // factor
    if (whole * factor == counts).all():
        return whole
    return counts / factor


def _unit(numbers: np.ndarray, column: str) -> str:
    middle = float(np.median(numbers))
    for unit, factor in UNITS.items():
        if _EARLIEST * factor <= middle < LATEST * factor:
            return unit
    if 19_800_101 <= middle <= 20_991_231 and 101 <= middle % 10_000 <= 1_231:
        hint = "They look like dates (YYYYMMDD): --time_unit=iso."
    else:
        hint = (
            f"Say the unit: --time_unit=s, ms, us or ns. In seconds their middle is "
            f"{date(middle)}."
        )
    raise UserError(
        f"`{column}` holds numbers from {numbers.min():,} to {numbers.max():,}, which "
        f"are no times between 1980 and 2100 in any unit. {hint}"
    )


def _refuse_late(
    numbers: np.ndarray,
    late: np.ndarray,
    unit: str,
    chosen: str,
    column: str,
    refuse: Refuse,
) -> NoReturn:
    rows = np.flatnonzero(late)
    first = rows[0]
    what = (
        f"`{column}` lies after the year 2100 as {_NAMES[chosen]}, and {late.sum():,} "
        f"of {len(late):,} rows do"
    )
    others = [
        name
        for name, factor in UNITS.items()
        if _EARLIEST * factor <= numbers[first] < LATEST * factor
    ]
    if others and (unit != "auto" or late.all()):
        refuse(
            rows,
            f"{what}. They look like {_NAMES[others[0]]}: --time_unit={others[0]}",
        )
    if others:
        refuse(
            rows, f"{what}; it looks like {_NAMES[others[0]]}. Write all in one unit"
        )
    refuse(rows, f"{what}. Mend it, or drop such rows with --time_until=DATE")


def _where(mask: pa.ChunkedArray) -> np.ndarray:
    return np.flatnonzero(np.asarray(mask))
