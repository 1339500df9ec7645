from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.a2svd import A2SVD
from tests import reference

M, D = 12, 3
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9], [0, 0, 0, 5]], np.int32)
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
    """All weights of a size that matters, biases included."""
    made = A2SVD(num_users=4, num_items=M, embedding_dim=D)
    made(batch)
    for number, weight in enumerate(made.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return made


def expected_user(model, history):
    """Eq. 18-20, item by item; also the weights."""
    items = model.item_embedding.embeddings.numpy().astype(float)
    kernel, bias = (w.numpy() for w in model.attention_hidden.weights)
    query = model.attention_query.kernel.numpy()[:, 0]
    real = [items[item] for item in history if item]
    weights = [np.exp(np.tanh(x @ kernel + bias) @ query) for x in real]
    weights = np.array(weights) / sum(weights)
    return sum(w * x for w, x in zip(weights, real)), weights


def test_the_user_is_eq_18_to_20(model, batch):
    expected = [expected_user(model, row)[0] for row in HISTORY]
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-4, atol=1e-6)


def test_the_head_reads_user_and_candidate(model, batch):
    items = model.item_embedding.embeddings.numpy().astype(float)
    for row, history in enumerate(HISTORY):
        user, _ = expected_user(model, history)
        for column, item in enumerate(CANDIDATES[row]):
            expected = reference.mlp_head(model.head, user, items[item])
            found = float(model(batch)[row, column])
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_weights_are_a_distribution_over_the_real_items(model, batch):
    history = model.item_embedding(batch["history"])
    found = model.attend(history, tf.constant(HISTORY > 0)).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
    assert (found[HISTORY == 0] == 0).all()
    assert (found[HISTORY > 0] > 0).all()


def test_a_query_of_zero_takes_the_mean(model, batch):
    model.attention_query.kernel.assign(tf.zeros([D, 1]))
    items = model.item_embedding.embeddings.numpy()
    expected = [items[row[row > 0]].mean(axis=0) for row in HISTORY]
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-5)


def test_the_order_of_the_history_does_not_matter(model, batch):
    turned = {**batch, "history": batch["history"][:, ::-1]}
    np.testing.assert_allclose(model.encode(turned), model.encode(batch), rtol=1e-5)


def test_one_item_is_the_user(model, batch):
    expected = model.item_embedding.embeddings[5]
    np.testing.assert_allclose(model.encode(batch)[2], expected, rtol=1e-6)


def test_weights_by_hand():
    model = A2SVD(num_users=2, num_items=3, embedding_dim=1)
    batch = {"history": tf.constant([[1, 2]]), "candidates": tf.constant([[1]])}
    model(batch)
    model.item_embedding.embeddings.assign([[0.0], [1.0], [2.0]])
    model.attention_hidden.kernel.assign([[1.0]])
    model.attention_query.kernel.assign([[1.0]])
    history = model.item_embedding(batch["history"])
    found = model.attend(history, tf.constant([[True, True]]))
    np.testing.assert_allclose(found, [[0.4496, 0.5504]], atol=1e-4)
    np.testing.assert_allclose(model.encode(batch), [[1.5504]], atol=1e-4)
