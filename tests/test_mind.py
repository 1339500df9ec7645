from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.mind import MIND
from tests import reference, seeds

M, D, K, T, MAX_HISTORY = 12, 5, 3, 4, 9
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9]], np.int32)
CANDIDATES = np.array([[6, 2, 8], [10, 3, 1]], np.int32)


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(**changes):
    arguments = {"num_interests": K, "embedding_dim": D, "embedding_stddev": 1.0}
    arguments = {"max_history": MAX_HISTORY, **arguments, **changes}
    model = MIND(num_users=4, num_items=M, **arguments)
    history, candidates = tf.constant(HISTORY), tf.constant(CANDIDATES)
    model({"user": None, "history": history, "candidates": candidates})
    return model


def hand_model(**changes):
    """Items 1, 2 and 3 are (1, 0), (0, 2) and (1, 1); S is the identity."""
    model = make_model(embedding_dim=2, **changes)
    table = np.zeros((M, 2), np.float32)
    table[1:4] = [[1, 0], [0, 2], [1, 1]]
    model.item_embedding.embeddings.assign(table)
    model.bilinear.kernel.assign(np.eye(2))
    return model


def hand_batch():
    return {"history": tf.constant([[1, 2]]), "candidates": tf.constant([[3]])}


def expected_interests(model, start, iterations=3):
    items = model.item_embedding.embeddings.numpy().astype(float)
    bilinear = model.bilinear.kernel.numpy().astype(float)
    return np.array(
        [
            reference.mind(items[row[row > 0]], bilinear, start[:, row > 0], iterations)
            for row in HISTORY
        ]
    )


def test_routing_matches_the_loops(batch):
    model = make_model()
    start = np.random.default_rng(0).normal(size=(K, T)).astype("float32")
    found, _ = model.encode(batch, routing_logits=start)
    reference.assert_close(found, expected_interests(model, start))


def test_one_interest_is_the_squashed_sum():
    model = hand_model(num_interests=1)
    found, _ = model.encode(hand_batch())
    np.testing.assert_allclose(found, [[[0.3727, 0.7454]]], atol=1e-4)


def test_two_interests_by_hand():
    model = hand_model(num_interests=2)
    start = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    state = model.encode(hand_batch(), routing_logits=start)
    expected = [[[0.4031, 0.0451], [0.0734, 0.7826]]]
    np.testing.assert_allclose(state[0], expected, atol=1e-4)
    found = model.score(state, tf.constant([[3]]))
    np.testing.assert_allclose(found, [[0.8560]], atol=1e-4)


def test_the_soft_readout_attends_by_the_scores():
    model = hand_model(num_interests=2, readout="soft")
    start = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    state = model.encode(hand_batch(), routing_logits=start)
    one, two = 0.4031 + 0.0451, 0.0734 + 0.7826
    share = np.exp(one) / (np.exp(one) + np.exp(two))
    expected = share * one + (1 - share) * two
    found = model.score(state, tf.constant([[3]]))
    np.testing.assert_allclose(found, [[expected]], atol=1e-4)


def test_interests_that_start_alike_stay_alike(batch):
    found, _ = make_model().encode(batch, routing_logits=tf.zeros([K, T]))
    np.testing.assert_allclose(found, np.repeat(found[:, :1], K, axis=1), rtol=1e-6)


def test_shares_sum_to_one_over_the_active_and_spare_padding():
    logits = np.random.default_rng(0).normal(size=(2, K, T)).astype("float32")
    mask = tf.constant(HISTORY > 0)
    active = tf.constant([[[True], [True], [False]], [[True]] * 3])
    found = make_model().couple(tf.constant(logits), mask, active).numpy()
    np.testing.assert_allclose(found.sum(axis=1)[HISTORY > 0], 1.0, rtol=1e-6)
    assert not found[0, 2].any()
    assert not found[0, :, 0].any()


