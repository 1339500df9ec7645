"""Sentences on ids and times of a log that are read, but look wrong."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data import times
from data.columns import Columns

if TYPE_CHECKING:
    import pyarrow as pa

# Times this many times farther from the middle than most, and a month, are odd.
_FAR, _MONTH = 20.0, 30 * times.DAY


def odd_ids(known: pd.Series, role: str) -> list[str]:
    """Ids that may be one and are two, or were two and are one."""
    sentences = []
    floats = known[known.str.fullmatch(r"\d+\.0+")]
    twice = floats[floats.str.replace(r"\.0+$", "", regex=True).isin(known)]
    if len(twice):
        whole = re.sub(r"\.0+$", "", twice.iloc[0])
        sentences.append(
            f"{len(twice):,} {role} ids are there twice, as in {whole} and "
            f"{twice.iloc[0]}. They stay two; mend the file if they are one."
        )
    blank = known[known.str.strip() != known]
    if len(blank):
        sentences.append(
            f"{len(blank):,} {role} ids begin or end with a blank, such as "
            f"{blank.iloc[0]!r}, which belongs to the id."
        )
    rounded = known[known.str.fullmatch(r"\d\.\d+[eE]\+\d+")]
    if len(rounded):
        sentences.append(
            f"{len(rounded):,} {role} ids are written like {rounded.iloc[0]}: a "
            "spreadsheet has rounded them, and several may have become one."
        )
    return sentences


def odd_times(
    columns: Columns, rows: np.ndarray, values: pa.ChunkedArray, parsed: times.Times
) -> list[str]:
    seconds = parsed.seconds[parsed.kept]
    if not len(seconds):
        return []
    sentences = []
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    reach = max(_FAR * (high - low), _MONTH)
    far = np.abs(parsed.seconds - middle) > reach
    far &= parsed.kept
    if far.any():
        near = parsed.seconds[parsed.kept & ~far]
        first = np.flatnonzero(far)[:3]
        lines = columns.lines([int(row) for row in rows[first]])
        examples = ", ".join(
            f"{times.date(parsed.seconds[row])} in row {line}"
            for row, line in zip(first, lines)
        )
        first, last = near.min() // times.DAY, near.max() // times.DAY + 1
        sentences.append(
            f"{far.sum():,} of {len(seconds):,} times lie far from the others, which "
            f"go from {times.date(near.min())} to {times.date(near.max())}: {examples}."
            f" --time_from={times.date(first * times.DAY)} "
            f"--time_until={times.date(last * times.DAY)} drops them."
        )
    future = int(
        ((parsed.seconds > time.time() + times.DAY) & parsed.kept & ~far).sum()
    )
    if future:
        are = "time lies" if future == 1 else "times lie"
        sentences.append(f"{future:,} {are} in the future.")
    if seconds.min() == seconds.max() and len(seconds) > 1:
        sentences.append(
            f"All {len(seconds):,} times are the same, {values[0].as_py()} as written: "
            "what comes next is not known. Export the log with all digits."
        )
    elif _is_text(values) and parsed.seconds.dtype.kind == "f":
        rounded = _rounded(values)
        if rounded:
            sentences.append(
                f"{rounded:,} times are written like 1.52E+09: a spreadsheet has "
                "rounded them. Export the log with all digits."
            )
    return sentences


def _is_text(values: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(values.type))


def _rounded(values: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.match_substring_regex(values, r"^\d\.\d+[eE]")).as_py())
