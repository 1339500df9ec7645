from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.sasrec import SASRec
from mgnm_tf.keras2 import keras
from tests import reference

M, D, T, MAX_HISTORY = 12, 6, 4, 7
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
    arguments = {"embedding_dim": D, "max_history": MAX_HISTORY, "dropout": 0.0}
    model = SASRec(num_users=4, num_items=M, **{**arguments, **changes})
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def layer_norm(layer, x):
    gamma, beta = layer.gamma.numpy(), layer.beta.numpy()
    mean = sum(x) / len(x)
    variance = sum((x - mean) ** 2) / len(x)
    return (x - mean) / np.sqrt(variance) * gamma + beta


def attention(block, rows):
    """What each position takes from itself and those before it, head by head."""
    query, key, value = (
        layer.kernel.numpy().astype(float)
        for layer in (block.query, block.key, block.value)
    )
    size = D // block.num_heads
    outputs = np.zeros((len(rows), D))
    for t in range(len(rows)):
        for start in range(0, D, size):
            head = slice(start, start + size)
            asked = rows[t] @ query[:, head]
            logits = [
                sum(asked * (rows[s] @ key[:, head])) / np.sqrt(size)
                for s in range(t + 1)
            ]
            for s, share in enumerate(reference.softmax(logits)):
                outputs[t, head] += share * (rows[s] @ value[:, head])
    return outputs


def feed_forward(block, x):
    hidden = np.maximum(x @ block.inner.kernel.numpy() + block.inner.bias.numpy(), 0)
    return hidden @ block.outer.kernel.numpy() + block.outer.bias.numpy()


def expected_state(model, history):
    """Every position of every block, for one history without padding."""
    items = model.item_embedding.embeddings.numpy().astype(float)
    positions = model.position_embedding.embeddings.numpy()
    length = len(history)
    x = np.array(
        [
            items[item] * np.sqrt(D) + positions[MAX_HISTORY - length + t]
            for t, item in enumerate(history)
        ]
    )
    for block in model.blocks:
        x = x + attention(block, [layer_norm(block.attention_norm, row) for row in x])
        x = np.array(
            [
                row + feed_forward(block, layer_norm(block.feed_forward_norm, row))
                for row in x
            ]
        )
    return layer_norm(model.norm, x[-1])


@pytest.mark.parametrize(("num_blocks", "num_heads"), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_the_state_matches_the_loops(batch, num_blocks, num_heads):
    model = make_model(batch, num_blocks=num_blocks, num_heads=num_heads)
    expected = [expected_state(model, row[row > 0]) for row in HISTORY]
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-3, atol=1e-4)


