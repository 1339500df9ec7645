"""How the authors' files and the raw ratings of the same category differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from data import log_file
from data.authors_files import Rebuilt
from data.releases import Release


def compared(
    release: Release, rebuilt: Rebuilt, folders: list[Path], rating_above: float
) -> list[str]:
    """How the files and the raw ratings differ, where a folder holds these too.

    Raises:
        UserError: if the raw ratings cannot be read.
    """
    paths = [folder / name for folder in folders for name in release.raw_names]
    raw = next((path for path in paths if path.is_file()), None)
    if raw is None:
        return []
    logging.info("Comparing with %s", raw)
    ratings = log_file.load(raw, with_rating=True).table
    _, lines = compare(rebuilt, ratings, rating_above)
    return lines


def compare(
    rebuilt: Rebuilt, ratings: pd.DataFrame, rating_above: float
) -> tuple[dict[str, int], list[str]]:
    """Counts the users, items and events that the files and the raw ratings share.

    Args:
        rebuilt: from the authors' files.
        ratings: columns user, item, rating and timestamp, of the raw file.
        rating_above: a raw rating counts as positive above this; users with one
            positive are left out, as the paper does.

    Returns:
        The counts by name, and sentences that give them.
    """
    raw = pd.DataFrame(
        {
            "user": _numbers(ratings["user"], rebuilt.keys["users"]),
            "item": _numbers(ratings["item"], rebuilt.keys["items"]),
            "time": np.floor(ratings["timestamp"].to_numpy()).astype(np.int64),
            "positive": ratings["rating"].to_numpy() > rating_above,
        }
    )
    of_two = ratings["user"][raw["positive"].to_numpy()].value_counts()
    active = ratings["user"].map(of_two).astype(float).to_numpy() >= 2
    kept = raw["positive"].to_numpy() & active
    store = rebuilt.store
    ours = pd.DataFrame(
        {
            "user": np.repeat(np.arange(store.num_users), np.diff(store.offsets)),
            "item": store.items,
            "time": store.times,
        }
    )
    counts: dict[str, int] = {
        "raw_rows": len(raw),
        "raw_positive_rows": int(kept.sum()),
    }
    for name, key in (("users", "user"), ("items", "item")):
        counts[f"raw_{name}"] = int(ratings[key][kept].nunique())
        counts[f"raw_{name}_in_files"] = int(
            ratings[key][kept & (raw[key] > 0)].nunique()
        )
        counts[f"{name}_in_files"] = len(rebuilt.keys[name])
    pairs = _distinct(ours, ["user", "item"])
    counts["pairs_in_files"] = len(pairs)
    counts["pairs_in_raw"] = int(pairs.isin(_distinct(raw, ["user", "item"])).sum())
    counts["pairs_in_raw_positive"] = int(
        pairs.isin(_distinct(raw[kept], ["user", "item"])).sum()
    )
    dated = _distinct(ours[rebuilt.known_times], ["user", "item", "time"])
    counts["dated_in_files"] = len(dated)
    counts["dated_in_raw"] = int(
        dated.isin(_distinct(raw, ["user", "item", "time"])).sum()
    )
    counts["same_sequences"] = _same_sequences(ours, raw[kept])
    return counts, _lines(counts)


def _numbers(ids: pd.Series, keys: np.ndarray) -> np.ndarray:
    """The files' numbers of raw ids, 0 for those that the files do not have."""
    known = ids.astype("category")
    numbers = pd.Index(keys).get_indexer(known.cat.categories) + 1
    return numbers[known.cat.codes.to_numpy()]


def _distinct(table: pd.DataFrame, columns: list[str]) -> pd.MultiIndex:
    known = table[(table["user"] > 0) & (table["item"] > 0)]
    return pd.MultiIndex.from_frame(known[columns].drop_duplicates())


def _same_sequences(ours: pd.DataFrame, raw: pd.DataFrame) -> int:
    """Users who have the same items in the same order in both."""
    in_order = raw.sort_values(["user", "time"], kind="stable")
    first = ours.groupby("user")["item"].agg(tuple)
    second = in_order[in_order["user"] > 0].groupby("user")["item"].agg(tuple)
    both = pd.concat([first, second], axis=1, keys=["files", "raw"], join="inner")
    return int((both["files"] == both["raw"]).sum())


def _lines(counts: dict[str, Any]) -> list[str]:
    of = "{:,} of {:,}".format
    return [
        f"raw ratings: {counts['raw_rows']:,}; positive, of users with two or more: "
        f"{counts['raw_positive_rows']:,}",
        "users of these in the files: "
        + of(counts["raw_users_in_files"], counts["raw_users"])
        + f"; the files have {counts['users_in_files']:,}",
        "items of these in the files: "
        + of(counts["raw_items_in_files"], counts["raw_items"])
        + f"; the files have {counts['items_in_files']:,}",
        "pairs of user and item of the files among all raw ratings: "
        + of(counts["pairs_in_raw"], counts["pairs_in_files"])
        + f"; among the positive ones: {counts['pairs_in_raw_positive']:,}",
        "events of the files with the same time among the raw ratings: "
        + of(counts["dated_in_raw"], counts["dated_in_files"]),
        "users with the same items in the same order in both: "
        + of(counts["same_sequences"], counts["users_in_files"]),
    ]
