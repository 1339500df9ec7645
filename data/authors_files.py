"""The paper's Amazon data as its authors released them: pickles of instances.

WHUIR/MGNM, folder `clear_data/`, has three files a category: all instances in the order
of time, and two dicts from Amazon's ids to numbers from 1 on. An instance, called a
record here, is `(user, history, target, "1", time)`. The released code trains on the
first 70% of the records, tests on the last 20%, and leaves the 10% between unused.

`data.authors_records` reads them; no pickle is loaded.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from absl import logging

from data import checksums
from data.authors_records import Records, read_keys, read_records, unpacked
from data.counts import ALLOW_MISMATCH
from data.download import download
from data.errors import UserError
from data.releases import COMMIT, URL, Release
from data.store import SequenceStore

RULE = (
    "as_released: the first 70% of the authors' file train, the last 20% test, the 10% "
    "between validate"
)
_TRAIN, _FIFTHS = 0.7, 5  # of the released code: floor(0.7 n), and n // 5 at the end
_MOST_WRONG = 0.01
_CHUNK = 1 << 22  # elements of histories compared at once


@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """Sequences and instances, from records.

    Attributes:
        store: the sequences; users and items have the numbers of the files.
        parts: int32 [n, 2] of `(user, end)` for "train", "valid" and "test", by the
            place of their records in the file.
        keys: "users" and "items", Amazon's ids of 1, 2, ...
        known_times: bool [E], whether a record has the event's time.
        counts: what was found in the records.
        odd: sentences on what is not as it should be.
    """

    store: SequenceStore
    parts: dict[str, np.ndarray]
    keys: dict[str, np.ndarray]
    known_times: np.ndarray
    counts: dict[str, int]
    odd: list[str]


def fetch(release: Release, raw_dir: Path, url: str = URL) -> Path:
    """Downloads and verifies the files of a category; the folder they are in.

    Raises:
        UserError: if one cannot be had or is not the released one.
    """
    folder = raw_dir / f"mgnm-{COMMIT}"
    for name, checksum in release.files.items():
        download(url + name, folder / name, checksum, release.sizes.get(name))
    return folder


def check(release: Release, folder: Path, allow_mismatch: bool = False) -> bool:
    """Compares a folder of the user's with the released files; whether it has them.

    Raises:
        UserError: if one is missing or has another checksum.
    """
    same = True
    for name, checksum in release.files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(
                f"{folder} has no file {name}. --source=FOLDER of data.prepare must "
                f"hold {', '.join(release.files)}."
            )
        if checksums.matches(path, checksum):
            continue
        message = f"{path} is not the released file: its git blob id differs."
        if not allow_mismatch:
            raise UserError(f"{message} {ALLOW_MISMATCH}")
        logging.warning("%s", message)
        same = False
    return same


def take(
    release: Release, source: Path | None, raw_dir: Path, allow_mismatch: bool
) -> tuple[Path, bool]:
    """The folder with a category's files, and whether they are the released ones.

    Raises:
        UserError: if they cannot be had, or are not the released ones.
    """
    if source is None:
        return fetch(release, raw_dir), True
    return source, check(release, source, allow_mismatch)


def rebuild(
    release: Release, folder: Path, scratch: Path, allow_mismatch: bool = False
) -> Rebuilt:
    """Reads a category's files, and rebuilds what their records were made from.

    A user's sequence is the longest history among the user's records, and its target.
    A record is right if its history and target are the beginning of that sequence. Any
    other is counted and left out, as is one that repeats another; none is mended.

    A record holds the time of its target alone, so that no record has the time of a
    user's first event. An event without a time is given that of the next one with a
    time, which says no more than that it was not later.

    Args:
        release: the category.
        folder: holds its files, verified; it is not written to.
        scratch: where a zip is unpacked for the while.
        allow_mismatch: warn instead of raising where more than 1% of the records are
            not right.

    Raises:
        UserError: naming file and record or byte, for what cannot be read.
    """
    users = read_keys(folder / release.users[0])
    items = read_keys(folder / release.items[0])
    path = folder / release.records[0]
    with unpacked(path, scratch) as records_file:
        records = read_records(records_file, len(users), len(items))
    sequences, starts = _sequences(records, len(users) + 1)
    right = _are_prefixes(records, sequences, starts)
    first = _are_first(records, right)
    times, known = _times(records, first, starts)
    users_of_events = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    store = SequenceStore.build(
        users_of_events, sequences, times, len(users) + 1, len(items) + 1
    )
    parts = _parts(records, first)
    counts = {
        "records": len(records),
        "not_a_prefix": int((~right).sum()),
        "repeated": int((right & ~first).sum()),
        "without_own_time": int((~known).sum()),
        "users_without_record": int((np.diff(starts)[1:] == 0).sum()),
        "earlier_than_before": _decreases(times, users_of_events),
        "tested_before_trained": _tested_before_trained(parts),
    }
    keys = {"users": users, "items": items}
    odd = _sentences(path, counts, allow_mismatch)
    return Rebuilt(store, parts, keys, known, counts, odd)


def _sequences(records: Records, num_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Items of all users' sequences, and where each user's begins [num_users + 1]."""
    order = np.lexsort((records.lengths, records.users))
    last = np.flatnonzero(np.diff(records.users[order], append=num_users))
    longest = order[last]  # One record a user, by user.
    counts = np.zeros(num_users, np.int64)
    counts[records.users[longest]] = records.lengths[longest] + 1
    starts = np.concatenate([[0], np.cumsum(counts)])
    begins = np.cumsum(records.lengths, dtype=np.int64) - records.lengths
    lengths = records.lengths[longest]
    sequences = np.empty(starts[-1], np.int32)
    targets = starts[records.users[longest]] + lengths
    sequences[targets] = records.targets[longest]
    rest = np.ones(len(sequences), bool)
    rest[targets] = False
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    sequences[rest] = records.events[np.repeat(begins[longest], lengths) + within]
    return sequences, starts


