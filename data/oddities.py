"""What is unusual about prepared sequences, and the instances nobody can rank."""

from __future__ import annotations

import numpy as np

from data.errors import UserError
from data.prepared import PARTS
from data.store import SequenceStore

# A share of repeated targets from which a scorer that knows only what a user had
# before is hard to beat.
_MANY_REPEATS = 0.1
# Cutoffs of the metrics; a positive should have ten times as many others.
_CUTOFFS = (5, 10, 20)
_KEEP_PAST = "--keep_past of data.prepare and experiments.from_log"


def with_negatives(
    store: SequenceStore, parts: dict[str, np.ndarray], keeps_past: bool
) -> tuple[dict[str, np.ndarray], int]:
    """Leaves out instances against which no item can stand.

    These are of users who, with the target, have had every item. What validates and
    tests is also ranked against items drawn from the training events, so one of these
    must be left. With `keeps_past` all but the target can stand against it.

    Returns:
        The instances; and how many were left out.

    Raises:
        UserError: if nothing is left of a part.
    """
    kept: dict[str, np.ndarray] = {}
    among = np.arange(store.num_items) > 0
    for name in PARTS:
        rows = parts[name]
        others = _others(store, rows, among, keeps_past)
        kept[name] = rows[others > 0]
        if not len(kept[name]):
            what = "items" if name == "train" else "items that train"
            raise UserError(
                f"All {len(rows)} {name} instances are of users who have had every one "
                f"of the {among.sum()} {what}, so that nothing can be ranked against "
                f"their targets. More items are needed, or {_KEEP_PAST}."
            )
        if name == "train":
            _, trained = store.events_up_to(kept[name])
            among = np.isin(np.arange(store.num_items), store.items[trained])
    without = sum(len(rows) - len(kept[name]) for name, rows in parts.items())
    return kept, without


def count_repeats(store: SequenceStore, test: np.ndarray) -> dict[str, int]:
    """Events, and test targets, whose item the user had before."""
    users, ends = test.T.astype(np.int64)
    targets = store.items[store.offsets[users] + ends]
    return {
        "repeats": len(store.items) - len(store.seen_keys),
        "repeated_test_targets": int(store.was_seen(users, ends, targets).sum()),
        "test_targets": len(test),
    }


def of_instances(
    store: SequenceStore,
    rule: str,
    without: int,
    repeats: dict[str, int],
    keeps_past: bool,
) -> list[str]:
    """Sentences on what decides results, or makes them say little.

    Args:
        store: the sequences.
        rule: the split's name.
        without: instances left out by `with_negatives`.
        repeats: what `count_repeats` returns.
        keeps_past: whether the past stays among the candidates.
    """
    sentences = []
    catalogue = store.num_items - 1
    if without:
        sentences.append(
            f"{without:,} {_are(without, 'instance')} left out: with the target, the "
            "user has had all items, or all that train, and nothing can be ranked "
            f"against it. {_KEEP_PAST} keeps such instances."
        )
    small = [k for k in _CUTOFFS if catalogue < 10 * k]
    if small:
        sentences.append(
            f"The catalogue has {catalogue:,} items. Metrics at "
            f"{', '.join(map(str, small))} say little: fewer than ten times as many "
            "items are ranked."
        )
    targets = repeats["repeated_test_targets"]
    tested = repeats["test_targets"]
    if targets > _MANY_REPEATS * tested and not keeps_past:
        sentences.append(
            f"Repeats decide: {targets / tested:.0%} of the test targets are items "
            "that the user had before, and no other item of the past is a candidate. "
            "A scorer that only asks what a user had before ranks these first. "
            f"{_KEEP_PAST} keeps the past among the candidates."
        )
    if rule == "leave_one_out" and store.times is not None:
        sentences.append(
            "leave_one_out on dated data: training sees events of other users that "
            "are later than what is tested. global_time does not."
        )
    return sentences


def _others(
    store: SequenceStore, instances: np.ndarray, among: np.ndarray, keeps_past: bool
) -> np.ndarray:
    """How many of some items [num_items] can stand against each target: int64 [n]."""
    at = store.offsets[instances[:, 0]] + instances[:, 1]
    if keeps_past:
        return among.sum() - among[store.items[at]]
    owners, items = np.divmod(store.seen_keys, store.num_items)
    first = np.zeros(len(store.items) + 1, np.int64)
    first[store.offsets[owners] + store.seen_first + 1] = among[items]
    total = np.cumsum(first)  # Of the events before each, of earlier users too.
    return among.sum() - (total[at + 1] - total[store.offsets[instances[:, 0]]])


def _are(count: int, what: str) -> str:
    return f"{what} is" if count == 1 else f"{what}s are"
