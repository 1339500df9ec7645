"""What was read, dropped and kept, as text for one screen."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd

from data import filters, times
from data.errors import UserError
from data.prepared import PreparedData
from data.registry import DATASETS
from data.request import Request
from data.source import keep, read

_LENGTHS = ("min", "median", "mean", "max")
_WIDTH = 100
_WIDEST_ID = 28


def describe(data: PreparedData) -> str:
    """The statistics as text, beside Table 1 where the paper has the data set."""
    statistics = data.meta["statistics"]
    spec = DATASETS[data.meta["dataset"]]
    lines = [f"{data.name}, {data.meta['split_rule']}"]
    lines += _understood(data.meta["log"])
    for position, key in enumerate(("users", "items", "interactions")):
        line = f"  {key:<24}{statistics[key]:>12,}"
        if spec.table1:
            agrees = "agrees" if statistics[key] == spec.table1[position] else "differs"
            line += f"   Table 1: {spec.table1[position]:>12,}   {agrees}"
        lines.append(line)
    for key in ("train", "valid", "test"):
        lines.append(f"  {key + ' instances':<24}{statistics[key]:>12,}")
    shown = "/".join(f"{statistics['lengths'][key]:g}" for key in _LENGTHS)
    lines.append(f"  {'events a user':<24}{shown:>12}   ({'/'.join(_LENGTHS)})")
    if statistics["same_time_share"] is not None:
        share = f"{statistics['same_time_share']:.0%}"
        lines.append(f"  {'same time as the last':<24}{share:>12}")
    repeated = data.meta["log"]["repeats"] / statistics["interactions"]
    lines.append(f"  {'repeats':<24}{repeated:>12.0%}   (had the item before)")
    lines += _bullets("raw ratings", data.meta["log"].get("compared", []))
    if spec.note:
        lines.append(textwrap.indent(spec.note, "  "))
    return "\n".join(lines)


def preview(request: Request) -> str:
    """What `data.prepare` would take of a log: nothing is written.

    Raises:
        UserError: as `data.build.write`, up to the split, whose failure is shown.
    """
    log, origin = read(request)
    lines = ["Dry run: nothing is written.", f"{origin['name']}"]
    lines += _first_rows(log.table)
    odd = [*log.odd]
    try:
        table, counts = keep(request, log, origin["name"])
    except UserError as error:
        table, counts = log.table, {**log.read, "kept": 0, "duplicates": 0}
        odd.append(f"This log would be refused: {error}")
    lines += _understood(counts)
    lines += _counts(log.table, table)
    lines += _bullets("odd", odd)
    return "\n".join(lines)


def _understood(log: dict[str, Any]) -> list[str]:
    lines = []
    if "form" in log:
        columns = ", ".join(f"{role}={name}" for role, name in log["columns"].items())
        lines += _wrapped("read as", f"{log['form']}: {log['layout']}; {columns}")
        if "time_is" in log:
            lines += _wrapped("times", log["time_is"])
        if "note" in log:
            lines += _wrapped("note", log["note"])
    dropped = filters.reasons(log["dropped"])
    rows = f"{log['rows']:,} read, {log['kept']:,} kept"
    lines += _wrapped("rows", f"{rows}; dropped: {dropped}" if dropped else rows)
    if log["duplicates"]:
        lines += _wrapped(
            "duplicates",
            f"{log['duplicates']:,} rows repeat user, item and time of an earlier one "
            "and are kept; --deduplicate drops them",
        )
    return lines


def _first_rows(table: pd.DataFrame) -> list[str]:
    shown = pd.DataFrame({"user": table["user"].head(), "item": table["item"].head()})
    for name in ("user", "item"):
        shown[name] = shown[name].astype(str).str.slice(0, _WIDEST_ID)
    if "timestamp" in table:
        seconds = table["timestamp"].head()
        shown["time (UTC)"] = [times.date(float(value)) for value in seconds]
    for name in ("order", "rating", "part"):
        if name in table:
            shown[name] = [f"{value:g}" for value in table[name].head()]
    text = shown.to_string(index=False, justify="left")
    return [f"  {line}" for line in text.split("\n")]


def _counts(before: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    users, items = (table[name].astype("category") for name in ("user", "item"))
    sizes, seen = (column.value_counts() for column in (users, items))
    all_sizes = before["user"].value_counts()
    lines = _wrapped(
        "kept",
        f"{(sizes > 0).sum():,} users, {(seen > 0).sum():,} items; "
        f"{(all_sizes == 1).sum():,} users of one event in the file, "
        f"{(seen == 1).sum():,} items seen once",
    )
    pairs = pd.DataFrame({"user": users.cat.codes, "item": items.cat.codes})
    repeats = int(pairs.duplicated().sum())
    text = f"{repeats:,} ({repeats / len(table):.0%}) of an item that the user had"
    lines += _wrapped("repeats", text)
    if "timestamp" in table:
        when = table["timestamp"].to_numpy()
        by_user = np.lexsort([when, pairs["user"]])
        codes = pairs["user"].to_numpy()[by_user]
        within = np.diff(codes) == 0
        same = (np.diff(when[by_user]) == 0)[within].mean() if within.any() else 0.0
        lines += _wrapped(
            "from, to",
            f"{times.date(when.min())} to {times.date(when.max())}; "
            f"{same:.0%} of neighbours at the same time",
        )
    return lines


def _bullets(title: str, sentences: list[str]) -> list[str]:
    lines = []
    for sentence in sentences:
        lines += _wrapped(title, sentence)
    return lines


def _wrapped(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"  {title:<12}",
        subsequent_indent=" " * 14,
        break_on_hyphens=False,
    )
