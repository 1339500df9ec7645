from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from baselines import surge
from baselines.surge import SURGE
from mgnm_tf import ops
from mgnm_tf.keras2 import keras
from tests import reference
from tests.slow import slow_but

M, D, LENGTH, UNITS, T = 14, 4, 3, 5, 6
# Lengths 5, 6, 2 (fewer than clusters) and 1; an item twice in the first.
HISTORY = np.array(
    [[0, 4, 7, 2, 4, 8], [3, 9, 1, 10, 5, 6], [0, 0, 0, 0, 5, 11], [0, 0, 0, 0, 0, 2]],
    np.int32,
)
CANDIDATES = np.array([[6, 2], [10, 3], [8, 11], [12, 13]], np.int32)
VARIANTS = [
    {},
    {"fusion": "gated"},
    {"adjacency": "weighted"},
    {"adjacency": "weighted", "fusion": "gated", "edge_share": 0.3},
    {"pooling": "topk"},
    {"pooling": "topk", "adjacency": "weighted"},
]
QUICK = VARIANTS[:1] + VARIANTS[-1:]


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2, 3, 1]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(**changes):
    """All weights of a size that matters, biases included."""
    arguments = {"pooled_length": LENGTH, "attention_units": UNITS, **changes}
    model = SURGE(4, M, **{"embedding_dim": D, **arguments})
    model({"history": tf.constant([[1, 2]]), "candidates": tf.constant([[3]])})
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]) * 0.7)
    return model


# Made once for all tests that change none of its weights.
shared_model = functools.cache(make_model)


# The equations in loops, for the real items of one history and one candidate.


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def array(weight):
    return np.array(weight).astype(float)


def connect(items, share, metric=None):
    """Edges, and whether weighted is whether there is a metric."""
    n = len(items)
    scaled = items if metric is None else items * metric
    cosines = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            norms = np.linalg.norm(scaled[i]) * np.linalg.norm(scaled[j])
            cosines[i, j] = sum(scaled[i] * scaled[j]) / norms
    wanted = int(np.ceil(share * n * n))
    threshold = sorted(cosines.ravel(), reverse=True)[wanted - 1] - 1e-6
    edges = np.eye(n)
    for i in range(n):
        for j in range(n):
            if i != j and cosines[i, j] >= threshold:
                edges[i, j] = 1.0 if metric is None else max(cosines[i, j], 0.0)
    return edges


def two_hops(items, edges):
    degrees = edges.sum(axis=1)
    normal = np.array(
        [[a / np.sqrt(p * q) for a, q in zip(row, degrees)]
         for row, p in zip(edges, degrees)]
    )  # fmt: skip
    return normal @ (normal @ items)


def query_score(layer, node, item):
    projected = node @ array(layer.projection)
    joined = np.concatenate([projected, item, projected * item])
    first = array(layer.kernel).reshape(-1, UNITS)
    hidden = leaky(joined @ first + array(layer.bias))
    return (hidden @ array(layer.last.kernel)).item()


def cluster_score(pool, node, cluster):
    projected = node @ array(pool.cluster_layer.kernel)
    joined = np.concatenate([projected, cluster, projected * cluster])
    kernel, bias = map(array, pool.cluster_hidden.weights)
    kernel_2, bias_2 = map(array, pool.cluster_score.weights)
    return (leaky(joined @ kernel + bias) @ kernel_2 + bias_2).item()


def fuse(items, edges, scores, kernel):
    """Eq. 8-9 of any scores [n, n] of pairs: softmax over neighbours."""
    fused = []
    for i in range(len(items)):
        powers = np.exp(scores[i]) * edges[i]
        mixed = sum(p * x for p, x in zip(powers / powers.sum(), items))
        fused.append(leaky(mixed @ kernel + items[i]))
    return np.array(fused)


