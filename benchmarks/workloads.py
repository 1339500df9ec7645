"""Seeded data of the shapes of real data: histories as long, vocabularies as large."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data import prepared
from data.prepared import PreparedData
from data.store import SequenceStore

if TYPE_CHECKING:
    import pyarrow

_PERIOD_SECONDS = 200 * 86_400


@dataclasses.dataclass(frozen=True)
class Workload:
    """What speeds depend on: how long histories are, and how large the tables.

    Attributes:
        settings_of: the data set whose settings the models take.
        num_users: size of the user vocabulary, as in Table 1.
        num_items: size of the item vocabulary, as in Table 1.
        active_users: users that have events; the others only have a row in the table.
        mean_log: mean logarithm of the events beyond `shortest`, which are lognormal.
        sigma_log: standard deviation of that logarithm.
        shortest: the events of the shortest history.
    """

    settings_of: str
    num_users: int
    num_items: int
    active_users: int
    mean_log: float
    sigma_log: float
    shortest: int


WORKLOADS = {
    # Lengths of Amazon's Toys and Games, 5-core: mean 8.6, median 6, 1% above 40.
    "toys": Workload("toys", 313_557, 241_657, 20_000, 1.5, 0.66, 3),
    # A week of a micro-video log: practically every history reaches the cap of 100.
    "micro_video": Workload("micro_video", 60_813, 292_286, 3_000, 5.0, 0.3, 100),
}


def build(name: str, folder: Path, seed: int = 0, **changes: int) -> PreparedData:
    """Writes a workload as prepared data, leave-one-out.

    Args:
        name: a key of `WORKLOADS`.
        folder: where to write.
        seed: seeds all that is drawn.
        **changes: fields of the workload that get another value.
    """
    spec = dataclasses.replace(WORKLOADS[name], **changes)
    rng = np.random.default_rng(seed)
    beyond = np.exp(rng.normal(spec.mean_log, spec.sigma_log, spec.active_users))
    lengths = spec.shortest + 1 + np.round(beyond).astype(np.int64)
    everyone = np.arange(1, spec.active_users + 1)
    users = np.repeat(everyone, lengths)
    # Popular like rank^-0.7, which is near what the real files show.
    ranks = rng.random(len(users)) ** (1 / 0.3) * spec.num_items
    items = rng.permutation(spec.num_items)[ranks.astype(np.int64)] + 1
    gaps = rng.exponential(_PERIOD_SECONDS / np.repeat(lengths, lengths))
    times = 1_600_000_000 + np.cumsum(gaps).astype(np.int64)
    times -= np.repeat(times[np.cumsum(lengths) - lengths], lengths) - 1_600_000_000
    store = SequenceStore.build(
        users, items, times, spec.num_users + 1, spec.num_items + 1
    )
    ends = np.arange(len(users)) - store.offsets[users]
    last = np.repeat(lengths, lengths) - 1
    parts = {
        "train": (ends >= spec.shortest) & (ends < last - 1),
        "valid": ends == last - 1,
        "test": ends == last,
    }
    instances = {
        part: np.stack([users[rows], ends[rows]], axis=1).astype(np.int32)
        for part, rows in parts.items()
    }
    meta = {
        "name": name,
        "split": "leave_one_out",
        "split_rule": "the last event tests, the one before validates",
        "statistics": {
            "users": spec.num_users,
            "items": spec.num_items,
            "interactions": len(items),
            **{part: len(rows) for part, rows in instances.items()},
        },
    }
    keys = {
        "users": np.arange(1, spec.num_users + 1),
        "items": np.arange(1, spec.num_items + 1),
    }
    return prepared.write(folder / name / "leave_one_out", store, instances, meta, keys)


def draw_log(num_users: int) -> pyarrow.Table:
    """A log of so many users: columns user, item and timestamp."""
    import pyarrow

    from data.synthetic import SyntheticSpec, generate

    drawn = generate(
        SyntheticSpec(
            num_users=num_users,
            num_items=round(num_users * 292_286 / 60_813),
            mean_events=246.0,
            num_coarse=50,
            fine_per_coarse=20,
        )
    )
    columns = {"user": drawn.users, "item": drawn.items, "timestamp": drawn.times}
    return pyarrow.table(columns)
