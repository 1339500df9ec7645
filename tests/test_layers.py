"""The paper's layers against its equations in loops, and the invariants they keep."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mgnm_tf import ops
from mgnm_tf.layers.level_scorer import LevelScorer
from mgnm_tf.layers.sequential_capsule import SequentialCapsule
from mgnm_tf.layers.shared_gcn import SharedGCN
from mgnm_tf.layers.user_aware_graph import UserAwareGraph
from mgnm_tf.ops import masked_softmax, score_in_chunks, squash
from tests import reference, seeds

B, L, T, D, K, C = 2, 3, 5, 4, 2, 6
PADDED = np.array([[False, False, True, True, True], [True] * 5])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def history(rng):
    return rng.normal(size=(B, T, D)).astype("float32")


@pytest.fixture
def user(rng):
    return rng.normal(size=(B, D)).astype("float32")


@pytest.fixture
def levels(rng):
    drawn = rng.normal(size=(B, L, T, D)).astype("float32")
    return drawn * PADDED[:, None, :, None]


# Eq. 1


def test_graph_matches_eq_1(history, user):
    found = UserAwareGraph()(history, user=user, mask=PADDED)
    expected = reference.user_aware_graph(history, user, PADDED)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_graph_is_symmetric_within_zero_and_one(history, user):
    found = UserAwareGraph()(history, user=user, mask=np.ones((B, T), bool)).numpy()
    np.testing.assert_allclose(found, np.swapaxes(found, 1, 2), rtol=1e-6)
    assert (found > 0).all()
    assert (found < 1).all()


def test_graph_ignores_what_padding_holds(history, user):
    before = UserAwareGraph()(history, user=user, mask=PADDED)
    history[~PADDED] = 99.0
    after = UserAwareGraph()(history, user=user, mask=PADDED)
    np.testing.assert_array_equal(before, after)


def test_two_users_with_one_history_have_two_graphs(history, user):
    same = np.repeat(history[1:], 2, axis=0)
    found = UserAwareGraph()(same, user=user, mask=np.ones((2, T), bool)).numpy()
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_sparsity_penalty_by_hand():
    layer = UserAwareGraph(l1=0.1)
    layer(tf.zeros([1, 2, D]), user=tf.zeros([1, D]), mask=tf.constant([[True, True]]))
    # sigmoid(0) = 0.5 for each of the four pairs.
    assert float(layer.losses[0]) == pytest.approx(0.1 * 4 * 0.5)


# Eq. 2-4


@pytest.mark.parametrize("normalization", ["symmetric", "renormalized", "none"])
def test_gcn_matches_eq_2_to_4(history, user, normalization):
    layer = SharedGCN(num_layers=L - 1, normalization=normalization)
    adjacency = UserAwareGraph()(history, user=user, mask=PADDED)
    found = layer(history, adjacency=adjacency, mask=PADDED).numpy()
    for row in range(B):
        real = PADDED[row]
        expected = reference.graph_levels(
            history[row, real].astype(float),
            adjacency.numpy()[row][np.ix_(real, real)],
            layer.kernel.numpy(),
            L - 1,
            normalization,
            0.2,
        )
        np.testing.assert_allclose(found[row][:, real], expected, rtol=2e-5, atol=1e-6)
    assert not found[0][:, ~PADDED[0]].any()


def test_levels_differ_and_level_0_is_the_items(history, user):
    adjacency = UserAwareGraph()(history, user=user, mask=PADDED)
    found = SharedGCN(3)(history, adjacency=adjacency, mask=PADDED).numpy()
    np.testing.assert_array_equal(found[1, 0], history[1])
    for level in range(3):
        assert np.abs(found[:, level + 1] - found[:, level]).max() > 0.01


def test_gcn_takes_a_graph_without_edges(history):
    layer = SharedGCN(1)
    found = layer(history, adjacency=tf.zeros([B, T, T]), mask=PADDED).numpy()
    expected = history[1] @ layer.kernel.numpy()
    reference.assert_close(
        found[1, 1], np.where(expected > 0, expected, 0.2 * expected)
    )


# Eq. 5-11


@pytest.mark.parametrize("axis", ["items", "capsules"])
@pytest.mark.parametrize("encoder", ["bilstm", "none"])
@pytest.mark.parametrize("stop", [True, False])
def test_capsule_matches_eq_5_to_11(levels, rng, axis, encoder, stop):
    layer = SequentialCapsule(
        num_interests=K,
        max_history=9,
        routing_axis=axis,
        sequence_encoder=encoder,
        stop_routing_gradient=stop,
    )
    start = rng.normal(size=(T, L, K)).astype("float32")
    found = layer(levels, mask=PADDED, routing_logits=start).numpy()
    encode = reference.bidirectional(layer) if encoder == "bilstm" else None
    for row in range(B):
        real = PADDED[row]
        for level in range(L):
            expected = reference.capsule(
                levels[row, level, real].astype(float),
                layer.projection.numpy(),
                layer.output_kernel.numpy(),
                start[real, level],
                iterations=3,
                axis=axis,
                encode=encode,
            )
            np.testing.assert_allclose(
                found[row, level], expected, rtol=1e-4, atol=1e-6
            )


def test_couplings_sum_to_one_over_items_and_spare_padding(rng):
    layer = SequentialCapsule(num_interests=K, routing_axis="items")
    logits = rng.normal(size=(T, B, L * K)).astype("float32")
    found = layer.couple(tf.constant(logits), PADDED.T[:, :, None]).numpy()
    np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-5)
    assert not found[~PADDED.T].any()


def test_couplings_sum_to_one_over_capsules_and_spare_padding(rng):
    layer = SequentialCapsule(num_interests=K, routing_axis="capsules")
    logits = rng.normal(size=(T, B, L * K)).astype("float32")
    found = layer.couple(tf.constant(logits), PADDED.T[:, :, None]).numpy()
    sums = found.reshape(T, B, L, K).sum(axis=-1)
    np.testing.assert_allclose(sums[PADDED.T], 1.0, rtol=1e-5)
    assert not found[~PADDED.T].any()


@pytest.mark.parametrize("encoder", ["bilstm", "gru", "transformer", "none"])
def test_more_padding_changes_no_interest(levels, encoder):
    layer = SequentialCapsule(K, max_history=12, sequence_encoder=encoder)
    before = layer(levels, mask=PADDED)
    # Biases start at zero; trained ones must not let padding in either.
    for weight in layer.trainable_weights:
        if "bias" in weight.name:
            drawn = tf.random.stateless_normal(weight.shape, [1, 2])
            weight.assign(weight.constraint(drawn) if weight.constraint else drawn)
    before = layer(levels, mask=PADDED)
    wide = np.pad(levels, [(0, 0), (0, 0), (7, 0), (0, 0)])
    after = layer(wide, mask=np.pad(PADDED, [(0, 0), (7, 0)]))
    np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("encoder", ["bilstm", "gru", "transformer"])
def test_the_order_of_items_matters_with_an_encoder(levels, encoder):
    layer = SequentialCapsule(K, max_history=T, sequence_encoder=encoder)
    start = np.zeros((T, L, K), "float32")
    ahead = layer(levels[1:], mask=PADDED[1:], routing_logits=start)
    back = layer(levels[1:, :, ::-1], mask=PADDED[1:], routing_logits=start)
    assert np.abs(ahead - back).max() > 1e-5


def test_training_draws_anew_and_inference_does_not(levels):
    layer = SequentialCapsule(K, max_history=T, sequence_encoder="none")
    first, second = (layer(levels, mask=PADDED, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    first, second = (layer(levels, mask=PADDED, training=False) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_seed_decides_the_draws(levels):
    def draw(seed):
        seeds.seed(0)
        layer = SequentialCapsule(K, T, sequence_encoder="none", seed=seed)
        return layer(levels, mask=PADDED, training=True)

    np.testing.assert_array_equal(draw(1), draw(1))
    assert np.abs(draw(1) - draw(2)).max() > 1e-4


def test_routing_gradient_stops_where_asked(levels):
    def gradient(stop):
        seeds.seed(0)
        layer = SequentialCapsule(
            K, T, sequence_encoder="none", stop_routing_gradient=stop
        )
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(levels, mask=PADDED) ** 2)
        return tape.gradient(loss, layer.projection).numpy()

    assert np.abs(gradient(True) - gradient(False)).max() > 1e-6


# Eq. 12-14


def test_scorer_matches_eq_12_to_14(rng):
    interests = rng.normal(size=(B, L, K, D)).astype("float32")
    candidates = rng.normal(size=(B, C, D)).astype("float32")
    found = LevelScorer()(interests, candidates=candidates).numpy()
    assert found.shape == (B, L, C)
    for b in range(B):
        for level in range(L):
            for c in range(C):
                expected = reference.level_score(interests[b, level], candidates[b, c])
                assert found[b, level, c] == pytest.approx(expected, rel=1e-4, abs=1e-6)


# ops


def test_squash_by_hand():
    np.testing.assert_allclose(squash(tf.constant([3.0, 4.0])), [0.5769, 0.7692], 1e-4)


def test_squash_of_zero_has_a_finite_gradient():
    zero = tf.zeros([2, 3])
    with tf.GradientTape() as tape:
        tape.watch(zero)
        found = squash(zero)
    assert not found.numpy().any()
    assert np.isfinite(tape.gradient(found, zero)).all()


def test_softmax_of_nothing_is_zero():
    mask = tf.constant([[True, False], [False, False]])
    found = masked_softmax(tf.constant([[1.0, 9.0], [2.0, 3.0]]), mask)
    np.testing.assert_array_equal(found, [[1.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("size", [1, 3, 7, 20])
@pytest.mark.parametrize("traced", [False, True])
def test_chunks_score_as_one(size, traced, monkeypatch):
    seen = []

    def score(candidates):
        seen.append(candidates.shape[1])
        return tf.cast(candidates, tf.float32) * 2

    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 50 * size + 49)
    candidates = tf.random.stateless_uniform([4, 7], [1, 2], 0, 99, tf.int32)
    run = tf.function(score_in_chunks) if traced else score_in_chunks
    found = run(score, candidates, floats=tf.constant(50))
    np.testing.assert_array_equal(found, candidates * 2)
    if not traced:
        assert max(seen) == min(size, 7)


def test_a_candidate_that_fills_memory_alone_is_a_chunk(monkeypatch):
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 1)
    candidates = tf.constant([[1, 2, 3]])
    found = score_in_chunks(lambda ids: tf.cast(ids, tf.float32), candidates, 50)
    np.testing.assert_array_equal(found, candidates)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (UserAwareGraph, {"l1": -1.0}, "`l1` must be non-negative"),
        (SharedGCN, {"num_layers": -1}, "`num_layers` must be non-negative"),
        (SharedGCN, {"normalization": "x"}, "`normalization` must be one of"),
        (SequentialCapsule, {"num_interests": 0}, "`num_interests` must be positive"),
        (SequentialCapsule, {"routing_axis": "x"}, "`routing_axis` must be one of"),
        (SequentialCapsule, {"sequence_encoder": "x"}, "`sequence_encoder` must be"),
        (SequentialCapsule, {"num_iterations": 1}, "at least 2 with a sequence"),
        (SequentialCapsule, {"interest_activation": "x"}, "`interest_activation` must"),
        (SequentialCapsule, {"map_initialization": "x"}, "`map_initialization` must"),
        (SharedGCN, {"map_initialization": "x"}, "`map_initialization` must"),
        (SequentialCapsule, {"routing_init": "x"}, "`routing_init` must be one of"),
        (
            SequentialCapsule,
            {"map_initialization": "identity", "routing_init": "zero"},
            "one and the same for ever",
        ),
    ],
)
def test_a_wrong_argument_is_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_the_gradient_of_a_score_is_that_of_its_definition():
    draw = tf.random.stateless_normal
    interests = tf.Variable(draw([3, 2, 4, 6], [1, 2]) * 2)
    items = tf.Variable(draw([7, 6], [1, 3]))
    upstream = draw([3, 2, 7], [1, 4])
    with tf.GradientTape() as ours:
        found = LevelScorer()(interests, candidates=items)
        loss = tf.reduce_sum(found * upstream)
    with tf.GradientTape() as plain:
        scores = tf.einsum("blkd,cd->blkc", interests, items)
        expected = tf.reduce_sum(tf.nn.softmax(scores, axis=2) * scores, axis=2)
        plain_loss = tf.reduce_sum(expected * upstream)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    variables = [interests, items]
    pairs = zip(ours.gradient(loss, variables), plain.gradient(plain_loss, variables))
    for own, other in pairs:
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