def assign(pool, items, edges, item, query=None):
    """Fused nodes, attention to them, and S; `query` replaces alpha + beta."""
    if query is None:
        beta = [query_score(pool.query, x, item) for x in items]
        query = np.tile(beta, (len(items), 1))
        if pool.gated:
            clusters = two_hops(items, edges)
            alpha = [cluster_score(pool, x, c) for x, c in zip(items, clusters)]
            query = leaky(query + np.array(alpha)[:, None])
    fused = fuse(items, edges, query, array(pool.fusion_layer.kernel))
    asked = reference.softmax([query_score(pool.query, x, item) for x in fused])
    logits = edges @ fused @ array(pool.assign_kernel)
    clusters = min(len(items), LENGTH)
    shares = np.array([reference.softmax(row[:clusters]) for row in logits])
    return fused, np.array(asked), shares


def node_score(layer, node, query):
    key = node @ array(layer.projection.kernel)
    return reference.pair_attention(layer.pair, key, query)


def topk(pool, items, edges, item):
    """Kept nodes, attention to them, and the readout."""

    def clusters(nodes):
        around = two_hops(nodes, edges)
        pairs = zip(nodes, around)
        return reference.softmax([node_score(pool.cluster, x, c) for x, c in pairs])

    pairs = np.tile(clusters(items), (len(items), 1))
    fused = fuse(items, edges, pairs, array(pool.fusion_layer.kernel))
    asked = reference.softmax([node_score(pool.query, x, item) for x in fused])
    scores = np.array(clusters(fused)) + asked
    best = sorted(sorted(range(len(items)), key=lambda i: -scores[i])[:LENGTH])
    attention = reference.softmax(
        [node_score(pool.reader, fused[i], item) for i in best]
    )
    shares = reference.softmax(scores)  # Over all nodes, before any goes.
    return fused[best], attention, sum(shares[i] * fused[i] for i in best)


def attentional_gru(gru, nodes, attention):
    kernel, bias = map(array, gru.input_layer.weights)
    recurrent = np.concatenate([array(gru.gate_kernel), array(gru.kernel)], axis=1)
    size = len(recurrent)
    state = np.zeros(size)
    for x, a in zip(nodes @ kernel + bias, attention):
        r, u = np.split(reference.sigmoid((x + state @ recurrent)[: 2 * size]), 2)
        c = np.tanh(x[2 * size :] + (r * state) @ recurrent[:, 2 * size :])
        keep = (1 - a) * (1 - u) if gru.released_gate else 1 - a * u
        state = keep * state + (1 - keep) * c
    return state


def expected_logit(model, row, item_id):
    table = array(model.item_embedding.embeddings)
    items, item = table[row[row > 0]], table[item_id]
    metric = None if model.metric is None else array(model.metric)
    edges = connect(items, model.edge_share, metric)
    if hasattr(model.pool, "assign_kernel"):
        fused, asked, shares = assign(model.pool, items, edges, item)
        nodes, attention, readout = shares.T @ fused, shares.T @ asked, asked @ fused
    else:
        nodes, attention, readout = topk(model.pool, items, edges, item)
    state = np.concatenate([attentional_gru(model.gru, nodes, attention), readout])
    return reference.mlp_head(model.mlp, state, np.concatenate([item, readout * item]))


@pytest.mark.parametrize("changes", slow_but(VARIANTS, QUICK))
def test_logits_match_the_loops(batch, changes):
    model = shared_model(**changes)
    expected = [
        [expected_logit(model, row, item) for item in items]
        for row, items in zip(HISTORY, CANDIDATES)
    ]
    np.testing.assert_allclose(model(batch), expected, rtol=1e-4, atol=1e-4)
    assert np.std(expected) > 0.1


# The graph.


def edges_of(items, mask=None, **changes):
    items = tf.constant(items, tf.float32)[None]
    mask = tf.ones(items.shape[:2], tf.bool) if mask is None else tf.constant([mask])
    return shared_model(**changes).connect(items, mask).numpy()[0]


def random_items(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, D))