def test_a_logit_is_an_inner_product_with_the_shared_table(batch):
    model = make_model(batch)
    items = model.item_embedding.embeddings.numpy()
    for row, history in enumerate(HISTORY):
        state = expected_state(model, history[history > 0])
        expected = [sum(state * items[item]) for item in CANDIDATES[row]]
        np.testing.assert_allclose(model(batch)[row], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_the_newest_query_alone_gives_what_all_queries_give(batch, num_blocks):
    model = make_model(batch, num_blocks=num_blocks, num_heads=2)
    whole = make_model(batch, num_blocks=num_blocks, num_heads=2)
    for block in whole.blocks:
        block.call = all_queries(block.call)

    def run(model):
        with tf.GradientTape() as tape:
            state = model.encode(batch)
            loss = tf.reduce_sum(state**3)
        gradients = tape.gradient(loss, model.trainable_variables)
        return state, gradients

    (state, gradients), (expected, others) = run(model), run(whole)
    np.testing.assert_allclose(state, expected, rtol=1e-4, atol=1e-5)
    for found, other in zip(gradients, others):
        found, other = (tf.convert_to_tensor(g).numpy() for g in (found, other))
        np.testing.assert_allclose(found, other, atol=1e-4 * np.abs(other).max())


def all_queries(call):
    """The same block, but every position asks, and the newest is read."""

    def full(states, newest_only=False, **arguments):
        outputs = call(states, **arguments)
        assert outputs.shape[1] == T
        return outputs[:, -1:] if newest_only else outputs

    return full


# Values are (1, -1), (1, -1), (-1, 1), and the newest asks with (-1, 1). Alike to all,
# it takes their mean, (1, -1) / 3. By similarity its logits are -sqrt 2, -sqrt 2 and
# sqrt 2, so that it has 4.1133 / 4.5995 = 0.8943 of itself and takes (-0.7886, 0.7886).
# Either way the sum with (0, sqrt 2) has the norm (-1, 1), of which the network makes
# relu((-0.5, 1)) = (0, 1), then (2, 3) + (0.1, 0.2).
@pytest.mark.parametrize(
    ("query", "expected"), [(0.0, [2.4333, 4.2809]), (1.0, [1.3114, 5.4028])]
)
def test_a_block_by_hand(batch, query, expected):
    model = make_model(batch, embedding_dim=2, num_blocks=1)
    (block,), eye = model.blocks, np.eye(2)
    for norm in (block.attention_norm, block.feed_forward_norm):
        norm.gamma.assign([1, 1])
        norm.beta.assign([0, 0])
    block.query.kernel.assign(query * eye)
    block.key.kernel.assign(eye)
    block.value.kernel.assign(eye)
    block.inner.kernel.assign(eye)
    block.inner.bias.assign([0.5, 0])
    block.outer.kernel.assign([[1, 0], [2, 3]])
    block.outer.bias.assign([0.1, 0.2])
    root = 2**0.5
    states = tf.constant([[[root, 0], [root, 0], [0, root]]])
    found = block(states, mask=tf.constant([[True] * 3]), drop=tf.identity)
    np.testing.assert_allclose(found[0, -1], expected, atol=1e-4)


def test_no_position_reads_a_newer_one_nor_padding(batch):
    block = make_model(batch, num_heads=2).blocks[0]
    states = np.random.default_rng(0).normal(size=(1, T, D)).astype("float32")
    mask = tf.constant([[False, True, True, True]])

    def run(changed):
        other = states.copy()
        other[0, changed] = 9.0 * np.arange(D)
        return block(other, mask=mask, drop=tf.identity).numpy()[0, 1:]

    before = block(states, mask=mask, drop=tf.identity).numpy()[0, 1:]
    np.testing.assert_array_equal(run(0), before)
    newer = run(2)
    np.testing.assert_allclose(newer[0], before[0], rtol=1e-5)
    assert (np.abs(newer - before).max(axis=1)[1:] > 1e-3).all()


def test_the_order_of_items_matters_by_their_positions_alone(batch):
    rows = {"history": tf.constant([[3, 9, 1], [9, 3, 1]])}
    one, other = make_model(batch).encode(rows).numpy()
    assert np.abs(one - other).max() > 1e-3
    # With one block and no positions the newest item reads a set.
    model = make_model(batch, num_blocks=1)
    table = model.position_embedding.embeddings
    table.assign(tf.zeros_like(table))
    one, other = model.encode(rows).numpy()
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_the_newest_items_are_read_of_a_longer_history(batch):
    model = make_model(batch)
    long = np.arange(MAX_HISTORY + 3)[None] % (M - 1) + 1
    newest = {"history": tf.constant(long[:, -MAX_HISTORY:])}
    found = model.encode({"history": tf.constant(long)})
    np.testing.assert_array_equal(found, model.encode(newest))


def test_an_empty_history_has_the_zero_state(batch):
    model = make_model(batch)
    assert not model.encode({"history": tf.zeros([3, T], tf.int32)}).numpy().any()


def test_gradients_reach_the_rows_of_history_and_candidates_only(batch):
    model = make_model(batch)
    tables = [model.item_embedding.embeddings, model.position_embedding.embeddings]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch, training=True) ** 2)
    items, positions = (
        np.flatnonzero(np.abs(tf.convert_to_tensor(gradient)).max(axis=1))
        for gradient in tape.gradient(loss, tables)
    )
    assert {*items} == {*HISTORY[HISTORY > 0], *CANDIDATES.ravel()}
    assert [*positions] == [3, 4, 5, 6]


