from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.a2svd import A2SVD
from mgnm_tf.keras2 import keras
from tests import reference

M, D, A = 12, 3, 4
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
    made = A2SVD(num_users=4, num_items=M, embedding_dim=D, attention_size=A)
    made(batch)
    for number, weight in enumerate(made.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return made


def shares(model, mask=HISTORY > 0, history=HISTORY):
    items = model.item_embedding(history)
    return model.attention.attend(items, tf.constant(mask)).numpy()


def expected_users(model):
    """Eq. 18-20, item by item."""
    table = model.item_embedding.embeddings.numpy().astype(float)
    return np.array(
        [
            reference.bag_attention(model.attention, table[row[row > 0]])
            for row in HISTORY
        ]
    )


def test_the_user_is_the_attentive_sum_of_the_items(model, batch):
    reference.assert_close(model.encode(batch), expected_users(model))


def test_the_perceptron_reads_user_and_candidate(model, batch):
    table = model.item_embedding.embeddings.numpy().astype(float)
    found = model(batch)
    for row, user in enumerate(expected_users(model)):
        for column, item in enumerate(CANDIDATES[row]):
            expected = reference.mlp_head(model.mlp, user, table[item])
            assert float(found[row, column]) == pytest.approx(expected, rel=1e-4)


def test_without_tau_the_user_is_the_mean_of_the_real_items(model, batch):
    model.attention.vector.kernel.assign(tf.zeros([A, 1]))
    table = model.item_embedding.embeddings.numpy()
    expected = [table[row[row > 0]].mean(axis=0) for row in HISTORY]
    reference.assert_close(model.encode(batch), expected)


def test_the_order_of_the_items_does_not_matter(model, batch):
    before = model(batch)
    batch["history"] = tf.constant(HISTORY[:, [2, 0, 3, 1]])
    np.testing.assert_allclose(model(batch), before, rtol=1e-4, atol=1e-5)


def test_shares_sum_to_one_over_the_real_items_and_spare_padding(model):
    found = shares(model)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    assert not found[HISTORY == 0].any()
    assert (found[HISTORY > 0] > 0).all()


def test_a_repeated_item_counts_each_time(model):
    found = shares(model)[1]
    assert found[1] == found[3] > 0


def test_shares_by_hand():
    model = A2SVD(4, M, embedding_dim=1)
    batch = {"history": tf.constant([[0, 1, 2]])}
    model.encode(batch)
    table = np.zeros((M, 1), np.float32)
    table[:3] = [[7], [1], [2]]
    model.item_embedding.embeddings.assign(table)
    model.attention.hidden_layer.set_weights([np.ones((1, 1)), np.zeros(1)])
    model.attention.vector.kernel.assign([[1.0]])
    # exp(tanh 1) and exp(tanh 2) over their sum.
    expected = [[0, 0.4496, 0.5504]]
    history = batch["history"].numpy()
    np.testing.assert_allclose(shares(model, history > 0, history), expected, atol=1e-4)
    np.testing.assert_allclose(model.encode(batch), [[1.5504]], atol=1e-4)


def test_the_user_of_one_item_is_that_item(model, batch):
    expected = model.item_embedding.embeddings[5]
    np.testing.assert_allclose(model.encode(batch)[2], expected, rtol=1e-6)


def test_an_empty_history_has_the_zero_user(model, batch):
    batch["history"] = tf.zeros([3, 4], tf.int32)
    assert not model.encode(batch).numpy().any()


def test_the_attention_is_as_wide_as_the_items_unless_told(batch):
    model = A2SVD(4, M, embedding_dim=D)
    model(batch)
    assert model.attention.hidden_layer.kernel.shape == (D, D)


def test_half_precision_scores_alike(model, batch):
    expected = model(batch).numpy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        half = A2SVD(4, M, embedding_dim=D, attention_size=A)
        half(batch)
        half.set_weights(model.get_weights())
        found = half(batch)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def test_a_wrong_argument_is_named():
    with pytest.raises(ValueError, match="`attention_size` must be positive"):
        A2SVD(4, M, attention_size=0)