@pytest.mark.parametrize(
    ("n", "share", "count"),
    # Loops are among the ranked; a cut within a symmetric pair takes both.
    [
        (4, 0.5, 8),
        (3, 0.5, 5),
        (4, 0.3, 6),
        (10, 0.3, 30),
        (10, 0.14, 14),  # In float64, a hair above 14 pairs.
        (4, 1.0, 16),
        (1, 0.5, 1),
    ],
)
def test_a_share_of_all_pairs_are_edges(n, share, count):
    edges = edges_of(random_items(n), edge_share=share)
    np.testing.assert_array_equal(edges, edges.T)
    assert np.diag(edges).tolist() == [1.0] * n
    assert {*edges.ravel().tolist()} <= {0.0, 1.0}
    assert edges.sum() == count


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_share_is_of_real_pairs_and_padding_has_no_edge(share):
    items = random_items(7)
    mask = [False, False, True, True, True, True, True]
    edges = edges_of(items * np.array(mask)[:, None], mask, edge_share=share)
    expected = edges_of(items[2:], edge_share=share)
    np.testing.assert_array_equal(edges[2:, 2:], expected)
    assert not edges[:2].any()
    assert not edges[:, :2].any()


def test_an_item_without_direction_has_its_loop():
    items = random_items(4)
    items[0] = 0
    np.testing.assert_array_equal(edges_of(items, edge_share=0.1), np.eye(4))


def test_the_most_similar_are_connected_by_hand():
    # Cosines by pair: 0-1 0.995, 0-2 0, 0-3 -0.8, 1-2 0.1, 1-3 -0.74, 2-3 0.6.
    items = [[1, 0, 0, 0], [1, 0.1, 0, 0], [0, 2, 0, 0], [-0.4, 0.3, 0, 0]]
    expected = np.eye(4)
    for i, j in [(0, 1), (2, 3)]:
        expected[i, j] = expected[j, i] = 1
    np.testing.assert_array_equal(edges_of(items), expected)
    weighted = edges_of_metric(items, np.ones(D))
    expected[0, 1] = expected[1, 0] = 1 / np.sqrt(1.01)
    expected[2, 3] = expected[3, 2] = 0.6
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


def edges_of_metric(items, metric, **changes):
    model = make_model(adjacency="weighted", **changes)
    model.metric.assign(metric)
    items = tf.constant(items, tf.float32)[None]
    return model.connect(items, tf.ones(items.shape[:2], tf.bool)).numpy()[0]


def test_the_metric_weighs_dimensions_whatever_its_scale():
    items, metric = random_items(5), np.array([1.0, 2.0, 0.1, 0.5])
    one = edges_of_metric(items, metric)
    np.testing.assert_allclose(edges_of_metric(items, 7 * metric), one, rtol=1e-4)
    assert np.abs(edges_of_metric(items, metric[::-1]) - one).max() > 0.1


def test_a_weighted_edge_is_never_negative():
    edges = edges_of_metric(random_items(5), np.ones(D), edge_share=1.0)
    assert edges.min() == 0.0
    assert (edges > 0).sum() < 25


def test_ties_at_the_threshold_are_all_edges():
    # All pairs but the loops tie, up to rounding that the threshold must bridge.
    angles = np.arange(3) * 2 * np.pi / 3
    items = np.zeros((3, D))
    items[:, :2] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert edges_of(items, edge_share=0.4).sum() == 9
    assert edges_of(items, edge_share=0.3).sum() == 3


@pytest.mark.parametrize("count", [1, 2, 24, 25])
def test_the_threshold_lies_just_below_the_kth_value(count):
    values = np.random.default_rng(0).uniform(-1, 1, (2, 5, 5)).astype("float32")
    values[0, 0, :2] = [1.0, -1.0]
    found = surge._kth_largest(tf.constant(values), tf.constant([count, count])).numpy()
    exact = np.sort(values.reshape(2, -1), axis=1)[:, -count]
    assert (found < exact).all()
    assert (exact - found < 2e-6).all()


# Fusion.


