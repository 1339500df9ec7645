"""Seeded negatives: a few a batch in training, fixed candidate sets in evaluation."""

from __future__ import annotations

import numpy as np

from data.store import SequenceStore

_MAX_ROUNDS = 1_000


def sample_negatives(
    store: SequenceStore,
    users: np.ndarray,
    ends: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws training negatives, uniform over the items that are not positives.

    Neither the target nor any item of the user's whole past is drawn. Departs from
    the authors' code, which spares the last 100 events only, so that an older
    purchase can be a negative, and never draws the highest ids.

    Returns:
        int32 [B, count]; items of a row may repeat.

    Raises:
        ValueError: if a user has had nearly every item, so that none is left.
    """
    users, ends = users[:, None], ends[:, None]
    targets = store.items[store.offsets[users] + ends]
    drawn = rng.integers(1, store.num_items, (len(users), count), dtype=np.int32)
    for _ in range(_MAX_ROUNDS):
        wrong = store.was_seen(users, ends, drawn) | (drawn == targets)
        if not wrong.any():
            return drawn
        drawn[wrong] = rng.integers(1, store.num_items, int(wrong.sum()))
    row = int(np.flatnonzero(wrong.any(axis=1))[0])
    raise ValueError(
        f"No negative is left for user {users[row, 0]} at event {ends[row, 0]}, who "
        f"has had nearly all of the {store.num_items - 1} items."
    )


def shared_negatives(
    num_items: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws the negatives of a whole batch, uniform over the catalogue.

    Args:
        num_items: size of the item vocabulary, padding included.
        count: how many; of a smaller catalogue all items are taken.
        rng: for the draw.

    Returns:
        int32 [min(count, num_items - 1)]; no item twice.
    """
    count = min(count, num_items - 1)
    drawn = rng.choice(num_items - 1, count, replace=False, shuffle=False)
    return (drawn + 1).astype(np.int32)
