"""From a raw file to the prepared form: filter, map ids, split, write."""

from __future__ import annotations

import errno
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from data import prepared
from data.download import file_sha256
from data.prepared import PreparedData
from data.registry import DATASETS, DatasetSpec
from data.split import split as split_instances
from data.store import SequenceStore
from data.synthetic import SyntheticSpec, generate


def prepare(
    dataset: str,
    data_dir: Path,
    raw_dir: Path = Path("data/raw"),
    source: Path | None = None,
    name: str | None = None,
    split: str | None = None,
    rating_above: float | None = None,
    allow_mismatch: bool = False,
    seed: int = 0,
    utc_offset_hours: float = 8.0,
) -> PreparedData:
    """Fetches or takes, filters, maps, splits and writes a data set.

    Args:
        dataset: a name of `DATASETS`.
        data_dir: the result goes to `<data_dir>/<name>/<split>`.
        raw_dir: keeps downloads.
        source: a local file instead of a download.
        name: of the result; None takes the data set's.
        split: a rule of `data.split`; None takes the data set's.
        rating_above: positives have more; None takes the data set's rule.
        allow_mismatch: warn instead of raising where Table 1 disagrees.
        seed: of synthetic data.
        utc_offset_hours: of the split by date.

    Raises:
        ValueError: for anything the user can mend, naming file and row, and for a
            full disk. Nothing is written then.
    """
    spec = DATASETS[dataset]
    try:
        table, origin = _load(dataset, spec, source, raw_dir, seed)
        if rating_above is None:
            rating_above = spec.rating_above
        meta: dict[str, Any] = {
            "name": name or dataset,
            "dataset": dataset,
            "split": split or spec.split,
            "source": origin,
            "rating_above": rating_above if "rating" in table else None,
        }
        table = _positives(table, meta["rating_above"], origin["name"])
        return _write(
            table, meta, spec, data_dir, origin, allow_mismatch, utc_offset_hours
        )
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ValueError(
                f"The disk is full: {data_dir} or {raw_dir} has no room. Nothing was "
                "written; make room and run the command again."
            ) from error
        raise ValueError(f"{error.filename or data_dir}: {error.strerror}.") from error


def describe(data: PreparedData) -> str:
    """The statistics as text, beside Table 1 where the paper has the data set."""
    found = data.meta["statistics"]
    spec = DATASETS[data.meta["dataset"]]
    lines = [f"{data.name}, {data.meta['split_rule']}"]
    for position, key in enumerate(("users", "items", "interactions")):
        line = f"  {key:<24}{found[key]:>12,}"
        if spec.table1:
            agrees = "agrees" if found[key] == spec.table1[position] else "differs"
            line += f"   Table 1: {spec.table1[position]:>12,}   {agrees}"
        lines.append(line)
    for key in ("train", "valid", "test"):
        lines.append(f"  {key + ' instances':<24}{found[key]:>12,}")
    shown = "/".join(f"{found['lengths'][key]:g}" for key in _LENGTHS)
    lines.append(f"  {'events a user':<24}{shown:>12}   ({'/'.join(_LENGTHS)})")
    if found["same_time_share"] is not None:
        share = f"{found['same_time_share']:.0%}"
        lines.append(f"  {'same time as the last':<24}{share:>12}")
    if spec.note:
        lines.append(textwrap.indent(spec.note, "  "))
    return "\n".join(lines)


_LENGTHS = ("min", "median", "mean", "max")


def _load(
    dataset: str, spec: DatasetSpec, source: Path | None, raw_dir: Path, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The raw rows, and what they were read from."""
    if dataset == "synthetic":
        drawn = generate(SyntheticSpec(seed=seed))
        columns = {"user": drawn.users, "item": drawn.items, "timestamp": drawn.times}
        return pd.DataFrame(columns), {
            "name": f"synthetic, seed {seed}",
            "sha256": None,
        }
    if source is None:
        if spec.fetch is None:
            raise ValueError(spec.missing)
        path, origin = spec.fetch(raw_dir)
        logging.info("Reading %s, from %s", path, origin)
    else:
        path, origin = source, source.name
    table = spec.load(path)
    return table, {"name": origin, "sha256": file_sha256(path)}


def _positives(
    table: pd.DataFrame, rating_above: float | None, origin: str
) -> pd.DataFrame:
    """Rows rated high enough, of users with at least two of them, Section 4.1."""
    if rating_above is not None:
        table = table[table["rating"] > rating_above]
    counts = table["user"].value_counts()
    table = table[table["user"].map(counts).astype(int) >= 2]
    users = table["user"].nunique()
    if users < 2:
        raise ValueError(
            f"{origin}: {users} users have two positive events or more; at least 2 are "
            "needed."
        )
    return table


def _write(
    table: pd.DataFrame,
    meta: dict[str, Any],
    spec: DatasetSpec,
    data_dir: Path,
    origin: dict[str, Any],
    allow_mismatch: bool,
    utc_offset_hours: float,
) -> PreparedData:
    users, user_keys = pd.factorize(table["user"])
    items, item_keys = pd.factorize(table["item"])
    when = table["timestamp" if "timestamp" in table else "order"].to_numpy()
    # Stable: events of one time keep the order of the file.
    rows = np.lexsort((when, users))
    times = np.floor(when[rows]).astype(np.int64) if "timestamp" in table else None
    del table
    store = SequenceStore.build(
        (users + 1)[rows],
        (items + 1)[rows],
        times,
        len(user_keys) + 1,
        len(item_keys) + 1,
    )
    parts, rule = split_instances(store, meta["split"], utc_offset_hours)
    statistics = _statistics(store, parts)
    statistics["matches_table1"] = _check_table1(
        statistics, spec, origin["name"], allow_mismatch
    )
    if meta["split"] == "leave_one_out" and store.times is not None:
        logging.warning(
            "leave_one_out on dated data: training sees events of other users that are "
            "later than what is tested. global_time does not."
        )
    meta = {**meta, "split_rule": rule, "statistics": statistics}
    keys = {"users": user_keys.astype(str), "items": item_keys.astype(str)}
    folder = data_dir / meta["name"] / meta["split"]
    return prepared.write(folder, store, parts, meta, keys)


def _statistics(store: SequenceStore, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    lengths = np.diff(store.offsets)[1:]
    same = None
    if store.times is not None:
        within = np.ones(len(store.items) - 1, dtype=bool)
        within[store.offsets[2:-1] - 1] = False  # Neighbours across two users.
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


def _check_table1(
    found: dict[str, Any], spec: DatasetSpec, origin: str, allow_mismatch: bool
) -> bool:
    """Whether users and items are Table 1's; interactions cannot be checked."""
    if spec.table1 is None:
        return False
    expected = dict(zip(("users", "items"), spec.table1))
    if all(found[key] == value for key, value in expected.items()):
        return True
    message = (
        f"{origin} gives {found['users']:,} users and {found['items']:,} items, "
        f"Table 1 has {expected['users']:,} and {expected['items']:,}: these are not "
        "the paper's data, and results on them are not comparable with Table 2."
    )
    if not allow_mismatch:
        raise ValueError(f"{message} --allow_mismatch goes on all the same.")
    logging.warning("%s", message)
    return False