def fused_nodes(model, history, candidates):
    history = tf.constant(history, tf.int32)
    graph, prepared = model.encode({"history": history})
    items = model.item_embedding(tf.constant(candidates))
    return model.pool.fuse(items, graph, prepared).numpy()


def test_the_cluster_scores_cancel_in_the_softmax_over_neighbours():
    model = shared_model()
    table = array(model.item_embedding.embeddings)
    items, item = table[HISTORY[1]], table[10]
    edges = connect(items, 0.5)
    beta = np.array([query_score(model.pool.query, x, item) for x in items])
    alpha = np.random.default_rng(0).normal(size=(T, 1))
    expected, *_ = assign(model.pool, items, edges, item, alpha + beta)
    found = fused_nodes(model, HISTORY[1:2], [[10]])
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_the_gate_makes_cluster_scores_matter():
    model = make_model(fusion="gated")
    before = fused_nodes(model, HISTORY[1:2], [[10]])
    model.pool.cluster_score.bias.assign([-3.0])
    after = fused_nodes(model, HISTORY[1:2], [[10]])
    assert np.abs(after - before).max() > 1e-2


@pytest.mark.parametrize("fusion", slow_but(["query", "gated"], ["gated"]))
def test_large_scores_neither_overflow_nor_vanish(fusion):
    model = make_model(fusion=fusion)
    model.pool.query.last.kernel.assign(
        tf.random.stateless_normal([UNITS, 1], [0, 0]) * 200
    )
    table = array(model.item_embedding.embeddings)
    items, item = table[HISTORY[1]], table[10]
    scores = [query_score(model.pool.query, x, item) for x in items]
    assert np.ptp(scores) > 88  # Beyond what exp keeps in float32.
    found = fused_nodes(model, HISTORY[1:2], [[10]])[0, 0]
    assert np.isfinite(found).all()
    # The best node's neighbours read it alone.
    best = int(np.argmax(scores))
    edges = connect(items, 0.5)
    expected = items[best] @ array(model.pool.fusion_layer.kernel)
    for i in np.flatnonzero(edges[best]):
        np.testing.assert_allclose(
            found[i], leaky(expected + items[i]), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("fusion", slow_but(["query", "gated"], ["gated"]))
def test_one_item_reads_itself(fusion):
    model = shared_model(fusion=fusion)
    item = array(model.item_embedding.embeddings)[2]
    expected = leaky(item @ array(model.pool.fusion_layer.kernel) + item)
    found = fused_nodes(model, [[0, 0, 2]], [[5]])[0, 0]
    reference.assert_close(found[2], expected)
    assert not found[:2].any()


# Pooling.


def pooled(model, batch):
    graph, prepared = model.encode(batch)
    items = model.item_embedding(batch["candidates"])
    return model.pool(items, graph=graph, prepared=prepared)


@pytest.mark.parametrize("fusion", slow_but(["query", "gated"], ["gated"]))
def test_shares_and_attention_sum_to_one(batch, fusion):
    found = pooled(shared_model(fusion=fusion), batch)
    real = np.broadcast_to(HISTORY[:, None] > 0, [4, 2, T])
    totals = found.assignment.numpy().sum(axis=-1)
    np.testing.assert_allclose(totals[real], 1.0, rtol=1e-5)
    np.testing.assert_allclose(found.attention.numpy().sum(axis=-1), 1.0, rtol=1e-5)
    # Histories of 2 and 1 items have as many clusters.
    assert not found.assignment.numpy()[2, :, :, 2:].any()
    assert not found.assignment.numpy()[3, :, :, 1:].any()
    assert found.mask.numpy()[:, 0].sum(axis=-1).tolist() == [3, 3, 2, 1]


def test_a_node_for_each_cluster_pools_nothing():
    model = make_model(embedding_dim=4, pooled_length=4, edge_share=0.01)
    model.item_embedding.embeddings.assign(np.eye(M, 4, k=-1))
    model.pool.fusion_layer.kernel.assign(np.zeros((4, 4)))
    model.pool.assign_kernel.assign(100 * np.eye(4))
    history = tf.constant([[1, 2, 3, 4]])
    found = pooled(model, {"history": history, "candidates": tf.constant([[3]])})
    np.testing.assert_allclose(found.nodes[0, 0], np.eye(4), atol=1e-6)
    asked = [query_score(model.pool.query, x, np.eye(4)[2]) for x in np.eye(4)]
    expected = reference.softmax(asked)
    np.testing.assert_allclose(found.attention[0, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(found.readout[0, 0], expected, rtol=1e-4)


def test_no_more_than_the_best_nodes_stay_in_the_order_of_time(batch):
    model = shared_model(pooling="topk")
    _, prepared = model.encode(batch)
    found = pooled(model, batch)
    assert found.nodes.shape == (4, 2, LENGTH, D)
    assert found.mask.numpy().sum(axis=-1).tolist() == [[3, 3], [3, 3], [2, 2], [1, 1]]
    fused = prepared[0].numpy()
    for row in range(2):
        for kept in found.nodes.numpy()[row, 0]:
            assert np.abs(fused[row] - kept).max(axis=1).min() == 0
    # A short history keeps all, wherever padding puts them.
    kept = found.nodes.numpy()[2, 0][found.mask.numpy()[2, 0]]
    np.testing.assert_array_equal(kept, fused[2, -2:])


def test_the_readout_of_kept_nodes_has_their_shares_of_all(batch):
    model = make_model(pooling="topk")
    model.pool.cluster.pair.last.kernel.assign(tf.zeros([40, 1]))
    model.pool.query.pair.last.kernel.assign(tf.zeros([40, 1]))
    found = pooled(model, batch)
    # Equal scores: each of n nodes has 1 / n, those that stay as those that go.
    for row, count in enumerate([5, 6, 2, 1]):
        kept = found.nodes[row, 0][found.mask[row, 0]].numpy()
        np.testing.assert_allclose(
            found.readout[row, 0], kept.sum(axis=0) / count, rtol=1e-4, atol=1e-6
        )


def test_a_node_without_any_score_stays_before_padding(batch):
    model = make_model(pooling="topk")
    for layer in (model.pool.cluster, model.pool.query):
        kernel = layer.pair.last.kernel
        kernel.assign(kernel * 1e4)
    found = pooled(model, batch)
    assert not tf.reduce_all(model.encode(batch)[1][1][:, -2:] > 0)
    assert found.mask.numpy().sum(axis=-1).tolist() == [[3, 3], [3, 3], [2, 2], [1, 1]]


# The regularisers.


def penalties(assignment, adjacency=None, mask=None, weights=(1, 1, 1), **changes):
    names = ("same_mapping", "single_affiliation", "relative_position")
    model = shared_model(**dict(zip(names, map(float, weights))), **changes)
    assignment = tf.constant(assignment, tf.float32)[None]
    size = assignment.shape[1]
    adjacency = tf.eye(size) if adjacency is None else tf.constant(adjacency)
    mask = tf.ones([1, size], tf.bool) if mask is None else tf.constant([mask])
    found = model.penalties(assignment, tf.cast(adjacency, tf.float32)[None], mask)
    return found.numpy().item()


def test_same_mapping_is_the_distance_of_edges_and_shared_clusters():
    edges = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert penalties(edges[:, [0, 2]], edges, weights=(1, 0, 0)) == 0.0
    # S = I: the two mirrored edges are missed.
    found = penalties(np.eye(3), edges, weights=(1, 0, 0))
    assert found == pytest.approx(np.sqrt(2))


def test_single_affiliation_is_the_mean_entropy():
    assert penalties(np.eye(4), weights=(0, 1, 0)) == pytest.approx(0, abs=1e-6)
    found = penalties(np.full((4, 5), 0.2), weights=(0, 1, 0))
    assert found == pytest.approx(np.log(5), rel=1e-5)
    # Padding has no entropy, and no part in the mean.
    shares = np.array([[0.2] * 5, [1, 0, 0, 0, 0], [0.2] * 5])
    found = penalties(shares, mask=[False, True, True], weights=(0, 1, 0))
    assert found == pytest.approx(np.log(5) / 2, rel=1e-5)


@pytest.mark.parametrize(("position", "expected"), [("sum", 99.27), ("mean", 0.0)])
def test_relative_position_of_contiguous_blocks(position, expected):
    blocks = np.repeat(np.eye(5), 4, axis=0)
    found = penalties(blocks, weights=(0, 0, 1), position=position)
    assert found == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("position", ["sum", "mean"])
def test_relative_position_is_zero_for_a_node_a_cluster(position):
    changes = {"weights": (0, 0, 1), "position": position}
    assert penalties(np.eye(4), **changes) == pytest.approx(0, abs=1e-5)
    swapped = np.eye(4)[[1, 0, 2, 3]]
    assert penalties(swapped, **changes) == pytest.approx(np.sqrt(2), rel=1e-5)
    # Two items among three clusters have two of them; padding shifts no position.
    padded = np.concatenate([np.full((1, 3), 1 / 3), np.eye(3)[:2]])
    found = penalties(padded, mask=[False, True, True], **changes)
    assert found == pytest.approx(0, abs=1e-5)


def test_relative_position_means_are_scaled_by_block():
    # Means 2.5 and 2.5 against the centres 1.5 and 3.5, in blocks of two.
    found = penalties(np.full((4, 2), 0.5), weights=(0, 0, 1))
    assert found == pytest.approx(np.sqrt(2) / 2, rel=1e-5)


@pytest.mark.parametrize("fusion", slow_but(["query", "gated"], ["gated"]))
def test_regularisers_of_the_positive_join_the_losses_of_training(batch, fusion):
    weights = {
        "same_mapping": 0.3,
        "single_affiliation": 0.5,
        "relative_position": 0.7,
    }
    model = shared_model(fusion=fusion, **weights)
    model(batch, training=False)
    assert model.losses == []
    model(batch, training=True)
    table = array(model.item_embedding.embeddings)
    total = 0.0
    for row, candidates in zip(HISTORY, CANDIDATES):
        items = table[row[row > 0]]
        edges = connect(items, 0.5)
        _, _, s = assign(model.pool, items, edges, table[candidates[0]])
        n, m = s.shape
        means = [sum(s[:, c] * np.arange(1, n + 1)) / sum(s[:, c]) for c in range(m)]
        centres = [(c + 0.5) * n / m + 0.5 for c in range(m)]
        gaps = [(mean - centre) * m / n for mean, centre in zip(means, centres)]
        total += 0.3 * np.sqrt(((edges - s @ s.T) ** 2).sum())
        total += 0.5 * -(s * np.log(s)).sum() / n
        total += 0.7 * np.sqrt(sum(gap**2 for gap in gaps))
    # Two candidates a row; the train step divides by the number of both.
    assert [float(loss) for loss in model.losses] == [
        pytest.approx(2 * total, rel=1e-4)
    ]


def test_the_released_pooling_has_no_regulariser(batch):
    model = shared_model(pooling="topk", same_mapping=1.0)
    model(batch, training=True)
    assert model.losses == []


def test_a_zero_norm_has_no_gradient_under_xla_too():
    @tf.function(jit_compile=True)
    def gradient(vectors):
        return tf.gradients(surge._norm(vectors), vectors)[0]

    found = gradient(tf.constant([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8]], rtol=1e-5)


@pytest.mark.parametrize("changes", slow_but(VARIANTS, QUICK))
def test_degenerate_histories_have_finite_gradients(changes):
    model = shared_model(**changes)
    history = tf.constant([[0, 0, 2], [0, 0, 0], [2, 2, 2]])
    batch = {"history": history, "candidates": tf.constant([[3, 5]] * 3)}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch, training=True)) + tf.add_n(
            [0.0, *model.losses]
        )
    for gradient in tape.gradient(loss, model.trainable_variables):
        if gradient is not None:
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()


# The GRU.


def read(nodes, attention, mask=None, released_gate=False):
    """A GRU of one unit: u = 1 and c = 1 of a node 1; u = 0.6 and c = -1 of -1."""
    gru = surge._AttentionalGRU(1, released_gate, dtype="float32")
    nodes = tf.constant(nodes, tf.float32)[None, None, :, None]
    attention = tf.constant(attention, tf.float32)[None, None]
    mask = tf.ones(attention.shape, tf.bool) if mask is None else tf.constant([[mask]])
    gru(nodes, attention=attention, mask=mask)
    low, high = np.log(0.6 / 0.4), 20.0
    gru.input_layer.kernel.assign([[0, (high - low) / 2, 20]])
    gru.input_layer.bias.assign([0, (high + low) / 2, 0])
    for weight in (gru.gate_kernel, gru.kernel):
        weight.assign(tf.zeros_like(weight))
    return gru(nodes, attention=attention, mask=mask).numpy().item()


@pytest.mark.parametrize(("released_gate", "expected"), [(False, 0.7), (True, -0.4)])
def test_the_two_gates_by_hand(released_gate, expected):
    found = read([1, -1], [1, 0.25], released_gate=released_gate)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("released_gate", "attention", "expected"),
    # Of 1, then -1 with u = 0.6: kept, a plain GRU 0.4 * 1 - 0.6, or overwritten.
    [(False, 0, 1), (False, 1, -0.2), (True, 0, -0.2), (True, 1, -1)],
)
def test_attention_of_none_and_of_all(released_gate, attention, expected):
    found = read([1, -1], [1, attention], released_gate=released_gate)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("released_gate", [False, True])