def test_the_penalty_spares_positions_that_a_batch_does_not_reach(batch):
    model = make_model(batch)
    table = model.position_embedding.embeddings
    ids = next(ids for rows, ids in model.embedding_rows(batch) if rows is table)
    assert [*ids.numpy()] == [3, 4, 5, 6]
    before = float(model._l2_penalty(batch))
    table.scatter_nd_update([[2]], tf.fill([1, D], 5.0))
    assert float(model._l2_penalty(batch)) == pytest.approx(before)
    kept = float(tf.nn.l2_loss(table[3]))
    table.scatter_nd_update([[3]], tf.fill([1, D], 5.0))
    expected = before - kept + D * 25 / 2
    assert float(model._l2_penalty(batch)) == pytest.approx(expected)


def test_dropout_draws_anew_in_training_alone(batch):
    model = make_model(batch, dropout=0.5)
    first, second = (model(batch, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    first, second = (model(batch, training=False).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_dropout_falls_on_the_input_and_on_what_each_layer_adds(batch, monkeypatch):
    model = make_model(batch, dropout=0.5)
    shapes = []

    def drop(values, training):
        """All of it, but for the input."""
        shapes.append(values.shape.as_list())
        return values if len(shapes) == 1 else tf.zeros_like(values)

    monkeypatch.setattr(model, "dropout", drop)
    found = model.encode(batch, training=True)
    assert shapes == [[3, T, D]] * 3 + [[3, 1, D]] * 2
    newest = model.item_embedding.embeddings.numpy()[HISTORY[:, -1]] * D**0.5
    newest += model.position_embedding.embeddings.numpy()[-1]
    expected = [layer_norm(model.norm, row) for row in newest]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_every_dropout_has_a_draw_of_its_own(batch):
    model = make_model(batch, dropout=0.5)
    ones = tf.ones([T, D])
    one, other = (
        model.dropout(ones, training=True).numpy(),
        model.dropout(ones, training=True).numpy(),
    )
    assert (one != other).any()
    assert {*one.ravel()} == {0.0, 2.0}
    before = int(model.dropout.draws)
    tf.function(model)(batch, training=True)
    assert int(model.dropout.draws) - before == 5


def test_dropout_goes_on_where_a_checkpoint_was(batch, tmp_path):
    model = make_model(batch, dropout=0.5)
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    through = [model(batch, training=True).numpy() for _ in range(3)]
    checkpoint.read(path).assert_existing_objects_matched()
    resumed = [model(batch, training=True).numpy() for _ in range(3)]
    np.testing.assert_array_equal(through, resumed)


@pytest.fixture
def half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def test_half_precision_gives_float32_logits_near_the_full(batch, half_precision):
    half = make_model(batch, dropout=0.5)
    assert half.blocks[0].compute_dtype == "float16"
    assert np.isfinite(half(batch, training=True)).all()
    expected = half(batch)
    assert expected.dtype == tf.float32
    keras.mixed_precision.set_global_policy("float32")
    full = make_model(batch)(batch)
    np.testing.assert_allclose(expected, full, rtol=0.05, atol=0.05)
    apart = half.score(half.encode(batch), batch["candidates"])
    np.testing.assert_array_equal(apart, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 0}, "`num_blocks` must be positive"),
        ({"num_heads": 0}, "`num_heads` must be positive and divide"),
        ({"embedding_dim": 6, "num_heads": 4}, "`num_heads` must be positive and div"),
        ({"dropout": 1.0}, "`dropout` must be in"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SASRec(4, M, **arguments)
