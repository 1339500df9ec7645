"""The candidate sets of the protocols: what a positive is ranked against."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

from data import atomic, caches, manifest
from data.altered_histories import Reordered, has_simultaneous
from data.errors import UserError
from data.prepared import PreparedData
from data.store import SequenceStore

# Names of the protocols; "full" ranks against the whole catalogue and draws nothing.
SAMPLED_PROTOCOLS = ("uni1000", "pop1000")
PROTOCOLS = (*SAMPLED_PROTOCOLS, "full")
NUM_NEGATIVES = 1_000
_CHUNK = 256


def candidate_negatives(
    data: PreparedData, part: str, protocol: str, seed: int
) -> np.ndarray:
    """Negatives of every instance of a part: the same for all models and reruns.

    "uni1000" draws uniformly, "pop1000" proportionally to the number of training
    events, both without replacement and neither the positive nor, unless the data
    keep it (`PreparedData.keeps_past`), an item of the user's whole known past. A row
    depends on the seed and on its user's past alone: not on other rows, nor on what
    happens later.

    Returns:
        int32 [n, 1000], memory-mapped; kept beside the prepared data, or in the
        user's cache where that cannot be written, but not those of `Reordered` data.
        Where fewer items are eligible a row holds all of them, then zeros.
    """
    if isinstance(data, Reordered):
        return _redraw(data, part, protocol, seed)
    name = f"candidates-{part}-{protocol}-{seed}.npy"
    own = caches.user_folder() / "candidates" / data.meta["sha256"]
    folders = [data.folder, own]
    for folder in folders:
        if _is_whole(folder / name, (len(data.instances[part]), NUM_NEGATIVES)):
            return _mapped(folder / name)
    drawn = _draw(data, data.instances[part], protocol, seed)
    for folder in folders:
        if caches.is_writable(folder):
            _keep(folder / name, drawn)
            return _mapped(folder / name)
    logging.warning(
        "Neither %s nor %s can be written: candidates are drawn anew each time.",
        *folders,
    )
    return drawn


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _keep(path: Path, drawn: np.ndarray) -> None:
    """Writes candidates, and after them what they have to be."""
    with atomic.whole_file(path) as partial:
        np.save(partial, drawn, allow_pickle=False)
    atomic.write_json(path.with_suffix(".json"), manifest.describe(path))


def _is_whole(path: Path, shape: tuple[int, int]) -> bool:
    """Whether candidates are kept and as they were drawn; says it if they are not."""
    if not path.exists():
        return False
    try:
        wanted = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if wanted["dtype"] != "<i4" or wanted["shape"] != [*shape]:
            raise UserError(f"{path} is of other data.")
        manifest.check(path.parent, {path.name: wanted}, "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        logging.warning("%s is drawn again: %s", path, error)
        return False
    return True


def _redraw(data: Reordered, part: str, protocol: str, seed: int) -> np.ndarray:
    """The stored order's negatives, drawn anew where target or past may differ."""
    instances = data.instances[part]
    negatives = np.array(candidate_negatives(data.stored, part, protocol, seed))
    rows = np.flatnonzero(has_simultaneous(data.store, instances))
    if len(rows):
        negatives[rows] = _draw(data, instances[rows], protocol, seed)
    return negatives


def _draw(
    data: PreparedData, instances: np.ndarray, protocol: str, seed: int
) -> np.ndarray:
    if protocol == "uni1000":
        slots = np.arange(1, data.num_items, dtype=np.int32)
    elif protocol == "pop1000":
        slots = data.train_events().items
    else:
        raise UserError(f"No candidates are drawn for the protocol {protocol!r}.")
    rows = [
        draw_from_slots(
            data.store,
            instances[i : i + _CHUNK],
            slots,
            seed,
            keeps_past=data.keeps_past,
        )
        for i in range(0, len(instances), _CHUNK)
    ]
    return np.concatenate(rows)


def draw_from_slots(
    store: SequenceStore,
    instances: np.ndarray,
    slots: np.ndarray,
    seed: int,
    count: int = NUM_NEGATIVES,
    keeps_past: bool = False,
) -> np.ndarray:
    """Walks the slots in an order of each instance's own, keeping new, unseen items.

    With `keeps_past` seen items are kept too.

    Slots hold item ids, an item as often as it weighs: taking each item where it is
    first met is sampling without replacement in proportion to the weights.

    Returns:
        int32 [n, count], padded with zeros where the slots run out.
    """
    users, ends = instances.astype(np.int64).T
    targets = store.items[store.offsets[users] + ends]
    seed_key = _mix(np.array(seed, np.uint64))
    keys = _mix(_mix(seed_key ^ users.view(np.uint64)) ^ ends.view(np.uint64))
    result = np.zeros((len(instances), count), dtype=np.int32)
    walk = _Walk(slots)
    allowed = np.ones(store.num_items, dtype=bool)
    # Where an item is met first; only those of this row's walk are ever read.
    first_met = np.zeros(store.num_items, dtype=np.int64)
    width = 2 * count
    for row, rounds in enumerate(walk.rounds(keys)):
        past = targets[row : row + 1]
        if not keeps_past:
            past = np.append(store.seen_before(users[row], ends[row]), past)
        allowed[0] = allowed[past] = False
        while True:
            drawn = walk.first_steps(rounds, width)
            steps = np.arange(len(drawn))
            # Of several writes to one place the last one stays.
            first_met[drawn[::-1]] = steps[::-1]
            kept = drawn[(first_met[drawn] == steps) & allowed[drawn]][:count]
            if len(kept) == count or len(drawn) == walk.length:
                break
            # Start over with a longer walk: its beginning is the same. The next rows
            # start with it.
            width *= 2
        result[row, : len(kept)] = kept
        allowed[past] = True
    return result


class _Walk:
    """A keyed permutation of slots, step by step, an own one for each key.

    A four-round Feistel network permutes a power of four at least as large as the
    number of slots, so steps never repeat a slot and none needs a stored permutation.
    What a round adds to a half depends on the other half alone: a table by its values.

    Args:
        slots: item ids; steps off the slots give 0.
    """

    def __init__(self, slots: np.ndarray) -> None:
        self.length = _domain(len(slots))
        self._half = (self.length.bit_length() - 1) // 2
        self._slots = np.zeros(self.length, dtype=np.int64)
        self._slots[: len(slots)] = slots

    def rounds(self, keys: np.ndarray) -> Iterator[np.ndarray]:
        """The four tables of each key: int64 [4, 2^half]."""
        halves = np.arange(1 << self._half, dtype=np.uint64)
        low = np.uint64(len(halves) - 1)
        numbers = np.arange(4, dtype=np.uint64)
        for start in range(0, len(keys), _CHUNK):
            own = _mix(keys[start : start + _CHUNK, None] + numbers)
            yield from (_mix(halves ^ own[..., None]) & low).astype(np.int64)

    def first_steps(self, rounds: np.ndarray, width: int) -> np.ndarray:
        """Items of `width` steps or a few more, int64, but of no more than all."""
        halves = np.arange(1 << self._half)
        count = min(-(-width >> self._half), len(halves))
        left, right = halves[:count, None], halves[None]  # A step is a pair of halves.
        for table in rounds:
            left, right = right, left ^ table[right]
        return self._slots[((left << self._half) | right).ravel()]


def _domain(size: int) -> int:
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    return 1 << (2 * half)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014) of 64-bit integers."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