def test_a_masked_step_keeps_the_state(released_gate):
    found = read([1, -1], [1, 0.5], [True, False], released_gate)
    assert found == pytest.approx(1.0, abs=1e-4)
    assert read([1, -1], [0, 0], [False, False], released_gate) == 0.0


# The model as a whole.


def test_the_default_length_is_twenty_or_six_tenths():
    assert SURGE(4, M, max_history=50).pool.length == 20
    assert SURGE(4, M, max_history=50, pooling="topk").pool.length == 30


@pytest.mark.parametrize(
    "changes", slow_but([VARIANTS[0], VARIANTS[3], VARIANTS[4]], [VARIANTS[3]])
)
def test_chunks_of_any_size_score_alike(batch, changes, monkeypatch):
    model = shared_model(**changes)
    batch["candidates"] = tf.constant(np.arange(20).reshape(4, 5) % 13 + 1)
    expected = model(batch)
    width = int(model.pool.width(tf.constant(T)))
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 2 * 4 * T * width)
    reference.assert_close(model(batch), expected)  # Scores are sums that cancel.


@pytest.mark.parametrize(
    "changes", slow_but([VARIANTS[0], VARIANTS[3], VARIANTS[4]], [VARIANTS[3]])
)
def test_what_candidates_share_changes_no_score(batch, changes, monkeypatch):
    """Training reads each pair by itself; scoring makes a history's part once."""
    model = shared_model(**changes)
    batch["candidates"] = tf.constant(np.arange(20).reshape(4, 5) % 13 + 1)
    expected = model(batch, training=True)
    # Rows one by one, and their candidates in several chunks.
    width = int(model.pool.width(tf.constant(T)))
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 2 * T * width)
    reference.assert_close(model(batch), expected)


