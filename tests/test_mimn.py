from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from baselines.mimn import MIMN, Memory, MemoryMachine, shift_and_sharpen
from mgnm_tf import ops
from mgnm_tf.keras2 import keras
from tests import reference
from tests.reference import assert_close, sigmoid, softmax
from tests.slow import slow_but

N, D, M = 14, 3, 4  # items, size, slots
HISTORY = np.array([[0, 4, 7, 2], [3, 9, 1, 9], [0, 0, 0, 5], [0] * 4], np.int32)
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11], [4, 1]], np.int32)
FORMS = [
    {},
    {"balance": "transfer"},
    {"balance": "none", "num_slots": 2},
    {"induction": False},
    {"balance": "transfer", "addressing": "content"},
    {"addressing": "content"},
]
QUICK = FORMS[:1] + FORMS[-1:]
BATCH = {
    "user": tf.constant([1, 2, 3, 1]),
    "history": tf.constant(HISTORY),
    "candidates": tf.constant(CANDIDATES),
}


def make_model(**changes):
    """All weights of a size that matters, biases and the first slots included."""
    arguments = {"embedding_dim": D, "num_slots": M, **changes}
    model = MIMN(num_users=4, num_items=N, **arguments)
    model(BATCH)
    for number, weight in enumerate(model.weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]) * 0.7)
    return model


# Made once for all tests that change none of its weights.
shared_model = functools.cache(make_model)


# The equations in loops, for one history.


def values(layer):
    return [w.numpy().astype(float) for w in layer.weights]


def gru_step(cell, x, state):
    """A cell of TensorFlow 1: reset before the product; gates in the order z r h."""
    kernel, inner, bias = values(cell)
    a = x @ kernel + bias
    z = sigmoid(a[:D] + state @ inner[:, :D])
    r = sigmoid(a[D : 2 * D] + state @ inner[:, D : 2 * D])
    new = np.tanh(a[2 * D :] + (r * state) @ inner[:, 2 * D :])
    return z * state + (1 - z) * new


def softplus(x):
    return np.log1p(np.exp(x))


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def parameters(machine, head, controller, usage):
    shown = [usage / 400] if machine.balance == "shift" else []
    kernel, bias = values(head)
    return np.clip(np.concatenate([controller, *shown]) @ kernel + bias, -20, 20)


def address(machine, parameters, slots):
    key = np.tanh(parameters[:D])
    if machine.addressing == "content":
        return softmax([cosine(key, slot) for slot in slots])
    strength = 2 * (softplus(parameters[D]) + 1)
    fixed = np.tanh(machine.slot_keys.numpy())
    likeness = [(cosine(key, k) + cosine(key, s)) / 2 for k, s in zip(fixed, slots)]
    return softmax(strength * np.array(likeness))


def balanced(machine, weights, rest, usage):
    count = len(weights)
    if machine.balance == "shift":
        stay, forward, backward = softmax(rest[:3])
        moved = np.zeros(count)
        for j in range(count):
            moved[j] += stay * weights[j]
            moved[(j + 1) % count] += forward * weights[j]
            moved[(j - 1) % count] += backward * weights[j]
        powers = moved ** (4 * (softplus(rest[3]) + 1))
        return powers / powers.sum()
    if machine.balance == "transfer":
        return weights * np.array(softmax(usage @ machine.transfer.numpy()))
    return weights


def run(machine, items):
    """Controller, slots, read, usage, sum of adds by slot, channels; all writes."""
    slots = np.tanh(machine.first_slots.numpy().astype(float))
    count = len(slots)
    read = np.tanh(machine.first_read.numpy().astype(float))
    controller, usage = np.zeros(D), np.zeros(count)
    added, channels = np.zeros((count, D)), np.zeros((count, D))
    for x in items:
        controller = gru_step(machine.controller, np.concatenate([x, read]), controller)
        asked = parameters(machine, machine.read_head, controller, usage)
        read_weights = address(machine, asked, slots)
        told = parameters(machine, machine.write_head, controller, usage)
        weights = address(machine, told, slots)
        rest = told[D + (machine.addressing == "keyed") :]
        erase, add = sigmoid(rest[:D]), np.tanh(rest[D : 2 * D])
        weights = balanced(machine, weights, rest[2 * D :], usage)
        if machine.induction:
            best = int(np.argmax(read_weights))
            given = np.concatenate([x, slots[best]])
            channels[best] = gru_step(machine.induction_cell, given, channels[best])
        read = sum(w * slot for w, slot in zip(read_weights, slots))
        slots = np.array(
            [s * (1 - w * erase) + w * add for w, s in zip(weights, slots)]
        )
        added += np.outer(weights, add)
        usage = usage + weights
    return controller, slots, read, usage, added, channels


