from __future__ import annotations

import time
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import tensorflow as tf

from baselines import tgsrec
from baselines.tgsrec import TGSRec, TimeEncoding, _node_at
from mgnm_tf import ops
from mgnm_tf.batch import TrainEvents
from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import lazy_adam
from tests import reference, seeds
from tests.slow import slow_but

N, M, D, S, K, E = 5, 8, 4, 3, 2, 40
START, TARGET = 1_000, 1_060
HISTORY = np.array([[0, 4, 7, 2, 6], [3, 5, 1, 5, 2], [0, 0, 0, 0, 0]], np.int32)
TIMES = np.array([[0, 1001, 1013, 1020, 1057], [1002, 1009, 1030, 1044, 1060], [0] * 5])
USERS = np.array([2, 4, 0], np.int32)
CANDIDATES = np.array([[6, 2], [1, 3], [5, 4]], np.int32)


def make_events(count=E, seed=0):
    """A few times more than S for each node; ties, and times after the target."""
    rng = np.random.default_rng(seed)
    users = np.sort(rng.integers(1, N, count)).astype(np.int32)
    times = rng.integers(START, TARGET + 20, count).astype(np.int64)
    times = times[np.lexsort((times, users))]
    return TrainEvents(users, rng.integers(1, M, count).astype(np.int32), times)


@pytest.fixture
def batch():
    return {
        "user": tf.constant(USERS),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
        "history_times": tf.constant(TIMES, tf.int64),
        "target_time": tf.fill([3], tf.constant(TARGET, tf.int64)),
    }


def make_model(batch, events=None, **changes):
    """All weights of a size that matters, biases included."""
    arguments = {"embedding_dim": D, "num_neighbors": S, "time_dim": K, "dropout": 0.0}
    model = TGSRec(num_users=N, num_items=M, **{**arguments, **changes})
    model.adapt(make_events() if events is None else events)
    model(batch)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [1, number]) / 2)
    return model


def events_with(users, items, times):
    """The events and some more, in order of user, then time."""
    more = np.broadcast_arrays(users, items, times)
    columns = [np.append(column, new) for column, new in zip(make_events(), more)]
    order = np.lexsort((columns[2], columns[0]))
    return TrainEvents(*(column[order] for column in columns))