@pytest.mark.parametrize(
    ("changes", "width"),
    [({}, UNITS), ({"fusion": "gated"}, T), ({"pooling": "topk"}, 80)],
)
def test_the_largest_tensor_of_a_candidate_bounds_the_chunks(
    batch, changes, width, monkeypatch
):
    model = shared_model(**changes)
    told = []
    monkeypatch.setattr(
        surge, "by_rows", lambda score, state, ids, floats: told.append(int(floats))
    )
    model.score(model.encode(batch), batch["candidates"])
    assert told == [T * width]


@pytest.mark.slow
def test_a_model_that_first_runs_in_a_graph_of_chunks_has_its_weights(
    batch, monkeypatch
):
    eager, model = (SURGE(4, M, embedding_dim=D) for _ in range(2))
    expected = eager(batch)
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 1)
    score = tf.function(lambda given: model(given, training=False))
    score(batch)
    model.set_weights(eager.get_weights())
    np.testing.assert_allclose(score(batch), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", slow_but(VARIANTS, QUICK))
def test_padding_and_company_change_no_score(batch, changes):
    model = shared_model(**changes)
    expected = model(batch).numpy()
    wide = {**batch, "history": tf.pad(batch["history"], [[0, 0], [9, 0]])}
    np.testing.assert_allclose(model(wide), expected, rtol=1e-4, atol=1e-5)
    for row, length in enumerate([5, 6, 2, 1]):
        alone = {key: value[row : row + 1] for key, value in batch.items()}
        alone["history"] = alone["history"][:, T - length :]
        found = model(alone)
        np.testing.assert_allclose(found[0], expected[row], rtol=1e-4, atol=1e-5)


def reversed_scores(model, batch):
    history = tf.reverse(batch["history"], axis=[1])
    return model({**batch, "history": history}).numpy()


def test_nodes_kept_in_order_are_read_in_order(batch):
    model = shared_model(pooling="topk")
    assert np.abs(reversed_scores(model, batch) - model(batch)).max() > 1e-2


@pytest.mark.parametrize("fusion", slow_but(["query", "gated"], ["gated"]))
def test_soft_clusters_know_the_order_by_their_regulariser_alone(batch, fusion):
    model = shared_model(fusion=fusion, same_mapping=0.0, single_affiliation=0.0)
    found = reversed_scores(model, batch)
    np.testing.assert_allclose(found, model(batch), rtol=1e-4, atol=1e-5)
    model(batch, training=True)
    ahead = float(model.losses[0])
    model({**batch, "history": tf.reverse(batch["history"], [1])}, training=True)
    assert abs(ahead - float(model.losses[0])) > 1e-2 * ahead


@pytest.mark.parametrize("changes", slow_but(VARIANTS, QUICK))
def test_every_weight_has_a_gradient(batch, changes):
    model = shared_model(**changes)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch, training=True) ** 2)
    weights = model.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-7, weight.name


