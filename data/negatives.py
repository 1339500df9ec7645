"""Seeded negatives: a few a batch in training, fixed candidate sets in evaluation."""

from __future__ import annotations

import numpy as np

from data.errors import UserError
from data.store import SequenceStore

# After so many rounds what is left is drawn from a list of what is eligible.
_MAX_ROUNDS = 100


def sample_negatives(
    store: SequenceStore,
    users: np.ndarray,
    ends: np.ndarray,
    count: int,
    rng: np.random.Generator,
    keeps_past: bool = False,
) -> np.ndarray:
    """Draws training negatives, uniform over the items that are not positives.

    Neither the target nor, without `keeps_past`, any item of the user's whole past is
    drawn. Departs from the authors' code, which spares the last 100 events only, so
    that an older purchase can be a negative, and never draws the highest ids.

    Returns:
        int32 [B, count]; items of a row may repeat.

    Raises:
        UserError: if a user has had every item, so that none is left.
    """
    users, ends = users[:, None], ends[:, None]
    targets = store.items[store.offsets[users] + ends]
    drawn = rng.integers(1, store.num_items, (len(users), count), dtype=np.int32)
    for _ in range(_MAX_ROUNDS):
        wrong = drawn == targets
        if not keeps_past:
            wrong |= store.was_seen(users, ends, drawn)
        if not wrong.any():
            return drawn
        drawn[wrong] = rng.integers(1, store.num_items, int(wrong.sum()))
    for row in np.flatnonzero(wrong.any(axis=1)):
        eligible = _eligible(store, users[row], ends[row], targets[row], keeps_past)
        drawn[row, wrong[row]] = rng.choice(eligible, int(wrong[row].sum()))
    return drawn


def _eligible(
    store: SequenceStore,
    user: np.ndarray,
    end: np.ndarray,
    target: np.ndarray,
    keeps_past: bool,
) -> np.ndarray:
    items = np.arange(1, store.num_items, dtype=np.int32)
    fits = items != target
    if not keeps_past:
        fits &= ~store.was_seen(user, end, items)
    if not fits.any():
        raise UserError(
            f"No negative is left for the user of id {user[0]} at event {end[0]}, who "
            f"has had all {store.num_items - 1} items. Prepare the data again: "
            "`data.prepare` leaves such instances out."
        )
    return items[fits]


def shared_negatives(
    num_items: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws the negatives of a whole batch, uniform over the catalogue.

    Args:
        num_items: size of the item vocabulary, padding included.
        count: how many; of a smaller catalogue all items are taken.
        rng: the generator that draws.

    Returns:
        int32 [min(count, num_items - 1)]; no item twice.
    """
    count = min(count, num_items - 1)
    drawn = rng.choice(num_items - 1, count, replace=False, shuffle=False)
    return (drawn + 1).astype(np.int32)
