"""Which rows of a log are kept, by the filters' usual names, and how many are not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from data.errors import UserError


@dataclasses.dataclass(frozen=True)
class Filters:
    """What is dropped from a log, in this order.

    Attributes:
        rating_above: rows whose rating is not above this; None keeps all.
        deduplicate: rows that repeat user, item and time of an earlier one.
        min_user_events: users with fewer events, and
        min_item_events: items with fewer, again and again until none is left: the
            k-core.

    Users of one event are dropped last, since nothing can be asked of them.
    """

    rating_above: float | None = None
    deduplicate: bool = False
    min_user_events: int = 1
    min_item_events: int = 1

    def __post_init__(self) -> None:
        if self.rating_above is not None and not math.isfinite(self.rating_above):
            raise UserError(
                f"--rating_above takes a number. Received: {self.rating_above}"
            )
        if min(self.min_user_events, self.min_item_events) < 1:
            raise UserError(
                "--min_user_events and --min_item_events must be at least 1."
            )


def apply(
    table: pd.DataFrame, filters: Filters, origin: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Drops what the filters name.

    Args:
        table: columns user and item, which are categories or become such, and rating,
            timestamp, order as there are; more columns stay.
        filters: what to drop.
        origin: the log's name, for errors.

    Returns:
        The kept rows in their order; and counts: rows dropped by reason, and repeated
        rows that were kept.

    Raises:
        UserError: if fewer than two users are left.
    """
    dropped: dict[str, int] = {}
    users, items = (_codes(table[name]) for name in ("user", "item"))
    kept = np.ones(len(table), bool)
    if filters.rating_above is not None:
        kept = table["rating"].to_numpy() > filters.rating_above
        dropped["rating"] = int((~kept).sum())
    again = _repeated(table, users, items, kept)
    duplicates = int(again.sum())
    if filters.deduplicate:
        kept &= ~again
        dropped["duplicates"], duplicates = duplicates, 0
    if max(filters.min_user_events, filters.min_item_events) > 1:
        core = _core(users, items, kept, filters)
        dropped["k_core"] = int(kept.sum() - core.sum())
        kept = core
    alone = kept & (np.bincount(users[kept], minlength=users.max() + 1) < 2)[users]
    dropped["one_event_users"] = int(alone.sum())
    kept &= ~alone
    left = len(np.unique(users[kept]))
    if left < 2:
        raise UserError(
            f"{origin}: {left} users have two positive events or more; at least 2 are "
            f"needed. {_reasons(len(table), dropped)}"
        )
    return table[kept], {"dropped": dropped, "duplicates": duplicates}


def _codes(column: pd.Series) -> np.ndarray:
    return np.asarray(column.astype("category").cat.codes).astype(np.int64)


def _repeated(
    table: pd.DataFrame, users: np.ndarray, items: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    """Rows whose user, item and time (or order) an earlier kept row has: bool [n]."""
    columns = {"user": users[kept], "item": items[kept]}
    for name in ("timestamp", "order"):
        if name in table:
            columns[name] = table[name].to_numpy()[kept]
            break
    result = np.zeros(len(table), bool)
    result[kept] = pd.DataFrame(columns).duplicated().to_numpy()
    return result


def _core(
    users: np.ndarray, items: np.ndarray, kept: np.ndarray, filters: Filters
) -> np.ndarray:
    kept = kept.copy()
    while True:
        enough = np.bincount(users[kept], minlength=users.max() + 1)
        mask = kept & (enough >= filters.min_user_events)[users]
        enough = np.bincount(items[mask], minlength=items.max() + 1)
        mask &= (enough >= filters.min_item_events)[items]
        if mask.sum() == kept.sum():
            return kept
        kept = mask


_REASONS = {
    "where": "not of --where",
    "time_range": "outside --time_from and --time_until",
    "rating": "rated too low",
    "duplicates": "repeated",
    "k_core": "of users or items with too few events",
    "one_event_users": "of users with one event",
    "not_a_prefix": "not the beginning of their user's sequence",
    "repeated": "the same as an earlier one",
}


def reasons(dropped: dict[str, int]) -> str:
    """The dropped rows by reason as text."""
    return ", ".join(
        f"{count:,} {_REASONS[name]}" for name, count in dropped.items() if count
    )


def _reasons(rows: int, dropped: dict[str, int]) -> str:
    text = reasons(dropped)
    return f"Of {rows:,} rows, dropped: {text}." if text else ""
