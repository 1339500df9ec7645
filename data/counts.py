"""How large prepared data are, and whether that is what Table 1 says."""

from __future__ import annotations

from typing import Any

import numpy as np
from absl import logging

from data.dataset_spec import DatasetSpec
from data.errors import UserError
from data.store import SequenceStore

ALLOW_MISMATCH = "data.prepare takes it all the same with --allow_mismatch."


def statistics_of(
    store: SequenceStore,
    parts: dict[str, np.ndarray],
    known_times: np.ndarray | None = None,
) -> dict[str, Any]:
    lengths = np.diff(store.offsets)[1:]
    same = None
    if store.times is not None:
        users = np.repeat(np.arange(store.num_users), np.diff(store.offsets))
        within = users[1:] == users[:-1]
        if known_times is not None:
            within &= known_times[1:] & known_times[:-1]
        same = float(np.mean(np.diff(store.times)[within] == 0))
    return {
        "users": store.num_users - 1,
        "items": store.num_items - 1,
        "interactions": len(store.items),
        **{name: len(rows) for name, rows in parts.items()},
        "lengths": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": round(float(lengths.mean()), 1),
            "max": int(lengths.max()),
        },
        "same_time_share": same,
    }


def is_table1s(
    statistics: dict[str, Any], spec: DatasetSpec, origin: str, allow_mismatch: bool
) -> bool:
    """Whether users and items are Table 1's; interactions cannot be checked."""
    if spec.table1 is None:
        return False
    expected = dict(zip(("users", "items"), spec.table1))
    if all(statistics[key] == value for key, value in expected.items()):
        return True
    message = (
        f"{origin} gives {statistics['users']:,} users and "
        f"{statistics['items']:,} items, Table 1 has {expected['users']:,} and "
        f"{expected['items']:,}: these are not the paper's data, and "
        "results on them are not comparable with Table 2."
    )
    if not allow_mismatch:
        raise UserError(f"{message} {ALLOW_MISMATCH}")
    logging.warning("%s", message)
    return False
