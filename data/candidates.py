"""The candidate sets of the protocols: what a positive is ranked against."""

from __future__ import annotations

import json
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
    """As of the stored order, but where the target or the past may be others."""
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
    users, ends = instances[:, :1].astype(np.int64), instances[:, 1:].astype(np.int64)
    targets = store.items[store.offsets[users] + ends]
    keys = _mix(
        _mix(_mix(np.array(seed, np.uint64)) ^ users.view(np.uint64))
        ^ ends.view(np.uint64)
    )
    result = np.zeros((len(instances), count), dtype=np.int32)
    pending = np.arange(len(instances))
    width = count
    while len(pending):
        # Start over with a longer walk: its beginning is the same.
        width = min(2 * width, _domain(len(slots)))
        drawn = _walk(slots, keys[pending], width)
        wrong = (drawn == 0) | (drawn == targets[pending]) | _repeats(drawn)
        if not keeps_past:
            wrong |= store.was_seen(users[pending], ends[pending], drawn)
        order = np.argsort(wrong, axis=1, kind="stable")[:, :count]
        kept = np.where(
            np.take_along_axis(wrong, order, 1), 0, np.take_along_axis(drawn, order, 1)
        )
        result[pending, : kept.shape[1]] = kept
        if width == _domain(len(slots)):
            break
        pending = pending[np.sum(~wrong, axis=1) < count]
    return result


def _walk(slots: np.ndarray, keys: np.ndarray, width: int) -> np.ndarray:
    """The first `width` steps of a keyed permutation of the slots; 0 off the slots.

    A four-round Feistel network permutes a power of four at least as large as the
    number of slots, so steps never repeat a slot and none needs a stored permutation.
    """
    half = (_domain(len(slots)).bit_length() - 1) // 2
    low = np.uint64((1 << half) - 1)
    steps = np.arange(width, dtype=np.uint64)[None]
    left, right = steps >> np.uint64(half), steps & low
    for number in range(4):
        mixed = _mix(right ^ _mix(keys + np.uint64(number))) & low
        left, right = right, left ^ mixed
    places = (left << np.uint64(half)) | right
    off = places >= len(slots)
    return np.where(off, 0, slots[np.where(off, 0, places).astype(np.int64)])


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


def _repeats(rows: np.ndarray) -> np.ndarray:
    """True at each occurrence of a value in its row after the first."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    result = np.empty_like(again)
    np.put_along_axis(result, order, again, axis=1)
    return result
