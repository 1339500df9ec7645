"""Both models of ComiRec: dynamic routing, and self-attention."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.comirec_dr import ComiRecDR
from baselines.comirec_sa import ComiRecSA
from mgnm_tf.ops import squash
from tests import reference

M, D, K, MAX_HISTORY = 12, 3, 2, 7
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9], [0, 0, 0, 5]], np.int32)
CANDIDATES = np.array([[6, 2, 8], [10, 3, 1], [4, 11, 2]], np.int32)
KINDS = {"dr": ComiRecDR, "sa": ComiRecSA}


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2, 3]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(kind, batch, **changes):
    """All weights of a size that matters, biases included."""
    arguments = {"num_interests": K, "embedding_dim": D, "max_history": MAX_HISTORY}
    model = KINDS[kind](num_users=4, num_items=M, **{**arguments, **changes})
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def real_items(model, history):
    items = model.item_embedding.embeddings.numpy().astype(float)
    return [(place, items[item]) for place, item in enumerate(history) if item]


def routed(model, history, iterations=3):
    """ComiRec-DR's interests of one history, vote by vote; and the last shares."""
    kernel = model.kernel.numpy().astype(float)[MAX_HISTORY - len(history) :]
    votes = np.array(
        [
            [x @ kernel[place, k] for place, x in real_items(model, history)]
            for k in range(kernel.shape[1])
        ]
    )
    logits = np.zeros(votes.shape[:2])
    for _ in range(iterations):
        shares = np.exp(logits) / np.exp(logits).sum(axis=0)
        sums = [
            sum(c * vote for c, vote in zip(row, rows))
            for row, rows in zip(shares, votes)
        ]
        interests = np.array([reference.squash(total) for total in sums])
        logits = logits + np.einsum("kd,ktd->kt", interests, votes)
    return interests, shares


def attended(model, history):
    """ComiRec-SA's interests of one history, item by item."""
    first, bias = (w.numpy() for w in model.attention_hidden.weights)
    second, _ = (w.numpy() for w in model.attention_heads.weights)
    positions = model.positions.numpy()[MAX_HISTORY - len(history) :]
    real = real_items(model, history)
    logits = np.array(
        [np.tanh((x + positions[place]) @ first + bias) @ second for place, x in real]
    )
    weights = np.exp(logits) / np.exp(logits).sum(axis=0)
    if model.sum_positions:
        real = [(place, x + positions[place]) for place, x in real]
    return np.array(
        [sum(w[k] * x for w, (_, x) in zip(weights, real)) for k in range(K)]
    )


def test_routing_matches_loops(batch):
    model = make_model("dr", batch)
    expected = [routed(model, row)[0] for row in HISTORY]
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sum_positions", [False, True])
def test_attention_matches_loops(sum_positions, batch):
    model = make_model("sa", batch, sum_positions=sum_positions)
    expected = [attended(model, row) for row in HISTORY]
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", ["hard", "soft"])
def test_a_candidate_reads_its_interests(kind, readout, batch):
    model = make_model(kind, batch, readout=readout)
    interests = model.encode(batch).numpy()
    items = model.item_embedding.embeddings.numpy()[CANDIDATES]
    products = np.einsum("bkd,bcd->bck", interests, items)
    expected = products.max(axis=2)
    if readout == "soft":
        weights = np.exp(products) / np.exp(products).sum(axis=2, keepdims=True)
        expected = (weights * products).sum(axis=2)
    np.testing.assert_allclose(model(batch), expected, rtol=1e-4, atol=1e-5)


def test_each_real_item_is_shared_out_over_the_interests(batch):
    model = make_model("dr", batch)
    mask = tf.constant(HISTORY > 0)
    logits = tf.random.stateless_normal([3, K, 4], [3, 4])
    np.testing.assert_allclose(
        tf.reduce_sum(model.couple(logits, mask), axis=1), HISTORY > 0, rtol=1e-5
    )
    even = model.couple(tf.zeros([3, K, 4]), mask).numpy()
    np.testing.assert_allclose(even[:, 0][HISTORY > 0], 1 / K)


def hand_model(kind, batch, **changes):
    """Items 1 and 2 are (1, 0) and (0, 2)."""
    model = make_model(kind, batch, embedding_dim=2, **changes)
    table = np.zeros((M, 2), np.float32)
    table[1:3] = [[1, 0], [0, 2]]
    model.item_embedding.embeddings.assign(table)
    return model


