from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.sasrec import SASRec

M, D, MAX_HISTORY = 12, 4, 7
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9], [0, 0, 0, 5]], np.int32)
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11]], np.int32)


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2, 3]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(batch, **changes):
    """All weights of a size that matters, biases included."""
    arguments = {"embedding_dim": D, "max_history": MAX_HISTORY, **changes}
    model = SASRec(num_users=4, num_items=M, **arguments)
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def norm(layer, x):
    gamma, beta = layer.gamma.numpy(), layer.beta.numpy()
    return (x - x.mean()) / np.sqrt(x.var() + layer.epsilon) * gamma + beta


def dense(layer, x):
    return x @ layer.kernel.numpy() + layer.bias.numpy()


def attend(block, states, number, heads):
    """What position `number` reads of itself and the positions before it."""
    normed = [norm(block.attention_norm, x) for x in states]
    query = dense(block.query, normed[number])
    parts = []
    for head in np.split(np.arange(len(query)), heads):
        seen = range(number + 1)
        keys = [dense(block.key, normed[place])[head] for place in seen]
        values = [dense(block.value, normed[place])[head] for place in seen]
        logits = [query[head] @ key / np.sqrt(len(head)) for key in keys]
        weights = np.exp(logits) / np.sum(np.exp(logits))
        parts.append(sum(w * value for w, value in zip(weights, values)))
    return np.concatenate(parts)


def expected_state(model, history, heads):
    """Every block over every real position: more than is needed, and plain."""
    items = model.item_embedding.embeddings.numpy().astype(float)
    positions = model.positions.numpy()[MAX_HISTORY - len(history) :]
    states = [
        items[item] * np.sqrt(D) + positions[place]
        for place, item in enumerate(history)
        if item
    ]
    for block in model.blocks:
        states = [
            x + attend(block, states, number, heads) for number, x in enumerate(states)
        ]
        states = [
            x
            + dense(
                block.outer,
                np.maximum(dense(block.inner, norm(block.network_norm, x)), 0),
            )
            for x in states
        ]
    return norm(model.norm, states[-1])


@pytest.mark.parametrize(("blocks", "heads"), [(1, 1), (2, 1), (3, 2)])
def test_the_state_is_the_newest_of_the_whole_computation(batch, blocks, heads):
    model = make_model(batch, num_blocks=blocks, num_heads=heads)
    expected = [expected_state(model, row, heads) for row in HISTORY]
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-3, atol=1e-4)


def test_scores_are_inner_products(batch):
    model = make_model(batch)
    items = model.item_embedding.embeddings.numpy()[CANDIDATES]
    expected = np.einsum("bd,bcd->bc", model.encode(batch), items)
    np.testing.assert_allclose(model(batch), expected, rtol=1e-5)


def test_the_past_does_not_see_the_future(batch):
    block = make_model(batch).blocks[0]
    states = tf.random.stateless_normal([1, 4, D], [5, 6])
    mask = tf.constant([[True] * 4])
    changed = tf.tensor_scatter_nd_add(states, [[0, 3, 0]], [5.0])
    before, after = (block(x, mask=mask).numpy() for x in (states, changed))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3] - after[:, 3]).max() > 1e-3


def test_an_empty_history_has_the_zero_state(batch):
    model = make_model(batch)
    batch["history"] = tf.zeros([3, 4], tf.int32)
    assert not model.encode(batch).numpy().any()


def test_the_order_of_items_matters(batch):
    model = make_model(batch)
    ahead = model.encode({**batch, "history": tf.constant([[3, 9, 1]])})
    back = model.encode({**batch, "history": tf.constant([[1, 9, 3]])})
    assert np.abs(ahead - back).max() > 1e-3


def test_dropout_goes_on_where_a_checkpoint_was(batch, tmp_path):
    model = make_model(batch, dropout=0.5)
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    through = [model(batch, training=True).numpy() for _ in range(3)]
    checkpoint.read(path).assert_existing_objects_matched()
    resumed = [model(batch, training=True).numpy() for _ in range(3)]
    np.testing.assert_array_equal(through, resumed)
    assert np.abs(through[0] - through[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 0}, "`num_blocks` must be positive"),
        ({"num_heads": 3}, "`num_heads` must divide"),
        ({"dropout": 1.0}, "`dropout` must be in"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SASRec(4, M, **arguments)
