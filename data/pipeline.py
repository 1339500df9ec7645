"""Instances -> batches, gathered whole from the flat arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from data import carried
from data.negatives import sample_negatives, shared_negatives
from data.prepared import PreparedData

# Batches that are sorted by length together: long enough to make batches of like
# length, short enough (and shuffled afterwards) to keep an epoch's order random.
_POOL_BATCHES = 64

NumpyBatch = dict[str, np.ndarray]


def gather_histories(
    data: PreparedData, instances: np.ndarray, max_history: int
) -> NumpyBatch:
    """Everything of a batch but its candidates, cut to its longest history.

    Args:
        data: the prepared data set.
        instances: [B, 2] of `(user, end)`.
        max_history: the newest events to keep.

    Returns:
        Keys and shapes of `mgnm_tf.batch.Batch`; times if the data has them.
    """
    store = data.store
    users, ends = instances[:, 0], instances[:, 1].astype(np.int64)
    length = min(max_history, int(ends.max()))
    positions = ends[:, None] - length + np.arange(length)  # [B, T]
    real = positions >= 0
    starts = store.offsets[users]
    rows = starts[:, None] + np.maximum(positions, 0)
    batch = {"user": users, "history": np.where(real, store.items[rows], 0)}
    if store.times is not None:
        batch["history_times"] = np.where(real, store.times[rows], 0)
        batch["target_time"] = store.times[starts + ends]
    return batch


def targets(data: PreparedData, instances: np.ndarray) -> np.ndarray:
    """The next items, int32 [B]."""
    return data.store.items[data.store.offsets[instances[:, 0]] + instances[:, 1]]


def epoch_order(
    lengths: np.ndarray,
    batch_size: int,
    rng: np.random.Generator,
    pool_batches: int = _POOL_BATCHES,
) -> list[np.ndarray]:
    """Shuffles instances into batches of like length.

    The time of a batch grows with its longest history; random batches of Amazon data
    pay for 94 positions where the mean history has 8. With `pool_batches=1` batches
    are random, to measure what the order is worth.

    Returns:
        Row numbers, one array a batch; every row is in exactly one.
    """
    shuffled = rng.permutation(len(lengths))
    batches = []
    pool = pool_batches * batch_size
    for start in range(0, len(shuffled), pool):
        rows = shuffled[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += np.split(rows, np.arange(batch_size, len(rows), batch_size))
    rng.shuffle(batches)
    return batches


def training_batches(
    data: PreparedData,
    epoch: int,
    seed: int,
    batch_size: int,
    num_negatives: int,
    max_history: int,
    first_step: int = 0,
    pool_batches: int = _POOL_BATCHES,
    share_negatives: bool = False,
) -> Iterator[NumpyBatch]:
    """Batches of one epoch, from `first_step` on; column 0 of candidates is positive.

    With `share_negatives` the negatives are not drawn for each row: `num_negatives`
    different items of the whole catalogue, or all of a smaller one, are in the batch's
    "shared_negatives" [N]. One of them may be a row's positive, or in its history.

    Everything random depends on (seed, epoch, step) alone, so that a resumed run
    reads what an uninterrupted one would have read.
    """
    instances = data.instances["train"]
    lengths = np.minimum(instances[:, 1], max_history)
    rng = np.random.default_rng([seed, epoch])
    order = epoch_order(lengths, batch_size, rng, pool_batches)
    for step, rows in enumerate(order[first_step:], start=first_step):
        chosen = instances[rows]
        step_rng = np.random.default_rng([seed, epoch, step])
        batch = gather_histories(data, chosen, max_history)
        positives = targets(data, chosen)[:, None]
        if share_negatives:
            shared = shared_negatives(data.num_items, num_negatives, step_rng)
            yield {**batch, "candidates": positives, "shared_negatives": shared}
            continue
        negatives = sample_negatives(
            data.store,
            chosen[:, 0],
            chosen[:, 1],
            num_negatives,
            step_rng,
            data.keeps_past,
        )
        batch["candidates"] = np.concatenate([positives, negatives], axis=1)
        yield batch


def batch_signature(
    data: PreparedData, share_negatives: bool = False
) -> dict[str, Any]:
    """`tf.TensorSpec`s of a batch: one trace serves every length and batch size."""
    import tensorflow as tf

    signature = {
        "user": tf.TensorSpec([None], tf.int32),
        "history": tf.TensorSpec([None, None], tf.int32),
        "candidates": tf.TensorSpec([None, None], tf.int32),
    }
    if data.has_times:
        signature["history_times"] = tf.TensorSpec([None, None], tf.int64)
        signature["target_time"] = tf.TensorSpec([None], tf.int64)
    if share_negatives:
        signature["shared_negatives"] = tf.TensorSpec([None], tf.int32)
    return signature


def training_dataset(
    data: PreparedData,
    replicas: int = 1,
    own_replicas: range = range(1),
    share_negatives: bool = False,
    **arguments: Any,
) -> Any:
    """`training_batches` as a `tf.data.Dataset`, gathered ahead of the model.

    Of `replicas` that share each batch, `own_replicas` get their shares one by one;
    all shares are as long as the batch's longest history. Negatives that a batch
    shares go whole to each of them. A last batch of fewer rows than replicas repeats
    them: TensorFlow's recurrent kernels have no gradient of an empty share, or a wrong
    one.
    """
    import tensorflow as tf

    def shares() -> Iterator[NumpyBatch]:
        batches = training_batches(data, share_negatives=share_negatives, **arguments)
        for batch in batches:
            shared = {}
            if share_negatives:
                shared["shared_negatives"] = batch.pop("shared_negatives")
            if len(batch["user"]) < replicas:
                batch = {
                    key: np.resize(value, (replicas, *value.shape[1:]))
                    for key, value in batch.items()
                }
            for number in own_replicas:
                own = {
                    key: np.array_split(value, replicas)[number]
                    for key, value in batch.items()
                }
                yield {**own, **shared}

    return tf.data.Dataset.from_generator(
        lambda: carried.keeping(shares()),
        output_signature=batch_signature(data, share_negatives),
    ).prefetch(4)