def test_items_permuted_with_their_logits_change_no_interest(batch):
    model, order = make_model(), [2, 0, 3, 1]
    start = np.random.default_rng(0).normal(size=(K, T)).astype("float32")
    before, _ = model.encode(batch, routing_logits=start)
    batch["history"] = tf.constant(HISTORY[:, order])
    after, _ = model.encode(batch, routing_logits=start[:, order])
    np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-6)


def test_only_the_last_iteration_has_a_gradient(batch):
    model, start = make_model(), np.zeros((2, K, T), "float32")
    start[:] = np.random.default_rng(0).normal(size=(K, T))

    def gradient(iterations, logits):
        model.num_iterations = iterations
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.encode(batch, routing_logits=logits)[0] ** 3)
        return tape.gradient(loss, model.bilinear.kernel).numpy()

    # Two iterations route once: by hand, then the second takes it as given.
    votes = model.bilinear(model.item_embedding(HISTORY)).numpy()
    votes *= (HISTORY > 0)[..., None]
    routed = start + expected_interests(model, start[0], 1) @ votes.swapaxes(1, 2)
    np.testing.assert_allclose(
        gradient(2, start), gradient(1, routed.astype("float32")), rtol=1e-3, atol=1e-6
    )


def test_inference_has_one_draw_indexed_from_the_newest(batch):
    model = make_model()
    newest = model.inference_draw[:, MAX_HISTORY - T :]
    expected, _ = model.encode(batch, routing_logits=newest)
    np.testing.assert_array_equal(model.encode(batch)[0], expected)


def test_training_draws_anew_as_the_seed_says(batch):
    def draws(seed):
        seeds.seed(0)
        model = make_model(seed=seed)
        return np.array([model.encode(batch, training=True)[0] for _ in range(2)])

    one, again, other = draws(1), draws(1), draws(2)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-4
    assert np.abs(one[0] - one[1]).max() > 1e-4


@pytest.mark.parametrize(
    ("length", "count"), [(0, 1), (1, 1), (3, 1), (4, 2), (7, 2), (8, 3), (9, 3)]
)
def test_a_history_of_n_items_uses_log2_n_interests(length, count):
    model = make_model(adaptive_interests=True)
    history = np.zeros((1, MAX_HISTORY), np.int32)
    history[0, MAX_HISTORY - length :] = 3
    interests, active = model.encode({"history": tf.constant(history)})
    assert int(tf.math.count_nonzero(active)) == count
    assert not interests.numpy()[0, count:].any()


@pytest.mark.parametrize("readout", ["hard", "soft"])
def test_an_inactive_interest_does_not_compete(batch, readout):
    # Of three items K' = 1: every logit is the first interest's, negative ones too.
    model = make_model(adaptive_interests=True, readout=readout)
    interests, _ = model.encode(batch)
    items = model.item_embedding.embeddings.numpy()[CANDIDATES[0]]
    expected = items @ interests.numpy()[0, 0]
    assert expected.min() < 0
    reference.assert_close(model(batch)[0], expected)


def test_the_relu_layer_follows_the_capsules(batch):
    model = make_model(relu_layer=True)
    start = np.random.default_rng(0).normal(size=(K, T)).astype("float32")
    kernel, bias = model.interest_layer.weights
    bias.assign(tf.range(D, dtype=tf.float32) / 10 - 0.2)
    plain = expected_interests(model, start)
    expected = np.maximum(plain @ kernel.numpy() + bias.numpy(), 0)
    found, _ = model.encode(batch, routing_logits=start)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_interests": 0}, "must be positive"),
        ({"num_iterations": 0}, "must be positive"),
        ({"readout": "x"}, "`readout` must be one of"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MIND(4, M, **arguments)


def test_an_interest_that_a_history_does_not_use_is_said_and_takes_no_item(batch):
    # Three and four items: log2 allows one interest and two.
    found = make_model(adaptive_interests=True).explain(batch)
    used = np.array([[[True, False, False]], [[True, True, False]]])
    np.testing.assert_array_equal(found["active"], used)
    taken = found["couplings"].numpy().sum(axis=3)
    np.testing.assert_array_equal(taken > 0, used)
