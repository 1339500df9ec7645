from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.caser import FORMS, Caser
from mgnm_tf.keras2 import keras
from tests import reference

N, M, D, L, T = 5, 14, 3, 4, 6
HISTORY = np.array(
    [[0, 0, 0, 4, 7, 2], [3, 9, 1, 9, 8, 6], [0, 0, 0, 0, 0, 5]], np.int32
)
USERS = np.array([4, 0, 2], np.int32)
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11]], np.int32)


@pytest.fixture
def batch():
    return {
        "user": tf.constant(USERS),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(**changes):
    """All weights of a size that matters, biases included."""
    sizes = {"window": L, "num_horizontal": 2, "num_vertical": 5, "embedding_dim": D}
    model = Caser(N, M, **{**sizes, **changes})
    history, candidates = tf.constant(HISTORY), tf.constant(CANDIDATES)
    model({"user": tf.constant(USERS), "history": history, "candidates": candidates})
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]))
    return model


def values(layer):
    return [weight.numpy().astype(float) for weight in layer.weights]


def expected_features(model, row, window=L):
    """The filters' outputs for one history, vertical ones first, in loops."""
    table = model.item_embedding.embeddings.numpy().astype(float)
    ids = [0] * window + [item for item in row if item > 0]
    image = [table[item] if item > 0 else np.zeros(D) for item in ids[-window:]]
    kernel, bias = values(model.vertical)
    vertical = []
    for k in range(kernel.shape[1]):
        if model.form == "mlp":  # A filter is L x D and gives one number.
            total = bias[k]
            for step in range(window):
                for d in range(D):
                    total += image[step][d] * kernel[step * D + d, k]
            vertical.append(max(total, 0.0))
        else:  # A filter is L x 1 and gives D numbers.
            for d in range(D):
                total = sum(image[step][d] * kernel[step, k] for step in range(window))
                vertical.append(total + bias[k])
    horizontal = []
    for layer in model.horizontal:
        kernel, bias = values(layer)  # [height, D, filters]
        height, _, filters = kernel.shape
        for k in range(filters):
            answers = []
            for start in range(window - height + 1):
                total = bias[k]
                for step in range(height):
                    for d in range(D):
                        total += image[start + step][d] * kernel[step, d, k]
                answers.append(max(total, 0.0))
            horizontal.append(max(answers))
    return np.array(vertical + horizontal)


def dense(layer, inputs):
    kernel, bias = values(layer)
    return np.maximum(inputs @ kernel + bias, 0)


def expected_state(model, row, user, window=L):
    features = expected_features(model, row, window)
    if model.form == "mlp":
        return features
    taste = values(model.user_embedding)[0][user] if user > 0 else np.zeros(D)
    state = np.concatenate([dense(model.sequence_layer, features), taste])
    return dense(model.output_layer, state) if model.form == "shared" else state


def expected_logit(model, state, item):
    if model.form == "mlp":
        return reference.mlp_head(
            model.mlp, state, values(model.item_embedding)[0][item]
        )
    if model.form == "shared":
        return sum(state * values(model.item_embedding)[0][item])
    output, bias = values(model.output_embedding)[0], values(model.output_bias)[0]
    return sum(state * output[item]) + bias[item, 0]


