"""Scores of candidates, whatever the length of their histories."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from data.errors import UserError
from data.pipeline import NumpyBatch
from data.prepared import PreparedData

# The longest history of a batch, from its shortest: a factor, and events on top.
_STRETCH, _SLACK = 1.25, 4


# Catalogue items scored at a time in full ranking.
CATALOGUE_CHUNK = 1_024


# Data, instances and the longest history -> a batch without candidates.
Gather = Callable[[PreparedData, np.ndarray, int], NumpyBatch]


NOT_FINITE = (
    "The model gives scores that are not finite numbers. Training has diverged: lower "
    "the learning rate."
)


def check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise UserError(NOT_FINITE)


def tensors(batch: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {key: tf.convert_to_tensor(value) for key, value in batch.items()}


def like_lengths(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in batches of at most `size`, shortest first.

    A few long histories would make padding of all the short ones in their batch.
    """
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    start = 0
    while start < len(order):
        longest = ordered[start] * _STRETCH + _SLACK
        stop = int(np.searchsorted(ordered, longest, side="right"))
        stop = min(stop, start + size)
        yield order[start:stop]
        start = stop


def whole_users(users: np.ndarray, size: int) -> Iterator[slice]:
    """Cuts rows that are ordered by user into slabs of about `size`, users whole."""
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    start = 0
    while start < len(users):
        later = starts[starts >= start + size]
        stop = int(later[0]) if len(later) else len(users)
        yield slice(start, stop)
        start = stop


def distinct_past(data: PreparedData, instances: np.ndarray) -> np.ndarray:
    """Each user's whole known past, an item once: int32 [B, P], zero-padded.

    None of it where the data keep the past among the candidates.
    """
    if data.keeps_past:
        return np.zeros((len(instances), 1), dtype=np.int32)
    offsets = data.store.offsets
    pasts = [
        np.unique(data.store.items[offsets[user] : offsets[user] + end])
        for user, end in instances
    ]
    result = np.zeros((len(pasts), max(map(len, pasts))), dtype=np.int32)
    for row, past in zip(result, pasts):
        row[: len(past)] = past
    return result
