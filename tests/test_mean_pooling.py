from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.mean_pooling import MeanPooling
from mgnm_tf.keras2 import keras

M, D = 12, 3
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9], [0, 0, 0, 0]], np.int32)
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11]], np.int32)


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2, 3]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


@pytest.fixture
def model(batch):
    made = MeanPooling(num_users=4, num_items=M, embedding_dim=D, embedding_stddev=1.0)
    made(batch)
    return made


def test_logits_are_products_with_the_mean_of_the_real_items(model, batch):
    table = model.item_embedding.embeddings.numpy().astype(float)
    found = model(batch)
    for row in range(3):
        real = [table[item] for item in HISTORY[row] if item > 0]
        mean = [sum(x[d] for x in real) / max(len(real), 1) for d in range(D)]
        for column, item in enumerate(CANDIDATES[row]):
            expected = sum(mean[d] * table[item, d] for d in range(D))
            assert float(found[row, column]) == pytest.approx(expected, rel=1e-5)


def test_a_mean_by_hand(model):
    table = np.zeros((M, D), np.float32)
    table[1:3] = [[1, 0, 2], [4, 6, 0]]
    model.item_embedding.embeddings.assign(table)
    # Item 1 twice and item 2 once: (6, 6, 4) / 3.
    found = model.encode({"history": tf.constant([[0, 1, 2, 1]])})
    np.testing.assert_allclose(found, [[2, 2, 4 / 3]], rtol=1e-6)


def test_an_empty_history_has_the_zero_state(model, batch):
    assert not model.encode(batch).numpy()[2].any()


def test_the_order_of_the_items_does_not_matter(model, batch):
    before = model.encode(batch)
    batch["history"] = tf.constant(HISTORY[:, [2, 0, 3, 1]])
    np.testing.assert_allclose(model.encode(batch), before, rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_items_of_history_and_candidates_only(model, batch):
    table = model.item_embedding.embeddings
    with tf.GradientTape() as tape:
        # A logit of row 2 is zero: only the others pass a gradient on.
        loss = tf.reduce_sum(tf.exp(model(batch, training=True)))
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    reached = {*np.flatnonzero(np.abs(gradient).max(axis=1)).tolist()}
    expected = HISTORY[HISTORY > 0].tolist() + CANDIDATES[:2].ravel().tolist()
    assert reached == {*expected}


def test_a_long_history_has_a_mean_in_half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = MeanPooling(4, M, embedding_dim=D)
        batch = {"history": tf.fill([1, 3000], 5)}
        model.encode(batch)
        model.item_embedding.embeddings.assign(tf.fill([M, D], 50.0))
        # The sum, 150,000, is beyond float16.
        np.testing.assert_allclose(model.encode(batch), np.full((1, D), 50.0))
    finally:
        keras.mixed_precision.set_global_policy("float32")