class Reference:
    """Recursion of the paper for one node at one time: no cache, no batch."""

    def __init__(self, model, events):
        self.model = model
        self.tables = {
            "item": model.item_embedding.embeddings.numpy().astype(float),
            "user": model.user_embedding.embeddings.numpy().astype(float),
        }
        self.events = list(zip(*events))

    def encode_time(self, span):
        layer = self.model.time_encoding
        steps = np.linspace(0, -9, layer.num_frequencies)
        w = 10.0**steps * np.exp(layer.log_change.numpy())
        if layer.kind == "cosine":
            return np.cos(w * span + layer.phase.numpy())
        both = np.concatenate([np.cos(w * span), np.sin(w * span)])
        return both * np.sqrt(1 / len(w))

    def past(self, kind, node, time):
        """(other node, time) of all events strictly before, in time order."""
        found = []
        for user, item, when in self.events:
            if (user if kind == "user" else item) == node and when < time:
                found.append((item if kind == "user" else user, when))
        return sorted(found, key=lambda event: event[1])

    def embed(self, kind, node, time, level, past=None):
        if level == 0:
            return self.tables[kind][node] if node else np.zeros(D)
        other = "user" if kind == "item" else "item"
        past = self.past(kind, node, time) if past is None else past
        own = self.embed(kind, node, time, level - 1, past)
        query = np.concatenate([own, self.encode_time(0)])
        keys = [
            np.concatenate(
                [self.embed(other, n, t, level - 1), self.encode_time(time - t)]
            )
            for n, t in past[-S:]
        ]
        return self.layer(self.model.attention[level - 1], query, keys, own)

    def layer(self, layer, query, keys, own):
        names = ("query_kernel", "key_kernel", "value_kernel")
        w_q, w_k, w_v = (getattr(layer, name).numpy() for name in names)
        size, heads = len(query) // layer.num_heads, []
        for head in range(layer.num_heads):
            part = slice(head * size, (head + 1) * size)
            logits = [
                (query @ w_q)[part] @ (key @ w_k)[part] / np.sqrt(size) for key in keys
            ]
            shares = reference.softmax(logits)
            values = [share * (key @ w_v)[part] for share, key in zip(shares, keys)]
            heads.append(sum(values, np.zeros(size)))
        attended = self.dense(layer.output_layer, np.concatenate(heads))
        if layer.residual:
            total = attended + query
            scaled = (total - total.mean()) / np.sqrt(total.var() + 1e-5)
            gamma, beta = (w.numpy() for w in layer.normalization.weights)
            attended = scaled * gamma + beta
        hidden = self.dense(layer.hidden_layer, np.concatenate([attended, own]))
        hidden = np.where(hidden > 0, hidden, layer.negative_slope * hidden)
        return self.dense(layer.last_layer, hidden)

    @staticmethod
    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    def logits(self):
        levels, rows = self.model.num_layers, []
        for user, history, times, items in zip(USERS, HISTORY, TIMES, CANDIDATES):
            past = [(i, t) for i, t in zip(history, times) if i and t < TARGET]
            z_u = self.embed("user", user, TARGET, levels, past)
            z_i = [self.embed("item", item, TARGET, levels) for item in items]
            if self.model.head == "mlp":
                rows.append([reference.mlp_head(self.model.mlp, z_u, z) for z in z_i])
            else:
                rows.append([sum(z_u * z) / np.sqrt(D) for z in z_i])
        return np.array(rows)


SWITCHES = [
    {},
    {"num_layers": 1},
    {"num_layers": 3},
    {"time_encoding": "cosine_sine"},
    {"residual": False, "negative_slope": 0.0},
    {"head": "mlp", "num_heads": 3},
]