def _are_prefixes(
    records: Records, sequences: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Which records are the beginning of their user's sequence, bool [R]."""
    mine = starts[records.users]
    right = sequences[mine + records.lengths] == records.targets
    ends = np.cumsum(records.lengths, dtype=np.int64)
    first = 0
    while first < len(records):
        begin = ends[first] - records.lengths[first]
        last = int(np.searchsorted(ends, begin + _CHUNK, side="right"))
        last = min(max(last, first + 1), len(records))
        lengths = records.lengths[first:last]
        rows = np.repeat(np.arange(last - first), lengths)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        own = records.events[begin : ends[last - 1]]
        differ = sequences[mine[first:last][rows] + within] != own
        right[first:last] &= np.bincount(rows[differ], minlength=last - first) == 0
        first = last
    return right


def _are_first(records: Records, right: np.ndarray) -> np.ndarray:
    """Right records that no earlier one repeats, bool [R]."""
    rows = np.flatnonzero(right)
    both = np.stack([records.users[rows], records.lengths[rows]], axis=1)
    _, firsts = np.unique(both, axis=0, return_index=True)
    first = np.zeros(len(records), bool)
    first[rows[firsts]] = True
    return first


def _times(
    records: Records, first: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Times of all events, int64 [E], and which of them a record has, bool [E]."""
    places = starts[records.users[first]] + records.lengths[first]
    times = np.zeros(starts[-1], np.int64)
    known = np.zeros(len(times), bool)
    times[places] = records.times[first]
    known[places] = True
    # The last event of every sequence is a target, so that there is a next time.
    following = np.where(known, np.arange(len(times)), len(times))
    following = np.minimum.accumulate(following[::-1])[::-1]
    return times[following], known


def _parts(records: Records, first: np.ndarray) -> dict[str, np.ndarray]:
    total = len(records)
    cuts = [math.floor(total * _TRAIN), total - total // _FIFTHS]
    number = np.searchsorted(cuts, np.arange(total), side="right")
    parts = {}
    for place, name in enumerate(("train", "valid", "test")):
        rows = np.flatnonzero(first & (number == place))
        both = np.stack([records.users[rows], records.lengths[rows]], axis=1)
        parts[name] = both[np.lexsort(both.T[::-1])].astype(np.int32)
        if not len(both):
            raise UserError(f"{total:,} records leave nothing to {name}.")
    return parts


def _decreases(times: np.ndarray, users: np.ndarray) -> int:
    """Events that are earlier than the one before them."""
    return int(((np.diff(times) < 0) & (np.diff(users) == 0)).sum())


def _tested_before_trained(parts: dict[str, np.ndarray]) -> int:
    """Instances of validation and test that training has passed in its user."""
    users = np.concatenate([rows[:, 0] for rows in parts.values()])
    trained = np.zeros(users.max() + 1, np.int32)
    np.maximum.at(trained, parts["train"][:, 0], parts["train"][:, 1])
    later = np.concatenate([parts["valid"], parts["test"]])
    return int((later[:, 1] <= trained[later[:, 0]]).sum())


_SENTENCES = {
    "not_a_prefix": "{count:,} of {records:,} records are not the beginning of their "
    "user's sequence and are left out",
    "repeated": "{count:,} of {records:,} records repeat another and are left out",
    "users_without_record": "{count:,} users of the file of ids have no record",
    "earlier_than_before": "{count:,} events are earlier than the one before them in "
    "their user's sequence; they stay where the records have them",
    "tested_before_trained": "{count:,} instances of validation and test come before "
    "one of training in their user's sequence, as released",
}


def _sentences(path: Path, counts: dict[str, int], allow_mismatch: bool) -> list[str]:
    odd = [
        f"{path.name}: {text.format(count=counts[name], records=counts['records'])}."
        for name, text in _SENTENCES.items()
        if counts[name]
    ]
    share = counts["not_a_prefix"] / counts["records"]
    if share > _MOST_WRONG and not allow_mismatch:
        raise UserError(
            f"{odd[0]} That is {share:.0%} of them: the file is not what is expected. "
            + ALLOW_MISMATCH
        )
    return odd