@pytest.fixture
def half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("changes", slow_but(VARIANTS, QUICK[-1:]))
def test_half_precision_gives_float32_logits_near_the_full(
    batch, changes, half_precision
):
    half = make_model(**changes)
    # Embeddings that float16 holds, so that no edge is gained or lost by rounding.
    table = half.item_embedding.embeddings
    table.assign(tf.cast(tf.cast(table, tf.float16), tf.float32))
    found = half(batch)
    assert found.dtype == tf.float32
    assert half.item_embedding.compute_dtype == "float16"
    assert np.isfinite(half(batch, training=True)).all()
    keras.mixed_precision.set_global_policy("float32")
    full = make_model(**changes)
    full.set_weights(half.get_weights())
    expected = full(batch).numpy()
    assert np.abs(found - expected).max() < 0.01 * np.ptp(expected)
    apart = half.score(half.encode(batch), batch["candidates"])
    np.testing.assert_array_equal(apart, found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "x"}, "`pooling` must be one of"),
        ({"adjacency": "x"}, "`adjacency` must be one of"),
        ({"fusion": "x"}, "`fusion` must be one of"),
        ({"position": "x"}, "`position` must be one of"),
        ({"pooled_length": 0}, "`pooled_length` and `attention_units` must be"),
        ({"attention_units": 0}, "`pooled_length` and `attention_units` must be"),
        ({"edge_share": 0.0}, "`edge_share` must be in"),
        ({"edge_share": 1.1}, "`edge_share` must be in"),
        ({"same_mapping": -1.0}, "must be non-negative"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SURGE(4, M, **arguments)