def expected_logit(model, row, candidate):
    table = model.item_embedding.embeddings.numpy().astype(float)
    items, item = table[HISTORY[row][HISTORY[row] > 0]], table[candidate]
    machine = model.machine
    controller, slots, read, usage, added, channels = run(machine, items)
    controller = gru_step(machine.controller, np.concatenate([item, read]), controller)
    asked = parameters(machine, machine.read_head, controller, usage)
    found = sum(w * s for w, s in zip(address(machine, asked, slots), slots))
    kernel, bias = values(machine.output_layer)
    output = np.clip(np.concatenate([controller, found]) @ kernel + bias, -20, 20)
    parts = [item, output]
    if model.induction:
        attention = model.channel_attention
        scores = [reference.pair_attention(attention, u, item) for u in channels]
        parts.append(sum(a * u for a, u in zip(softmax(scores), channels)))
    parts.append(added.mean(axis=0) * item)
    total = items.sum(axis=0)
    return reference.mlp_head(model.mlp, total, np.concatenate(parts))


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK))
def test_logits_are_those_of_the_equations_item_by_item(form):
    model = shared_model(**form)
    expected = [
        [expected_logit(model, row, candidate) for candidate in CANDIDATES[row]]
        for row in range(4)
    ]
    np.testing.assert_allclose(model(BATCH), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK))
def test_the_memory_is_that_of_the_equations(form):
    model = shared_model(**form)
    memory, total = model.encode(BATCH)
    table = model.item_embedding.embeddings.numpy().astype(float)
    for row in range(4):
        items = table[HISTORY[row][HISTORY[row] > 0]]
        controller, slots, read, usage, added, channels = run(model.machine, items)
        expected = Memory(controller, slots, read, usage, added.mean(axis=0), channels)
        for found, value in zip(memory, expected):
            np.testing.assert_allclose(found[row], value, rtol=1e-4, atol=1e-5)
        reference.assert_close(total[row], items.sum(axis=0))


def test_shift_and_sharpen_by_hand():
    weights, shifts = tf.constant([[1.0, 0, 0, 0]]), tf.constant([[0.5, 0.3, 0.2]])
    found = shift_and_sharpen(weights, shifts, tf.constant([[1.0]]))
    np.testing.assert_allclose(found, [[0.5, 0.3, 0, 0.2]], atol=1e-6)
    found = shift_and_sharpen(weights, shifts, tf.constant([[2.0]]))
    np.testing.assert_allclose(found, [[0.6579, 0.2368, 0, 0.1053]], atol=1e-4)
    found = shift_and_sharpen(tf.fill([1, 4], 0.25), shifts, tf.constant([[84.0]]))
    np.testing.assert_allclose(found, [[0.25] * 4], rtol=1e-5)


def states(model):
    """The memory before each item of a history, the controller with it, the item."""
    machine = model.machine
    memory = machine.start(tf.constant(1))
    for item in model.item_embedding(tf.range(1, N))[:, None]:
        controller = machine._control(item, memory.read, memory.controller)
        yield memory, controller, item
        memory = machine.step(memory, item)


@pytest.mark.parametrize(
    ("balance", "mass"),
    [("shift", 1), pytest.param("transfer", 0.7, marks=pytest.mark.slow)],
)
def test_weights_over_slots_sum_to_one_but_for_the_papers_balance(balance, mass):
    model = shared_model(balance=balance)
    for memory, controller, _ in states(model):
        read = model.machine.read_weights(memory, controller)
        written, _, _ = model.machine.write(memory, controller)
        assert float(tf.reduce_sum(read)) == pytest.approx(1, rel=1e-5)
        total = float(tf.reduce_sum(written))
        assert total == pytest.approx(1, rel=1e-5) if mass == 1 else total < mass


def test_usage_counts_the_items_whatever_the_padding():
    memory, _ = shared_model().encode(BATCH)
    totals = memory.usage.numpy().sum(axis=1)
    np.testing.assert_allclose(totals, [3, 4, 1, 0], rtol=1e-5)
    wide = {**BATCH, "history": tf.pad(BATCH["history"], [[0, 0], [5, 0]])}
    for found, expected in zip(shared_model().encode(wide)[0], memory):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kept", [False, True])