def test_one_matrix_for_all_makes_the_interests_alike(batch):
    model = hand_model("dr", batch)
    model.kernel.assign(tf.eye(2, batch_shape=[MAX_HISTORY, K]))
    found = model.encode({"history": tf.constant([[1, 2]])})
    np.testing.assert_allclose(found, [[[0.2485, 0.4969]] * K], atol=1e-4)


def test_routing_minds_the_order(batch):
    model = make_model("dr", batch)
    there, back = (
        model.encode({"history": tf.constant([row])}) for row in ([3, 9], [9, 3])
    )
    assert np.abs(there - back).max() > 1e-3


def test_only_the_last_iteration_has_a_gradient(batch):
    model = make_model("dr", batch)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.encode(batch) ** 3)
    found = tf.convert_to_tensor(tape.gradient(loss, model.kernel)).numpy()
    # Shares as routing leaves them, and no more routing.
    shares = np.zeros((3, K, 4), np.float32)
    for row, history in enumerate(HISTORY):
        shares[row][:, history > 0] = routed(model, history)[1]
    with tf.GradientTape() as tape:
        kernel = tf.identity(model.kernel[MAX_HISTORY - 4 :])
        tape.watch(kernel)
        items = model.item_embedding(HISTORY)
        sums = tf.einsum("bkt,btd,tkde->bke", shares, items, kernel)
        loss = tf.reduce_sum(squash(sums) ** 3)
    expected = tape.gradient(loss, kernel)
    np.testing.assert_allclose(found[-4:], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("stddev", [1.0, 0.25])
def test_the_matrices_start_as_wide_as_told(stddev):
    model = ComiRecDR(4, M, 50, embedding_dim=16, kernel_stddev=stddev)
    assert np.std(model.kernel) == pytest.approx(stddev, rel=0.05)


def test_only_positions_in_use_get_a_gradient(batch):
    model = make_model("dr", batch)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, model.kernel)).numpy()
    used = np.abs(gradient).max(axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(used, [False] * 3 + [True] * 4)


def test_attention_of_zero_takes_the_mean(batch):
    model = make_model("sa", batch)
    model.attention_heads.kernel.assign(tf.zeros_like(model.attention_heads.kernel))
    for row, history in enumerate(HISTORY):
        mean = np.mean([x for _, x in real_items(model, history)], axis=0)
        reference.assert_close(model.encode(batch)[row], [mean] * K)


def test_attention_sums_to_one_over_the_real_items(batch):
    model = make_model("sa", batch)
    history = model.item_embedding(batch["history"])
    found = model.attend(history, tf.constant(HISTORY > 0)).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
    assert (found[HISTORY == 0] == 0).all()


def test_order_reaches_attention_by_the_positions_alone(batch):
    model = make_model("sa", batch)
    there, back = ({"history": tf.constant([row])} for row in ([3, 9, 1], [9, 1, 3]))
    assert np.abs(model.encode(there) - model.encode(back)).max() > 1e-3
    model.positions.assign(tf.zeros_like(model.positions))
    reference.assert_close(model.encode(there), model.encode(back))


def test_one_item_is_every_interest(batch):
    model = make_model("sa", batch)
    item = model.item_embedding.embeddings[5]
    np.testing.assert_allclose(model.encode(batch)[2], [item] * K, rtol=1e-6)


def test_attention_by_hand():
    model = ComiRecSA(2, 3, 7, embedding_dim=1, num_interests=1)
    batch = {"history": tf.constant([[1, 2]]), "candidates": tf.constant([[1]])}
    model(batch)
    model.item_embedding.embeddings.assign([[0.0], [1.0], [2.0]])
    model.positions.assign(tf.zeros_like(model.positions))
    model.attention_hidden.kernel.assign([[1.0, 0.0, 0.0, 0.0]])
    model.attention_heads.kernel.assign([[1.0], [0.0], [0.0], [0.0]])
    found = model.attend(
        model.item_embedding(batch["history"]), tf.constant([[True, True]])
    )
    np.testing.assert_allclose(found[0, :, 0], [0.4496, 0.5504], atol=1e-4)
    np.testing.assert_allclose(model.encode(batch)[0, 0], [1.5504], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", [{"readout": "x"}, {"num_interests": 0}])
def test_a_wrong_argument_is_named(kind, arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        KINDS[kind](4, M, **arguments)


def test_the_matrices_must_have_some_width():
    with pytest.raises(ValueError, match="`kernel_stddev` must be positive"):
        ComiRecDR(4, M, kernel_stddev=0.0)