@pytest.mark.parametrize("changes", slow_but(SWITCHES, SWITCHES[:1]), ids=str)
def test_logits_match_the_recursion(batch, changes):
    model = make_model(batch, **changes)
    expected = Reference(model, make_events()).logits()
    np.testing.assert_allclose(model(batch), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_layers", slow_but([1, 2, 3], [2]))
def test_what_is_kept_is_what_training_computes(batch, num_layers):
    model = make_model(batch, num_layers=num_layers, sampling="recent")
    kept, computed = model(batch, training=False), model(batch, training=True)
    np.testing.assert_allclose(kept, computed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("cut", "expected"), [(1, []), (2, [1]), (4, [1, 2, 3]), (9, [1, 2, 3, 4])]
)
def test_a_query_finds_what_is_strictly_before(batch, cut, expected):
    one, items = np.ones(5, np.int32), np.array([2, 2, 2, 2, 3], np.int32)
    events = TrainEvents(one, items, np.array([3, 1, 4, 2, 7]))
    graph = make_model(batch, events)._graph
    roots = _node_at(tf.constant([2]), tf.constant([cut], tf.int64))
    first, count = graph.before("item", roots)
    entries = first[:, None] + tf.range(count[0])
    found = graph.partners("item", entries).numpy()[0]
    assert [int(node) for node in found >> 33] == [1] * len(expected)
    assert [int(node) & (2**33 - 1) for node in found] == expected


def test_a_node_with_one_past_event_returns_it(batch):
    events = TrainEvents(
        np.array([1], np.int32), np.array([3], np.int32), np.array([7])
    )
    graph = make_model(batch, events)._graph
    roots = _node_at(tf.constant([1, 1, 2]), tf.constant([8, 7, 8], tf.int64))
    np.testing.assert_array_equal(graph.before("user", roots)[1], [1, 0, 0])


def test_of_many_neighbours_the_newest_are_taken(batch):
    places = make_model(batch)._places(tf.constant([5, 2, 0], tf.int64), False)
    np.testing.assert_array_equal(places, [[2, 3, 4], [-1, 0, 1], [-3, -2, -1]])


def test_a_uniform_sample_repeats_nothing_and_prefers_nothing(batch):
    model = make_model(batch)
    found = model._places(tf.fill([20_000], tf.constant(7, tf.int64)), True).numpy()
    assert (np.diff(found, axis=1) > 0).all()
    shares = np.bincount(found.ravel(), minlength=7) / 20_000
    np.testing.assert_allclose(shares, S / 7, atol=0.02)


def test_a_sample_of_few_is_all_of_them(batch):
    counts = tf.constant([3, 1], tf.int64)
    found = make_model(batch)._places(counts, True)
    np.testing.assert_array_equal(found, [[0, 1, 2], [-2, -1, 0]])


@pytest.mark.parametrize(
    "time_encoding", slow_but(["cosine", "cosine_sine"], ["cosine"])
)
def test_only_differences_of_times_matter(batch, time_encoding):
    model = make_model(batch, time_encoding=time_encoding)
    before = model(batch).numpy()
    events, later = make_events(), 1_400_000_000
    model.adapt(events._replace(times=events.times + later))
    batch["target_time"] += later
    batch["history_times"] = tf.constant(np.where(TIMES > 0, TIMES + later, 0))
    np.testing.assert_allclose(model(batch), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("when", [TARGET, TARGET + 1])
@pytest.mark.parametrize("training", slow_but([False, True], [False]))
def test_an_event_at_the_target_or_later_changes_nothing(batch, when, training):
    model = make_model(batch, sampling="recent")
    before = model(batch, training=training).numpy()
    model.adapt(events_with(3, CANDIDATES.ravel(), when))
    np.testing.assert_array_equal(model(batch, training=training), before)


def test_an_event_just_before_changes_its_item_alone(batch):
    model = make_model(batch)
    before = model(batch).numpy()
    model.adapt(events_with(3, 6, TARGET - 1))
    changed = np.abs(model(batch) - before) > 1e-4
    np.testing.assert_array_equal(changed, CANDIDATES == 6)


def test_the_history_counts_strictly_before_the_target(batch):
    model = make_model(batch)
    before = model.encode(batch)[0].numpy()
    history = HISTORY.copy()
    history[1, -1] = 7  # At the target's time.
    after = model.encode({**batch, "history": tf.constant(history)})[0]
    np.testing.assert_array_equal(after, before)
    history[1, -2] = 7
    after = model.encode({**batch, "history": tf.constant(history)})[0]
    assert np.abs(after - before)[1].max() > 1e-4


def test_the_product_of_encoded_times_is_the_mean_cosine_of_their_span():
    layer = TimeEncoding(2, "cosine_sine")
    layer.build(None)
    layer.start = np.array([1.0, 0.1], np.float32)
    one, other = layer(tf.constant([5.0, 5.0 + np.pi])).numpy()
    assert one @ other == pytest.approx(-0.02447, abs=1e-5)
    assert one @ one == pytest.approx(1.0)


def attention_inputs(model):
    draw = np.random.default_rng(0).normal
    return {
        "own": tf.constant(draw(size=(3, D)).astype("float32")),
        "neighbors": tf.constant(draw(size=(3, S, D)).astype("float32")),
        "encoded": tf.constant(draw(size=(3, S, K)).astype("float32")),
        "now": tf.constant(draw(size=(1, K)).astype("float32")),
        "valid": tf.constant([[True] * 3, [False, True, True], [False] * 3]),
    }


def test_attention_shares_itself_among_the_valid(batch):
    layer = make_model(batch).attention[0]
    inputs = attention_inputs(layer)
    query = tf.concat([inputs.pop("own"), tf.tile(inputs.pop("now"), [3, 1])], axis=1)
    weights = layer.attend(query, **inputs).numpy()
    np.testing.assert_allclose(weights.sum(axis=2), [[1, 1], [1, 1], [0, 0]], rtol=1e-6)
    assert not weights[1, :, 0].any()
    assert np.ptp(weights[0], axis=1).min() > 1e-2


def test_the_order_of_neighbours_does_not_matter(batch):
    layer = make_model(batch).attention[0]
    inputs = attention_inputs(layer)
    before, order = layer(**inputs), [2, 0, 1]
    for name in ("neighbors", "encoded", "valid"):
        inputs[name] = tf.gather(inputs[name], order, axis=1)
    np.testing.assert_allclose(layer(**inputs), before, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_what_is_kept_follows_weights_and_graph(batch):
    model = make_model(batch)
    score = tf.function(lambda given: model(given, training=False), autograph=False)
    score(batch)
    for weight in model.trainable_variables:
        weight.assign_add(tf.random.stateless_normal(weight.shape, [5, 6]) / 4)
    expected = Reference(model, make_events()).logits()
    np.testing.assert_allclose(score(batch), expected, rtol=1e-3, atol=1e-4)
    other = make_events(count=60, seed=1)
    model.adapt(other)
    expected = Reference(model, other).logits()
    np.testing.assert_allclose(score(batch), expected, rtol=1e-3, atol=1e-4)


def test_what_is_kept_is_read_until_a_weight_changes(batch):
    model = make_model(batch)
    before = model(batch).numpy()
    kept = model._graph._cache["item", 1]
    kept.assign(kept + 1.0)
    spoilt = model(batch).numpy()
    assert np.abs(spoilt - before).max() > 1e-3
    np.testing.assert_array_equal(model(batch), spoilt)
    model.user_embedding.embeddings.scatter_nd_add([[0]], tf.ones([1, D]))
    np.testing.assert_allclose(model(batch), before, rtol=1e-5, atol=1e-6)


def test_a_request_beside_another_waits_for_what_is_kept(batch, monkeypatch):
    # A part of three entries at a time: filling takes as long as on a large log.
    monkeypatch.setattr(tgsrec, "_CACHE_FLOATS", 3 * S * max(D, K))
    model = make_model(batch, make_events(3_000))
    table = model.item_embedding.embeddings
    scores = tf.function(lambda: model(batch, training=False))
    scores()
    for turn in range(3):
        table.assign(tf.random.stateless_normal(table.shape, [2, turn]))
        with ThreadPool(4) as pool:
            beside = pool.map(
                lambda number: (time.sleep(0.03 * number), scores().numpy())[1],
                range(4),
            )
        for found in beside:
            np.testing.assert_array_equal(found, scores())


def test_the_graph_is_no_weight_and_in_no_checkpoint(batch, tmp_path):
    model = make_model(batch)
    weights = [*model.variables]
    parameters = model.count_params()
    model.adapt(make_events(count=5_000))
    model(batch)
    assert len(model.variables) == len(weights)
    assert model.count_params() == parameters
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    stored = [shape for _, shape in tf.train.list_variables(path)]
    assert max(size for shape in stored for size in shape or [0]) < 5_000


@pytest.mark.slow
def test_chunks_of_candidates_and_of_events_change_no_score(batch, monkeypatch):
    model = make_model(batch)
    batch["candidates"] = tf.constant(np.tile(np.arange(1, M), (3, 1)), tf.int32)
    before = model(batch).numpy()
    # Two candidates of each row, seven events.
    monkeypatch.setattr(ops, "_CHUNK_FLOATS", 2 * 3 * model._widest)
    monkeypatch.setattr(tgsrec, "_CACHE_FLOATS", 6 * model._widest)
    model.adapt(make_events())
    np.testing.assert_allclose(model(batch), before, rtol=1e-5, atol=1e-6)


def test_row_0_of_either_table_has_no_influence(batch):
    model = make_model(batch)
    for training in (False, True):
        seeds.seed(0)
        model.draws.assign(0)
        before = model(batch, training=training).numpy()
        for table in (model.item_embedding, model.user_embedding):
            table.embeddings.scatter_nd_update([[0]], tf.fill([1, D], 9.0))
        model.draws.assign(0)
        np.testing.assert_array_equal(model(batch, training=training), before)
        for table in (model.item_embedding, model.user_embedding):
            table.embeddings.scatter_nd_update([[0]], tf.zeros([1, D]))


def test_gradients_reach_neighbours_of_neighbours(batch):
    model = make_model(batch)
    row = {key: value[2:] for key, value in batch.items()}  # Unknown; nothing past.
    row["candidates"] = tf.constant([[5]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(row, training=True) ** 2)
    tables = [model.item_embedding.embeddings, model.user_embedding.embeddings]
    items, users = (
        {*np.flatnonzero(tf.convert_to_tensor(found).numpy().any(axis=1)).tolist()}
        for found in tape.gradient(loss, tables)
    )
    assert 5 in items
    assert len(items) > 1
    assert users


def test_a_step_moves_each_frequency_by_a_share_of_itself(batch):
    model = make_model(batch, time_dim=4)
    model.compile(optimizer=lazy_adam(0.01))
    change = model.time_encoding.log_change
    before = change.numpy()
    model.train_step(batch)
    moved = np.abs(change - before)
    assert (moved > 0).all()
    assert moved.max() < 0.011


def test_half_precision_scores_nearly_the_same(batch):
    expected = make_model(batch)(batch).numpy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = make_model(batch)
        found = [model(batch, training=training) for training in (False, True)]
        trained = make_model(batch, sampling="recent")
        same = trained(batch, training=True)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert all(logits.dtype == tf.float32 for logits in found)
    assert all(np.isfinite(logits).all() for logits in found)
    np.testing.assert_allclose(found[0], expected, rtol=0.1, atol=0.05)
    np.testing.assert_allclose(same, expected, rtol=0.1, atol=0.05)


DRAWS = [{"dropout": 0.5, "sampling": "recent"}, {"sampling": "uniform"}]


@pytest.mark.parametrize("changes", slow_but(DRAWS, DRAWS[1:]))
def test_training_draws_anew_and_goes_on_where_a_checkpoint_was(
    batch, tmp_path, changes
):
    model = make_model(batch, **changes)
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    through = [model(batch, training=True).numpy() for _ in range(3)]
    assert np.abs(through[0] - through[1]).max() > 1e-3
    checkpoint.read(path).assert_existing_objects_matched()
    resumed = [model(batch, training=True).numpy() for _ in range(3)]
    np.testing.assert_array_equal(through, resumed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_layers": 0}, "must be positive"),
        ({"num_neighbors": 0}, "must be positive"),
        ({"num_heads": 0}, "must be positive"),
        ({"num_heads": 5}, "`num_heads` must divide"),
        ({"sampling": "x"}, "`sampling` must be one of"),
        ({"time_encoding": "x"}, "`time_encoding` must be one of"),
        ({"dropout": 1.0}, "`dropout` must be in"),
        ({"negative_slope": -0.1}, "`negative_slope` must be in"),
        ({"head": "x"}, "`head` must be one of"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TGSRec(N, M, **arguments)


@pytest.mark.parametrize(
    ("times", "message"),
    [(None, "have none"), ([-1], "seconds in"), ([1_600_000_000_000], "seconds in")],
)
def test_times_that_do_not_fit_are_refused(times, message):
    one = np.ones(1, np.int32)
    events = TrainEvents(one, one, None if times is None else np.array(times))
    with pytest.raises(ValueError, match=message):
        TGSRec(N, M).adapt(events)
