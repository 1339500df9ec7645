"""What tests of the models' contract share: a batch, and two of its checks."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from experiments.studies.audit import checks, findings

N, M, T, MAX_HISTORY = 9, 31, 8, 20


def make_batch():
    """Five requests of histories of 3, 8, 1, 5 and 0 items, of six candidates each."""
    rng = np.random.default_rng(0)
    history = rng.integers(1, M, (5, T)).astype(np.int32)
    # Nothing known of a user is a request too.
    for row, length in enumerate([3, T, 1, 5, 0]):
        history[row, : T - length] = 0
    candidates = np.stack([rng.permutation(np.arange(1, M))[:6] for _ in range(5)])
    times = np.where(history > 0, 1_000_000 + 5_000 * np.arange(T), 0)
    return {
        "user": np.array([1, 8, 3, 0, 5], np.int32),
        "history": history,
        "candidates": candidates.astype(np.int32),
        "history_times": times.astype(np.int64),
        "target_time": np.full(5, 2_000_000, np.int64),
    }


def tensors(batch):
    return {key: tf.constant(value) for key, value in batch.items()}


def score(model, batch):
    return model(tensors(batch), training=False).numpy()


def traced(model, batch):
    """The scores of any batch, by one graph for all sizes, as ranking has them."""
    spec = {
        key: tf.TensorSpec([None] * value.ndim, value.dtype)
        for key, value in batch.items()
    }
    graph = tf.function(lambda given: model(given, training=False), [spec])
    return lambda given: graph(tensors(given)).numpy()


def check_alone(score_of, batch, name):
    """What a request stands among, its padding or its row change no score.

    `score_of` gives the scores of a batch.
    """
    found = checks.compare(name, score_of, batch)
    assert found.verdict == findings.OK


def check_padding(model, batch):
    """What the padding's row of the item table holds changes no score."""
    before = score(model, batch)
    table = model.item_embedding.embeddings
    kept = table.numpy()
    table.scatter_nd_update([[0]], tf.fill([1, kept.shape[1]], 9.0))
    after = score(model, batch)
    table.assign(kept)
    np.testing.assert_array_equal(before, after)


def check_gradients(model, batch):
    """Every weight has a finite gradient, somewhere not zero."""
    given = tensors({key: value[:4] for key, value in batch.items()})
    with tf.GradientTape() as tape:
        logits = model.training_logits(given)
        loss = tf.reduce_sum(tf.nn.softplus(logits)) - tf.reduce_sum(logits[..., 0])
    weights = model.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        dense = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(dense).all(), weight.name
        assert np.abs(dense).max() > 0, weight.name
