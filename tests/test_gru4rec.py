from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.gru4rec import GRU4Rec
from tests import reference

M, D, UNITS = 12, 2, 3
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
    model = GRU4Rec(num_users=4, num_items=M, embedding_dim=D, **changes)
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def expected_states(model):
    items = model.item_embedding.embeddings.numpy().astype(float)
    weights = [w.numpy() for w in model.gru.weights]
    return np.array(
        [reference.gru(items[row[row > 0]], *weights)[-1] for row in HISTORY]
    )


def test_the_state_is_that_of_a_gru_over_the_real_items(batch):
    model = make_model(batch)
    reference.assert_close(model.encode(batch), expected_states(model))


def test_the_dot_head_is_an_inner_product(batch):
    model = make_model(batch)
    items = model.item_embedding.embeddings.numpy()[CANDIDATES]
    expected = (expected_states(model)[:, None] * items).sum(axis=-1)
    np.testing.assert_allclose(model(batch), expected, rtol=1e-5, atol=1e-6)


def test_the_mlp_head_reads_state_and_item(batch):
    model = make_model(batch, head="mlp")
    items = model.item_embedding.embeddings.numpy().astype(float)
    for row, state in enumerate(expected_states(model)):
        for column, item in enumerate(CANDIDATES[row]):
            expected = reference.mlp_head(model.mlp, state, items[item])
            found = float(model(batch)[row, column])
            assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("head", ["dot", "mlp"])
def test_a_state_of_another_size_is_mapped_for_the_product_alone(batch, head):
    model = make_model(batch, units=UNITS, head=head)
    states = expected_states(model)
    assert states.shape == (3, UNITS)
    if head == "dot":
        kernel, bias = (w.numpy().astype(float) for w in model.state_layer.weights)
        states = states @ kernel + bias
    np.testing.assert_allclose(model.encode(batch), states, rtol=1e-4, atol=1e-6)


def test_the_bias_of_an_item_is_added_to_its_logit_alone(batch):
    before = make_model(batch)(batch)
    model = make_model(batch, item_bias=True)
    bias = model.item_bias.embeddings
    assert (
        not GRU4Rec(4, M, item_bias=True).item_bias(batch["candidates"]).numpy().any()
    )
    bias.assign(tf.tensor_scatter_nd_update(tf.zeros_like(bias), [[10, 0]], [0.75]))
    expected = np.zeros((3, 2))
    expected[1, 0] = 0.75
    np.testing.assert_allclose(model(batch) - before, expected, atol=1e-6)


def test_the_penalty_reaches_the_biases_of_the_candidates(batch):
    model = make_model(batch, item_bias=True)
    rows = {table.ref(): ids for table, ids in model.embedding_rows(batch)}
    assert len(rows) == 2
    found = rows[model.item_bias.embeddings.ref()]
    np.testing.assert_array_equal(found, np.ravel(CANDIDATES))


def test_an_open_gate_keeps_only_the_bias(batch):
    model = make_model(batch)
    kernel, recurrent, bias = model.gru.weights
    kernel.assign(tf.zeros_like(kernel))
    recurrent.assign(tf.zeros_like(recurrent))
    # Keras keeps the state by z: -20 lets every candidate, tanh(0.3, -0.7), through.
    gates = np.zeros(bias.shape, np.float32)
    gates[0] = [-20, -20, 0, 0, 0.3, -0.7]
    bias.assign(gates)
    expected = np.tile(np.tanh([0.3, -0.7]), (3, 1))
    np.testing.assert_allclose(model.encode(batch), expected, rtol=1e-5)


def test_an_empty_history_has_the_zero_state(batch):
    model = make_model(batch)
    batch["history"] = tf.zeros([3, 4], tf.int32)
    assert not model.encode(batch).numpy().any()


def test_the_order_of_items_matters(batch):
    model = make_model(batch)
    ahead = model.encode({**batch, "history": tf.constant([[3, 9, 1]])})
    back = model.encode({**batch, "history": tf.constant([[1, 9, 3]])})
    assert np.abs(ahead - back).max() > 1e-3


def test_gradients_reach_the_items_of_history_and_candidates_only(batch):
    model = make_model(batch)
    table = model.item_embedding.embeddings
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch, training=True) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    reached = {*np.flatnonzero(np.abs(gradient).max(axis=1)).tolist()}
    assert reached == {*HISTORY[HISTORY > 0].tolist(), *CANDIDATES.ravel().tolist()}


def test_dropout_draws_anew_in_training_alone(batch):
    model = make_model(batch, dropout=0.5)
    first, second = (model(batch, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    first, second = (model(batch, training=False).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_dropout_goes_on_where_a_checkpoint_was(batch, tmp_path):
    model = make_model(batch, dropout=0.5)
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    through = [model(batch, training=True).numpy() for _ in range(3)]
    checkpoint.read(path).assert_existing_objects_matched()
    resumed = [model(batch, training=True).numpy() for _ in range(3)]
    np.testing.assert_array_equal(through, resumed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": "x"}, "`head` must be one of"),
        ({"units": 0}, "`units` must be positive"),
        ({"head": "mlp", "item_bias": True}, "`item_bias` is of the head"),
        ({"dropout": 1.0}, "`dropout` must be in"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GRU4Rec(4, M, **arguments)
