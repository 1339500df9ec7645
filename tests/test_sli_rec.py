from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.sli_rec import SLiRec
from mgnm_tf import ops
from tests import reference
from tests.slow import slow_but

M, D, DAY = 14, 3, 86_400
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9], [0, 0, 0, 5]], np.int32)
TIMES = np.array([[0, 9, 9, 12], [1, 4, 4.1, 7], [0, 0, 0, 6]]) * DAY // 1
TARGET = np.array([19.0, 7.5, 30.0]) * DAY
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11]], np.int32)
FORMS = [
    {},
    {"use_times": False},
    {"content_gate": True},
    {"attention": "bilinear", "fusion": "linear"},
    {"content_gate": True, "attention": "bilinear", "fusion": "linear"},
]
QUICK = FORMS[:1] + FORMS[-1:]


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2, 3]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
        "history_times": tf.constant(TIMES, tf.int64),
        "target_time": tf.constant(TARGET, tf.int64),
    }


def make_model(batch, **changes):
    """All weights of a size that matters, biases included."""
    model = SLiRec(num_users=4, num_items=M, embedding_dim=D, **changes)
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]) * 0.7)
    return model


def expected_features(row, unit=DAY):
    """Intervals and spans of the real items, one by one."""
    times = TIMES[row][HISTORY[row] > 0]
    intervals = [0.0]
    for earlier, later in zip(times, times[1:]):
        intervals.append(np.log(max((later - earlier) / unit, 0.5)))
    return intervals, [np.log(max((TARGET[row] - t) / unit, 0.5)) for t in times]


def expected_states(model, items, intervals, spans, shares):
    """Eq. 7-12, and 13-15 where `shares` are not None, step by step."""
    lstm, sigmoid = model.lstm, reference.sigmoid
    kernel, bias = (w.numpy().astype(float) for w in lstm.input_layer.weights)
    inner = lstm.recurrent_kernel.numpy()
    state, cell, states = np.zeros(D), np.zeros(D), []
    for step, x in enumerate(items):
        near, far, f, i, o, g = np.split(x @ kernel + bias, 6)
        if model.needs_times:
            for layer, gates, value in (
                (lstm.interval_layer, lstm.interval_gates, intervals[step]),
                (lstm.span_layer, lstm.span_gates, spans[step]),
            ):
                weight, offset = (w.numpy() for w in layer.weights)
                encoded = np.tanh(value * weight[0] + offset)
                to_gate, to_output = np.split(encoded @ gates.kernel.numpy(), 2)
                o = o + to_output
                if layer is lstm.interval_layer:
                    near = near + to_gate
                else:
                    far = far + to_gate
        hf, hi, ho, hg = np.split(state @ inner, 4)
        put = sigmoid(i + hi) * sigmoid(far) * np.tanh(g + hg)
        next_cell = sigmoid(f + hf + 1) * sigmoid(near) * cell + put
        next_state = sigmoid(o + ho) * np.tanh(next_cell)
        share = 1.0 if shares is None else shares[step]
        cell = share * next_cell + (1 - share) * cell
        state = share * next_state + (1 - share) * state
        states.append(state)
    return np.array(states)


def expected_logit(model, row, candidate):
    table = model.item_embedding.embeddings.numpy().astype(float)
    items, item = table[HISTORY[row][HISTORY[row] > 0]], table[candidate]
    intervals, spans = expected_features(row)
    shares = None
    if model.content_gate:
        asked = item @ model.content_layer.kernel.numpy()
        shares = reference.softmax([asked @ x for x in items])
    states = expected_states(model, items, intervals, spans, shares)
    query = item @ model.query_layer.kernel.numpy()
    if model.attention is None:
        scores = [sum(query * h) for h in states]
    else:
        scores = [reference.pair_attention(model.attention, h, query) for h in states]
    short = sum(w * h for w, h in zip(reference.softmax(scores), states))
    long = reference.bag_attention(model.bag, items)
    span = spans[-1] if model.needs_times else 0.0
    context = np.concatenate([long, [span]])
    asked = np.concatenate([item, short])
    share = reference.sigmoid(reference.mlp_head(model.fusion, context, asked))
    return reference.mlp_head(model.mlp, share * long + (1 - share) * short, item)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK))
def test_logits_are_those_of_the_equations_step_by_step(batch, form):
    model = make_model(batch, **form)
    expected = [
        [expected_logit(model, row, candidate) for candidate in CANDIDATES[row]]
        for row in range(3)
    ]
    np.testing.assert_allclose(model(batch), expected, rtol=1e-4, atol=1e-5)


def test_intervals_and_spans_by_hand():
    times = np.array([[0, 0, 0, 3]]) * DAY
    given = {
        "history_times": tf.constant(times, tf.int64),
        "target_time": tf.constant([10 * DAY], tf.int64),
    }
    model = SLiRec(4, M)
    mask = tf.constant([[False, True, True, True]])
    intervals, spans = model.time_features(given, mask)
    np.testing.assert_allclose(intervals, [[0, 0, -0.6931, 1.0986]], atol=1e-4)
    np.testing.assert_allclose(spans, [[0, 2.3026, 2.3026, 1.9459]], atol=1e-4)


def test_the_unit_scales_what_is_told_apart(batch):
    mask = tf.constant(HISTORY > 0)
    for unit in (60.0, 3_600.0):
        found = SLiRec(4, M, time_unit=unit).time_features(batch, mask)
        for row in range(3):
            real = HISTORY[row] > 0
            for feature, expected in zip(found, expected_features(row, unit)):
                np.testing.assert_allclose(feature[row][real], expected, rtol=1e-5)


