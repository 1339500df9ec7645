"""Small prepared data sets for tests."""

from __future__ import annotations

import numpy as np

from data import prepared
from data.split import split
from data.store import SequenceStore

NUM_USERS, NUM_ITEMS = 24, 30
DAY = 86_400


def make_prepared(folder, name="tiny", times=True, seed=0):
    """Two dozen users of 5 to 12 events, leave-one-out, written to `folder`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 13, NUM_USERS)
    users = np.repeat(np.arange(1, NUM_USERS + 1), lengths)
    items = rng.integers(1, NUM_ITEMS + 1, len(users))
    stamps = np.sort(rng.integers(10**9, 10**9 + 10**6, len(users)))
    store = SequenceStore.build(
        users, items, stamps if times else None, NUM_USERS + 1, NUM_ITEMS + 1
    )
    last = lengths - 1
    everyone = np.arange(1, NUM_USERS + 1)
    train = [(u, e) for u, n in zip(everyone, last) for e in range(1, n - 1)]
    instances = {
        "train": np.array(train, np.int32),
        "valid": np.stack([everyone, last - 1], axis=1).astype(np.int32),
        "test": np.stack([everyone, last], axis=1).astype(np.int32),
    }
    counts = {part: len(rows) for part, rows in instances.items()}
    statistics = {
        "users": NUM_USERS,
        "items": NUM_ITEMS,
        "interactions": len(items),
        **counts,
    }
    meta = {
        "name": name,
        "split": "leave_one_out",
        "split_rule": "the last event tests, the one before validates",
        "statistics": statistics,
    }
    keys = {
        "users": [f"u{u}" for u in everyone],
        "items": [f"i{i}" for i in range(1, NUM_ITEMS + 1)],
    }
    return prepared.write(folder / name / "leave_one_out", store, instances, meta, keys)


def make_days(folder, num_users=40, num_days=5, num_items=400, times=True):
    """Users of one event on the first of their days and two on each later one."""
    length = 2 * num_days - 1
    rng = np.random.default_rng(1)
    drawn = rng.random((num_users, num_items))
    items = np.argsort(drawn, axis=1)[:, :length].ravel() + 1  # None twice.
    users = np.repeat(np.arange(1, num_users + 1), length)
    days = np.tile((np.arange(length) + 1) // 2, num_users)
    stamps = (days + 30 + users % 3) * DAY
    store = SequenceStore.build(
        users, items, stamps if times else None, num_users + 1, num_items + 1
    )
    rule = "global_time" if times else "leave_one_out"
    parts, words = split(store, rule)
    counts = {"users": num_users, "items": num_items, "interactions": len(items)}
    meta = {
        "name": "days",
        "split": rule,
        "split_rule": words,
        "statistics": {**counts, **{key: len(rows) for key, rows in parts.items()}},
    }
    return prepared.write(folder / "days" / rule, store, parts, meta, {})


def sequences(data):
    """Each user's items and times by their own keys."""
    users, items = data.keys("users"), data.keys("items")
    store = data.store
    return {
        users[user - 1]: [
            (items[store.items[row] - 1], int(store.times[row]))
            for row in range(store.offsets[user], store.offsets[user + 1])
        ]
        for user in range(1, data.num_users)
    }