@pytest.mark.parametrize("max_height", [None, 2])
@pytest.mark.parametrize("form", FORMS)
def test_the_state_and_the_logits_match_the_loops(batch, form, max_height):
    model = make_model(form=form, max_height=max_height)
    states = [expected_state(model, *pair) for pair in zip(HISTORY, USERS)]
    np.testing.assert_allclose(model.encode(batch), states, rtol=1e-4, atol=1e-5)
    expected = [
        [expected_logit(model, state, item) for item in items]
        for state, items in zip(states, CANDIDATES)
    ]
    np.testing.assert_allclose(model(batch), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_window_longer_than_the_batch_is_padded_in_front(batch, form):
    model = make_model(form=form, window=T + 3)
    states = [expected_state(model, *pair, T + 3) for pair in zip(HISTORY, USERS)]
    np.testing.assert_allclose(model.encode(batch), states, rtol=1e-4, atol=1e-4)


def test_heights_go_up_to_the_window_or_to_the_limit():
    whole, limited = make_model(), make_model(max_height=2)
    assert [conv.kernel_size for conv in whole.horizontal] == [(1,), (2,), (3,), (4,)]
    assert [conv.kernel_size for conv in limited.horizontal] == [(1,), (2,)]


def test_a_vertical_filter_of_ones_sums_the_items():
    model = make_model(num_vertical=1)
    model.vertical.set_weights([np.ones((L, 1)), np.zeros(1)])
    image = np.random.default_rng(0).normal(size=(2, L, D)).astype("float32")
    found = model.vertical_features(tf.constant(image))
    np.testing.assert_allclose(found, image.sum(axis=1), rtol=1e-5, atol=1e-6)
    assert found.numpy().min() < 0  # There is no activation.


def test_a_filter_of_height_one_that_picks_a_column_has_its_positive_maximum():
    model = make_model(max_height=1)
    kernel = np.zeros((1, D, 2), np.float32)
    kernel[0, 1, 0] = kernel[0, 2, 1] = 1
    model.horizontal[0].set_weights([kernel, np.zeros(2)])
    image = [[[9, 1, -1], [9, 3, -2], [9, -4, -3], [9, 2, -4]]]
    found = model.horizontal_features(tf.constant(image, tf.float32))
    np.testing.assert_allclose(found, [[3, 0]])


def test_a_filter_of_height_two_sees_neighbours_in_their_order():
    model = make_model(max_height=2, num_horizontal=1)
    kernel = np.zeros((2, D, 1), np.float32)
    kernel[:, 0, 0] = [1, -1]  # Rises where the older exceeds the newer.
    model.horizontal[1].set_weights([kernel, np.full(1, 0.5)])
    image = np.zeros((1, L, D), np.float32)
    image[0, :, 0] = [0, 5, 2, 3]
    found = model.horizontal_features(tf.constant(image))
    np.testing.assert_allclose(found[0, 1], 5 - 2 + 0.5)


def test_swapped_items_change_vertical_features_but_no_height_one_maximum():
    model = make_model(max_height=1)
    image = np.random.default_rng(0).normal(size=(1, L, D)).astype("float32")
    one, other = tf.constant(image), tf.constant(image[:, [0, 3, 2, 1]])
    vertical = model.vertical_features(one) - model.vertical_features(other)
    assert np.abs(vertical).max() > 1e-2
    np.testing.assert_allclose(
        model.horizontal_features(one), model.horizontal_features(other), rtol=1e-6
    )


@pytest.mark.parametrize("form", FORMS)
def test_only_the_window_is_seen(batch, form):
    model = make_model(form=form)
    before = model(batch).numpy()[1]
    for place in range(T):
        changed = HISTORY.copy()
        changed[1, place] = 12
        after = model({**batch, "history": tf.constant(changed)}).numpy()[1]
        assert (np.abs(after - before).max() > 1e-4) == (place >= T - L)


def test_a_raised_bias_raises_the_logit_of_its_item_alone(batch):
    model = make_model()
    before = model(batch).numpy()
    model.output_bias.embeddings.scatter_nd_add([[10, 0]], [0.75])
    expected = np.zeros((3, 2))
    expected[1, 0] = 0.75
    np.testing.assert_allclose(model(batch) - before, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["paper", "shared"])
def test_the_user_matters_if_known(batch, form):
    model = make_model(form=form)
    before = model(batch).numpy()
    table = model.user_embedding.embeddings
    table.scatter_nd_add([[0]], tf.fill([1, D], 9.0))  # Row 1 has user 0.
    np.testing.assert_array_equal(model(batch), before)
    table.scatter_nd_add([[4], [2]], tf.fill([2, D], 0.5))
    changes = np.abs(model(batch) - before).max(axis=1)
    assert (changes > 1e-3).tolist() == [True, False, True]


def test_the_form_of_an_mlp_has_no_user(batch):
    model = make_model(form="mlp")
    before = model(batch)
    del batch["user"]
    np.testing.assert_array_equal(model(batch), before)


@pytest.mark.parametrize("form", FORMS)
def test_the_penalised_rows_are_those_with_a_gradient(batch, form):
    model = make_model(form=form)
    # One row with a known user: unknown ones and padding have no gradient.
    batch = {key: value[1:2] for key, value in batch.items()}
    batch["user"] = tf.constant([3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch) ** 2)
    tables = [table for table, _ in model.embedding_rows(batch)]
    named = [w.ref() for w in model.trainable_variables if "embeddings" in w.name]
    assert {table.ref() for table in tables} == {*named}
    gradients = tape.gradient(loss, tables)
    for (_, ids), gradient in zip(model.embedding_rows(batch), gradients):
        dense_gradient = tf.convert_to_tensor(gradient).numpy()
        touched = np.flatnonzero(np.abs(dense_gradient).max(axis=1))
        assert {*touched.tolist()} == {*ids.numpy().ravel().tolist()}


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_of_every_form_has_a_gradient(batch, form):
    model = make_model(form=form, dropout=0.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch, training=True) ** 2)
    weights = model.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        dense_gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.abs(dense_gradient).max() > 0, weight.name


def test_dropout_is_of_the_features_in_training_alone(batch):
    model = make_model(form="mlp", dropout=0.5)  # Its state is the features.
    kept = model.encode(batch).numpy()
    np.testing.assert_array_equal(model.encode(batch, training=False), kept)
    first, second = (model.encode(batch, training=True).numpy() for _ in range(2))
    for dropped in (first, second):
        positive = kept > 0
        share = dropped[positive] / kept[positive]
        assert {*np.round(share, 4).tolist()} == {0.0, 2.0}
    assert (first != second).any()


def test_dropout_goes_on_where_a_checkpoint_was(batch, tmp_path):
    model = make_model()
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    through = [model(batch, training=True).numpy() for _ in range(3)]
    checkpoint.read(path).assert_existing_objects_matched()
    resumed = [model(batch, training=True).numpy() for _ in range(3)]
    np.testing.assert_array_equal(through, resumed)
    assert np.abs(through[0] - through[1]).max() > 1e-3


def test_draws_are_as_the_seed_says(batch):
    one, again, other = (
        make_model(seed=seed)(batch, training=True).numpy() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_scores_alike(batch, form):
    model = make_model(form=form)
    expected = model(batch).numpy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        half = make_model(form=form)
        half.set_weights(model.get_weights())
        found = half(batch)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "must be positive"),
        ({"num_horizontal": 0}, "must be positive"),
        ({"num_vertical": 0}, "must be positive"),
        ({"max_height": 0}, "`max_height` must be between"),
        ({"window": 3, "max_height": 4}, "`max_height` must be between"),
        ({"dropout": 1.0}, "`dropout` must be in"),
        ({"form": "x"}, "`form` must be one of"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Caser(N, M, **arguments)
