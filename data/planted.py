"""Small seeded data sets of which it is known what a ranking can be worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from data import prepared, synthetic
from data.prepared import PreparedData
from data.split import split
from data.store import SequenceStore

SPLIT = "leave_one_out"
_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class World:
    """Data of two kinds of users who share no item.

    Users of `noise_users` draw every item uniformly: whatever is learned of them, a
    rank of theirs is chance, unless something leaks. The others follow planted
    interests: a model that learns at all ranks them above chance.

    Attributes:
        data: leave-one-out, with times.
        num_noise_users: ids 1 to this are theirs.
        num_noise_items: ids 1 to this are theirs.
    """

    data: PreparedData
    num_noise_users: int
    num_noise_items: int

    def is_noise(self, instances: np.ndarray) -> np.ndarray:
        """Whether the user of each instance [n, 2] is a noise user: bool [n]."""
        return instances[:, 0] <= self.num_noise_users


def world(folder: Path, seed: int = 0, users: int = 300, items: int = 50) -> World:
    """Writes a world of `users` users and `items` items of each kind to `folder`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 21, users)
    spec = synthetic.SyntheticSpec(
        num_users=users,
        num_items=items,
        mean_events=10.0,
        num_coarse=2,
        fine_per_coarse=5,
        fine_interests=1,
        stay=0.8,
        drift=0.0,
        seed=seed,
    )
    drawn = synthetic.generate(spec)
    gaps = rng.integers(1, _DAY, lengths.sum())
    times = 1_600_000_000 + np.cumsum(gaps)
    data = write(
        folder / "audit" / SPLIT,
        users=np.concatenate(
            [np.repeat(np.arange(users) + 1, lengths), users + drawn.users]
        ),
        items=np.concatenate([noise_items(rng, lengths, items), items + drawn.items]),
        times=np.concatenate([times, drawn.times]),
        sizes=(2 * users, 2 * items),
        source=f"half noise, half planted interests, seed {seed}",
    )
    return World(data, users, items)


def noise_items(
    rng: np.random.Generator, lengths: np.ndarray, num_items: int
) -> np.ndarray:
    """Items 1 to `num_items`, drawn uniformly, user after user: int64 [sum(lengths)].

    No user has an item twice. Negatives never stand in the past; a positive that may
    would be known by that alone.
    """
    return np.concatenate([rng.permutation(num_items)[:n] + 1 for n in lengths])


def write(
    folder: Path,
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray | None,
    sizes: tuple[int, int],
    source: str,
) -> PreparedData:
    """Writes events, sorted by user then time, as a data set split leave-one-out.

    `sizes` are the numbers of users and items; the data set's name is that of the
    folder above `folder`.
    """
    store = SequenceStore.build(users, items, times, sizes[0] + 1, sizes[1] + 1)
    parts, rule = split(store, SPLIT)
    counts = {"users": sizes[0], "items": sizes[1], "interactions": len(items)}
    meta: dict[str, Any] = {
        "name": folder.parent.name,
        "split": SPLIT,
        "split_rule": rule,
        "source": {"name": source, "sha256": None},
        "statistics": {**counts, **{key: len(rows) for key, rows in parts.items()}},
    }
    return prepared.write(folder, store, parts, meta, {})


def rewritten(
    data: PreparedData, part: str, folder: Path, keep_target_times: bool = False
) -> PreparedData:
    """The data with other items and times from the targets of a part on.

    Instances stay as they are, so does everything before a user's first target of that
    part. With `keep_target_times` those targets change their items alone: when a
    request is made is known to a model, what comes of it is not.
    """
    store = data.store
    users, ends = data.instances[part].T
    first = np.full(data.num_users, len(store.items))
    np.minimum.at(first, users, ends)
    owners = np.repeat(np.arange(data.num_users), np.diff(store.offsets))
    since = np.arange(len(owners)) - store.offsets[owners] - first[owners]
    times = store.times
    if times is not None:
        later = since >= (1 if keep_target_times else 0)
        times = np.where(later, times + _DAY * (since + 1), times)
    changed = SequenceStore.build(
        owners,
        np.where(since >= 0, store.items % (data.num_items - 1) + 1, store.items),
        times,
        data.num_users,
        data.num_items,
    )
    return prepared.write(
        folder / data.name / data.split, changed, data.instances, data.meta, {}
    )