def test_a_slot_is_overwritten_or_kept(kept, monkeypatch):
    model = shared_model()
    memory, _, item = list(states(model))[2]
    add = tf.constant([[0.5, -0.2, 0.1]])
    told = (
        tf.one_hot([2], M),
        tf.zeros([1, D]) if kept else tf.ones([1, D]),
        tf.zeros([1, D]) if kept else add,
    )
    monkeypatch.setattr(model.machine, "write", lambda *_: told)
    found = model.machine.step(memory, item).slots.numpy()
    expected = memory.slots.numpy()
    if not kept:
        expected[0, 2] = add[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_one_channel_moves_with_each_item():
    model = make_model()
    kernel, bias = model.machine.read_head.weights
    kernel.assign(3 * kernel)
    bias.assign(tf.zeros_like(bias))
    moved = set()
    for memory, controller, item in states(model):
        after = model.machine.step(memory, item).channels
        changed = np.abs(after - memory.channels).max(axis=(0, 2)) > 1e-6
        assert changed.sum() == 1
        weights = model.machine.read_weights(memory, controller)
        assert changed[int(tf.argmax(weights[0]))]
        moved.add(int(changed.argmax()))
    assert len(moved) > 1


def test_reading_for_a_candidate_writes_nothing():
    model = shared_model()
    state = model.encode(BATCH)
    kept = tf.nest.map_structure(lambda value: value.numpy(), state)
    first = model.score(state, BATCH["candidates"])
    np.testing.assert_array_equal(model.score(state, BATCH["candidates"]), first)
    tf.nest.map_structure(np.testing.assert_array_equal, state, kept)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK[-1:]))
def test_chunks_score_as_one(form, monkeypatch):
    model = shared_model(**form)
    batch = {**BATCH, "candidates": tf.constant(np.tile(np.arange(1, N), (4, 1)))}
    before = model(batch)
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 4 * 320 * 5)
    assert_close(model(batch), before)


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK[-1:]))
def test_what_candidates_share_changes_no_score(form, monkeypatch):
    """Training reads each pair by itself; scoring makes a history's part once."""
    model = shared_model(**form)
    batch = {**BATCH, "candidates": tf.constant(np.tile(np.arange(1, N), (4, 1)))}
    expected = model(batch, training=True)
    # Rows one by one, and their candidates in several chunks.
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 320 * 5)
    assert_close(model(batch), expected)


@pytest.mark.slow
def test_the_penalty_is_the_spread_of_the_usage():
    for weight in (0.0, 0.5):
        model = make_model(balance_weight=weight)
        usage = model.encode(BATCH)[0].usage.numpy()
        model(BATCH, training=True)
        spread = ((usage - usage.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        # Over all pairs: the train step divides by their number.
        expected = 0.5 * spread.mean() * CANDIDATES.size
        assert float(sum(model.losses)) == pytest.approx(weight * 2 * expected)
    model(BATCH)
    assert model.losses == []
    assert make_model(balance="none", balance_weight=1.0).balance_weight == 0


def test_the_penalty_reaches_the_weights_that_balance():
    model = make_model(balance_weight=1.0)
    with tf.GradientTape() as tape:
        model(BATCH, training=True)
        loss = sum(model.losses)
    kernel = tape.gradient(loss, model.machine.write_head.kernel).numpy()
    assert (np.abs(kernel[:, -4:]).max(axis=0) > 0).all()


def test_what_the_controller_is_shown_of_usage_has_no_gradient():
    """Nor have the slots that channels see, and the weights of what was added."""
    model = shared_model()
    with tf.GradientTape() as tape:
        memory, controller, _ = list(states(model))[1]
        usage = tf.identity(memory.usage)
        tape.watch(usage)
        given = memory._replace(usage=usage)
        weights, _, _ = model.machine.write(given, controller)
    assert tape.gradient(weights, usage) is None


@pytest.mark.parametrize("form", slow_but(FORMS, QUICK[-1:]))
def test_degenerate_histories_have_finite_gradients(form):
    model = MIMN(4, N, embedding_dim=D, **{"num_slots": M, **form})  # As it starts.
    with tf.GradientTape() as tape:
        logits = model(BATCH, training=True)
    for gradient in tape.gradient(logits, model.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_half_precision_scores_nearly_alike():
    expected = shared_model()(BATCH)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = make_model()
        found = model(BATCH)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found.dtype == tf.float32
    assert model.encode(BATCH)[0].slots.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"balance": "x"}, "`balance` must be one of"),
        ({"addressing": "x"}, "`addressing` must be one of"),
        ({"num_slots": 2}, "`num_slots` must be 3 or more with balance=shift"),
        ({"num_slots": 1, "balance": "none"}, "`num_slots` must be 2 or more"),
        ({"balance_weight": -1.0}, "`balance_weight` must be non-negative"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MIMN(4, N, **arguments)


def test_a_machine_is_made_again_from_its_configuration():
    changes = {"balance": "transfer", "addressing": "content", "induction": False}
    machine = MemoryMachine(5, num_slots=6, **changes)
    again = MemoryMachine.from_config(machine.get_config())
    assert (again.size, again.num_slots) == (5, 6)
    assert {name: getattr(again, name) for name in changes} == changes
