"""Routing of the capsules: its draws, its gradient, its other encoder."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mgnm_tf.counted_draws import seed_pair
from mgnm_tf.layers.sequential_capsule import SequentialCapsule
from tests import reference

L, T, D, K, MAX_HISTORY = 2, 5, 4, 3, 8
REAL = np.ones((1, T), bool)


@pytest.fixture
def levels():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, L, T, D)).astype("float32")


@pytest.fixture
def start():
    return np.random.default_rng(1).normal(size=(T, L, K)).astype("float32")


def make_layer(**arguments):
    return SequentialCapsule(K, MAX_HISTORY, **arguments)


def loops(layer, levels, start, iterations=3, projection=None, encode=None):
    """Eq. 5-11 of the one row, by level: [L, K, D]."""
    if projection is None:
        projection = layer.projection.numpy().astype(float)
    return np.array(
        [
            reference.capsule(
                levels[0, level].astype(float),
                projection,
                layer.output_kernel.numpy().astype(float),
                start[:, level],
                iterations,
                layer.routing_axis,
                encode,
                layer.interest_activation,
                layer.squash_last,
            )
            for level in range(L)
        ]
    )


def test_the_gru_encoder_matches_the_loops(levels, start):
    layer = make_layer(sequence_encoder="gru")
    layer(levels, mask=REAL)
    recurrent = layer.encoder.recurrent
    for number, weight in enumerate(recurrent.weights):
        drawn = tf.random.stateless_normal(weight.shape, [3, number]) / 2
        weight.assign(weight.constraint(drawn) if weight.constraint else drawn)

    def encode(votes):
        there, again = (
            reference.gru(votes[::step], *(w.numpy() for w in way.weights))[::step]
            for step, way in (
                (1, recurrent.forward_layer),
                (-1, recurrent.backward_layer),
            )
        )
        both = np.concatenate([there, again], axis=1)
        return both @ layer.encoder.back.kernel.numpy()

    found = layer(levels, mask=REAL, routing_logits=start)[0]
    expected = loops(layer, levels, start, encode=encode)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axis", ["items", "capsules"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("squash_last", [True, False])
def test_every_reading_of_eq_7_and_11_matches_the_loops(
    levels, start, axis, activation, squash_last
):
    layer = make_layer(
        sequence_encoder="none",
        routing_axis=axis,
        interest_activation=activation,
        squash_last=squash_last,
    )
    found = layer(levels, mask=REAL, routing_logits=start)[0]
    reference.assert_close(found, loops(layer, levels, start))
    assert (found.numpy() < 0).any() == (activation == "linear")


def test_without_the_last_squash_an_interest_can_be_longer_than_one(levels, start):
    lengths = []
    for squash_last in (True, False):
        layer = make_layer(
            sequence_encoder="none",
            interest_activation="linear",
            map_initialization="identity",
            squash_last=squash_last,
        )
        found = layer(9 * levels, mask=REAL, routing_logits=start)
        lengths.append(tf.norm(found, axis=-1).numpy().max())
    assert lengths[0] < 1 < lengths[1]


def test_identity_maps_leave_interests_among_the_items(levels, start):
    layer = make_layer(
        sequence_encoder="none",
        num_iterations=1,
        interest_activation="linear",
        map_initialization="identity",
        squash_last=False,
    )
    found = layer(levels, mask=REAL, routing_logits=start)[0]
    couplings = np.exp(start) / np.exp(start).sum(axis=0)  # [T, L, K]
    means = np.einsum("tlk,ltd->lkd", couplings, levels[0])
    np.testing.assert_allclose(found, means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_learned_logits_are_by_position_from_the_newest(levels, training):
    layer = make_layer(routing_init="learned")
    found = layer(levels, mask=REAL, training=training)
    newest = layer.first_logits[MAX_HISTORY - T :]
    expected = layer(levels, mask=REAL, routing_logits=newest)
    np.testing.assert_array_equal(found, expected)


def test_learned_logits_start_as_the_draw_that_inference_keeps(levels):
    learned, drawn = make_layer(routing_init="learned"), make_layer()
    learned(levels, mask=REAL)
    drawn(levels, mask=REAL)
    np.testing.assert_array_equal(learned.first_logits, drawn.inference_draw)


def test_by_recency_interests_look_back_less_and_less_far(levels):
    layer = make_layer(routing_init="recency")
    layer(levels, mask=REAL)
    ages = np.arange(MAX_HISTORY)[::-1]
    expected = np.stack([-slope * ages for slope in (0.0, 0.25, 0.5)], axis=1)
    for level in range(L):
        np.testing.assert_allclose(layer.first_logits[:, level], expected)


@pytest.mark.parametrize("training", [False, True])
def test_zero_logits_start_from_the_mean(levels, training):
    layer = make_layer(routing_init="zero")
    expected = layer(levels, mask=REAL, routing_logits=tf.zeros([T, L, K]))
    found = layer(levels, mask=REAL, training=training)
    np.testing.assert_array_equal(found, expected)


def test_a_routing_bias_is_added_to_the_first_logits_of_its_row(levels, start):
    layer = make_layer()
    bias = np.random.default_rng(3).normal(size=(2, T, L, K)).astype("float32")
    both = np.concatenate([levels, levels])
    found = layer(both, mask=[REAL[0]] * 2, routing_logits=start, routing_bias=bias)
    for row in range(2):
        expected = layer(levels, mask=REAL, routing_logits=start + bias[row])
        np.testing.assert_allclose(found[row : row + 1], expected, rtol=1e-4, atol=1e-6)


def test_the_encoder_alone_reads_its_shift(levels, start):
    layer = make_layer(sequence_encoder="gru")
    shift = np.random.default_rng(3).normal(size=(1, T, D)).astype("float32")
    layer(levels, mask=REAL)

    def encode(votes):
        sequence = tf.constant((votes + shift[0])[:, None], tf.float32)
        return layer.encoder(sequence, mask=tf.ones([T, 1], tf.bool)).numpy()[:, 0]

    found = layer(levels, mask=REAL, routing_logits=start, encoder_shift=shift)[0]
    expected = loops(layer, levels, start, encode=encode)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_inference_has_one_draw_indexed_from_the_newest(levels):
    layer = make_layer()
    found = layer(levels, mask=REAL)
    newest = layer.inference_draw[MAX_HISTORY - T :]
    expected = layer(levels, mask=REAL, routing_logits=newest)
    np.testing.assert_array_equal(found, expected)


def test_a_training_step_draws_the_next_number_in_eager_and_graph(levels):
    layer = make_layer(sequence_encoder="none")
    layer(levels, mask=REAL)
    graph = tf.function(lambda: layer(levels, mask=REAL, training=True))
    for number in range(3):
        seed = seed_pair(layer.seed, number)
        draw = tf.random.stateless_truncated_normal([T, L, K], seed)
        expected = layer(levels, mask=REAL, routing_logits=draw)
        np.testing.assert_allclose(graph(), expected, rtol=1e-5, atol=1e-6)
    assert int(layer.draws) == 3


@pytest.mark.parametrize("axis", ["items", "capsules"])
def test_the_returned_couplings_are_those_behind_the_interests(levels, axis):
    # Without an encoder the votes stay, and Eq. 7, 8 and 11 can be followed by hand.
    layer = make_layer(sequence_encoder="none", routing_axis=axis)
    mask = tf.constant([[False] + [True] * (T - 1)])
    expected = layer(levels, mask=mask)
    found, couplings = layer(levels, mask=mask, return_couplings=True)
    np.testing.assert_array_equal(found, expected)
    assert not couplings[..., 0].numpy().any()
    votes = np.einsum("bltd,kde->blkte", levels, layer.projection)
    mixed = np.einsum("blkt,blkte->blke", couplings, votes)
    capsules = np.apply_along_axis(reference.squash, -1, mixed)
    by_hand = np.einsum("blke,kef->blkf", capsules, layer.output_kernel).clip(0)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-6)


def gradient(layer, levels, start):
    with tf.GradientTape() as tape:
        found = layer(levels, mask=REAL, routing_logits=start)
        loss = tf.reduce_sum(found**2)
    return tape.gradient(loss, layer.projection).numpy()


@pytest.mark.parametrize("lengths", [[1, 4, 0, T, 2, 3], [3]])
@pytest.mark.parametrize(("num_levels", "num_interests"), [(L, K), (1, 1)])
def test_the_bilstm_in_its_kernel_equals_keras_with_its_gradients(
    lengths, num_levels, num_interests
):
    rng = np.random.default_rng(2)
    mask = np.arange(T) >= T - np.array(lengths)[:, None]
    levels = rng.normal(size=(len(lengths), num_levels, T, D)).astype("float32")
    levels *= mask[:, None, :, None]
    start = rng.normal(size=(T, num_levels, num_interests)).astype("float32")
    layer = SequentialCapsule(num_interests, MAX_HISTORY)
    layer(levels, mask=mask)
    for number, bias in enumerate(w for w in layer.weights if "bias" in w.name):
        drawn = tf.random.stateless_normal(bias.shape, [5, number])
        bias.assign(bias.constraint(drawn))
    found = []
    for under_xla in (True, False):
        with tf.GradientTape() as tape:
            interests = layer(
                levels, mask=mask, routing_logits=start, under_xla=under_xla
            )
            loss = tf.reduce_sum(interests**2)
        gradients = tape.gradient(loss, layer.trainable_variables)
        found.append([interests, *gradients])
    for one, other, weight in zip(*found, [interests, *layer.trainable_variables]):
        # A bias that is pinned to zero has a gradient at padding, which goes nowhere.
        free = getattr(weight, "constraint", None) or tf.identity
        np.testing.assert_allclose(free(one), free(other), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axis", ["items", "capsules"])
def test_a_stopped_gradient_takes_the_couplings_as_given(levels, start, axis):
    layer = make_layer(sequence_encoder="none", routing_axis=axis)
    layer(levels, mask=REAL)
    # The logits of the last iteration, by hand: g += o . z, twice.
    projection = layer.projection.numpy().astype(float)
    routed = start.astype(float)
    for _ in range(2):
        over = 0 if axis == "items" else 2
        powers = np.exp(routed)
        couplings = powers / powers.sum(axis=over, keepdims=True)
        step = np.zeros_like(routed)
        for level in range(L):
            for k in range(K):
                votes = levels[0, level] @ projection[k]
                capsule = reference.squash(couplings[:, level, k] @ votes)
                step[:, level, k] = votes @ capsule
        routed = routed + step
    found = gradient(layer, levels, start)
    layer.num_iterations = 1
    expected = gradient(layer, levels, routed.astype("float32"))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("axis", ["items", "capsules"])
def test_a_whole_gradient_is_the_derivative_of_the_equations(levels, start, axis):
    layer = make_layer(
        sequence_encoder="none", routing_axis=axis, stop_routing_gradient=False
    )
    found = gradient(layer, levels, start)
    projection, step = layer.projection.numpy().astype(float), 1e-5
    expected = np.zeros_like(projection)
    for place in np.ndindex(*projection.shape):
        ends = []
        for sign in (1, -1):
            moved = projection.copy()
            moved[place] += sign * step
            ends.append((loops(layer, levels, start, projection=moved) ** 2).sum())
        expected[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