def test_open_time_gates_leave_a_plain_lstm(batch):
    model = make_model(batch)
    lstm = model.lstm
    kernel, bias = lstm.input_layer.weights
    bias.assign(tf.concat([tf.fill([2 * D], 30.0), bias[2 * D :]], axis=0))
    lstm.interval_gates.kernel.assign(tf.zeros_like(lstm.interval_gates.kernel))
    lstm.span_gates.kernel.assign(tf.zeros_like(lstm.span_gates.kernel))
    kernel.assign(tf.concat([tf.zeros([D, 2 * D]), kernel[:, 2 * D :]], axis=1))

    def reorder(weight):  # From f i o g to the reference's i f g o.
        f, i, o, g = np.split(weight, 4, axis=-1)
        return np.concatenate([i, f, g, o], axis=-1)

    offset = bias.numpy()[2 * D :]
    offset[:D] += 1  # The forget bias.
    items = model.item_embedding.embeddings.numpy()[HISTORY[1]]
    expected = reference.lstm(
        items,
        reorder(kernel.numpy()[:, 2 * D :]),
        reorder(lstm.recurrent_kernel.numpy()),
        reorder(offset),
    )
    found = model.encode(batch).states[1, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_only_differences_of_times_matter(batch):
    model = make_model(batch)
    before = model(batch)
    later = {**batch, "history_times": batch["history_times"] + 123_456}
    assert np.abs(model(later) - before).max() > 1e-3
    later["target_time"] = batch["target_time"] + 123_456
    np.testing.assert_array_equal(model(later), before)
    batch["target_time"] += 40 * DAY
    assert np.abs(model(batch) - before).max() > 1e-3


def test_without_times_none_are_asked_for_or_read(batch):
    model = make_model(batch, use_times=False)
    before = model(batch)
    assert not model.needs_times
    assert make_model(batch).needs_times
    del batch["history_times"], batch["target_time"]
    np.testing.assert_array_equal(model(batch), before)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK))
def test_attention_is_shared_among_real_items(batch, form):
    model = make_model(batch, **form)
    state = model.encode(batch)
    items = model.item_embedding(batch["candidates"])
    shares = model.attend(model.states(state, items), items, state.mask).numpy()
    np.testing.assert_allclose(shares.sum(axis=-1), np.ones((3, 2)), rtol=1e-5)
    assert not shares[np.broadcast_to(HISTORY[:, None] == 0, shares.shape)].any()


def test_the_user_lies_between_long_and_short_term(batch):
    model = make_model(batch)
    state = model.encode(batch)
    items = model.item_embedding(batch["candidates"])
    short = model.short_term(state, items)
    share = model.long_share(state, items, short).numpy()
    assert share.shape == (3, 2, 1)
    assert ((share > 0) & (share < 1)).all()
    assert share.std() > 1e-3
    users = []
    model.mlp = lambda inputs: users.append(inputs[0])
    model._score(state, batch["candidates"])
    expected = share * state.long_term[:, None] + (1 - share) * short
    reference.assert_close(users[0], expected)


def test_the_papers_fusion_has_one_layer(batch):
    model = make_model(batch, fusion="linear")
    state = model.encode(batch)
    items = model.item_embedding(batch["candidates"])
    short = model.short_term(state, items)
    found = model.long_share(state, items, short).numpy()
    kernels = [model.fusion.state_layer.kernel, model.fusion.item_layer.kernel]
    weights, bias = np.concatenate(kernels)[:, 0], model.fusion.state_layer.bias[0]
    for row in range(3):
        for column in range(2):
            long, span = state.long_term[row], state.newest_span[row]
            parts = [long, span, items[row, column], short[row, column]]
            logit = np.concatenate(parts) @ weights + bias
            expected = reference.sigmoid(logit)
            assert found[row, column, 0] == pytest.approx(expected, rel=1e-5)


def test_states_differ_by_candidate_under_the_content_gate_alone(batch):
    plain = make_model(batch).encode(batch).states
    assert plain.shape == (3, 1, 4, D)
    model = make_model(batch, content_gate=True)
    items = model.item_embedding(batch["candidates"])
    states = model.states(model.encode(batch), items)
    assert states.shape == (3, 2, 4, D)
    assert np.abs(states[:2, 0] - states[:2, 1]).max() > 1e-4


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK[-1:]))
def test_chunks_score_as_one(batch, form, monkeypatch):
    model = make_model(batch, **form)
    batch["candidates"] = tf.constant(np.tile(np.arange(1, M), (3, 1)), tf.int32)
    before = model(batch)
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 3 * 4 * 80 * 2)
    np.testing.assert_allclose(model(batch), before, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK[-1:]))
def test_what_candidates_share_changes_no_score(batch, form, monkeypatch):
    """Training reads each pair by itself; scoring makes a history's part once."""
    model = make_model(batch, **form)
    batch["candidates"] = tf.constant(np.tile(np.arange(1, M), (3, 1)), tf.int32)
    expected = model(batch, training=True)
    # Rows one by one, and their candidates in several chunks.
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 4 * 80 * 5)
    np.testing.assert_allclose(model(batch), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK[-1:]))
def test_an_empty_history_has_finite_logits_and_gradients(batch, form):
    model = make_model(batch, **form)
    batch["history"] = tf.zeros([3, 4], tf.int32)
    with tf.GradientTape() as tape:
        logits = model(batch, training=True)
    assert np.isfinite(logits).all()
    for gradient in tape.gradient(logits, model.trainable_variables):
        if gradient is not None:
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_unit": 0}, "`time_unit` must be positive"),
        ({"attention": "x"}, "`attention` must be one of"),
        ({"fusion": "x"}, "`fusion` must be one of"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SLiRec(4, M, **arguments)
