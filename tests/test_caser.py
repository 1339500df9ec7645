from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.caser import Caser

N, M, D, WINDOW, HORIZONTAL, VERTICAL = 5, 12, 3, 3, 2, 2
HISTORY = np.array([[0, 0, 4, 7, 2], [3, 9, 1, 9, 6], [0, 0, 0, 0, 5]], np.int32)
USERS = np.array([1, 0, 3], np.int32)
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11]], np.int32)


@pytest.fixture
def batch():
    return {
        "user": tf.constant(USERS),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(batch, **changes):
    """All weights of a size that matters, biases included."""
    arguments = {
        "window": WINDOW,
        "num_horizontal": HORIZONTAL,
        "num_vertical": VERTICAL,
        **changes,
    }
    model = Caser(num_users=N, num_items=M, embedding_dim=D, **arguments)
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def image_of(model, history):
    items = model.item_embedding.embeddings.numpy().astype(float).copy()
    items[0] = 0.0
    return np.array([items[item] for item in history[-WINDOW:]])


def expected_convolutions(model, history):
    """Vertical, then horizontal of height 1, 2, ...: the card's [v; o]."""
    image = image_of(model, history)
    kernel, bias = (w.numpy() for w in model.vertical.weights)
    joined = []
    for column in range(D):
        for number in range(VERTICAL):
            total = sum(image[row, column] * kernel[row, number] for row in range(3))
            joined.append(total + bias[number])
    for height, layer in enumerate(model.horizontal, start=1):
        kernel, bias = (w.numpy() for w in layer.weights)
        for number in range(HORIZONTAL):
            values = [
                (image[start : start + height] * kernel[:, :, number]).sum()
                + bias[number]
                for start in range(WINDOW - height + 1)
            ]
            joined.append(max(0.0, *values))
    return np.array(joined)


def expected_state(model, row):
    kernel, bias = (w.numpy() for w in model.joined.weights)
    joined = expected_convolutions(model, HISTORY[row])
    user = model.user_embedding.embeddings.numpy()[USERS[row]]
    user = user if USERS[row] else np.zeros(D)
    return np.concatenate([np.maximum(joined @ kernel + bias, 0), user])


def test_logits_are_those_of_loops(batch):
    model = make_model(batch)
    table = model.output_embedding.embeddings.numpy()
    bias = model.output_bias.embeddings.numpy()[:, 0]
    for row in range(3):
        state = expected_state(model, row)
        expected = table[CANDIDATES[row]] @ state + bias[CANDIDATES[row]]
        np.testing.assert_allclose(model(batch)[row], expected, rtol=1e-4, atol=1e-5)


def test_the_shared_output_goes_back_to_the_items_of_the_history(batch):
    model = make_model(batch, output_table="shared")
    kernel, bias = (w.numpy() for w in model.back.weights)
    items = model.item_embedding.embeddings.numpy()
    for row in range(3):
        state = np.maximum(expected_state(model, row) @ kernel + bias, 0)
        expected = items[CANDIDATES[row]] @ state
        np.testing.assert_allclose(model(batch)[row], expected, rtol=1e-4, atol=1e-5)


def test_items_older_than_the_window_change_nothing(batch):
    model = make_model(batch)
    older = HISTORY.copy()
    older[1, :2] = [11, 8]
    found = model({**batch, "history": tf.constant(older)})
    np.testing.assert_array_equal(found, model(batch))


def test_a_history_shorter_than_the_window_is_padded(batch):
    model = make_model(batch)
    short = {**batch, "history": batch["history"][:, -1:]}
    np.testing.assert_allclose(model(short)[2], model(batch)[2], rtol=1e-6)


def test_the_order_matters_but_not_to_filters_of_height_one(batch):
    model = make_model(batch)
    swapped = np.array([3, 9, 9, 1, 6], np.int32)
    before = expected_convolutions(model, HISTORY[1])
    after = expected_convolutions(model, swapped)
    lone = slice(D * VERTICAL, D * VERTICAL + HORIZONTAL)
    np.testing.assert_allclose(before[lone], after[lone])
    history = HISTORY.copy()
    history[1] = swapped
    found = model({**batch, "history": tf.constant(history)})
    assert np.abs(found[1] - model(batch)[1]).max() > 1e-3


def test_a_raised_bias_raises_its_item_alone(batch):
    model = make_model(batch)
    before = model(batch).numpy()
    bias = model.output_bias.embeddings
    bias.scatter_nd_add([[6]], [[0.75]])
    expected = before + 0.75 * (CANDIDATES == 6)
    np.testing.assert_allclose(model(batch), expected, rtol=1e-5)


def test_dropout_draws_in_training_alone(batch):
    model = make_model(batch, dropout=0.5)
    first, second = (model(batch, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(model(batch), model(batch))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_table": "x"}, "`output_table` must be one of"),
        ({"window": 0}, "`window`, .* must be positive"),
        ({"dropout": 1.0}, "`dropout` must be in"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Caser(4, M, **arguments)
