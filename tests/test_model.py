"""MGNM whole: its scores and its loss against the equations in loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mgnm_tf.counted_draws import seed_pair
from mgnm_tf.keras2 import keras
from mgnm_tf.model import INTEREST_EXTRACTORS
from tests import reference
from tests.small_mgnm import CANDIDATES, HISTORY, D, K, M, N, T, make_batch, make_model


@pytest.fixture
def batch():
    return make_batch()


def expected_levels(model, batch):
    """Eq. 1-14 for each row: [B, L, C]."""
    items = model.item_embedding.embeddings.numpy().astype(float)
    users = model.user_embedding.embeddings.numpy().astype(float)
    capsule = model.capsule
    learned = capsule.routing_init == "learned"
    start = (capsule.first_logits if learned else capsule.inference_draw).numpy()
    encode = reference.bidirectional(model.capsule) if model.capsule.encoder else None
    scores = []
    for row, history in enumerate(HISTORY):
        real = history != 0
        x = items[history[real]]
        mask = np.ones((1, real.sum()), bool)
        user = users[batch["user"].numpy()[row]]
        adjacency = reference.user_aware_graph(x[None], user[None], mask)[0]
        kernel = model.gcn.kernel.numpy()
        operator = model.gcn.normalization
        levels = reference.graph_levels(x, adjacency, kernel, 2, operator, 0.2)
        interests = [
            reference.capsule(
                level,
                model.capsule.projection.numpy(),
                model.capsule.output_kernel.numpy(),
                start[-real.sum() :, number],
                iterations=3,
                axis=model.capsule.routing_axis,
                encode=encode,
                activation=model.capsule.interest_activation,
                squash_last=model.capsule.squash_last,
            )
            for number, level in enumerate(levels)
        ]
        scores.append(
            [
                [reference.level_score(q, items[item]) for item in CANDIDATES[row]]
                for q in interests
            ]
        )
    return np.array(scores)


@pytest.mark.parametrize(
    "arguments",
    [
        {"sequence_encoder": "bilstm"},
        {"sequence_encoder": "none"},
        {"sequence_encoder": "bilstm", "routing_axis": "capsules"},
        {"sequence_encoder": "bilstm", "stop_routing_gradient": False},
        {"sequence_encoder": "bilstm", "normalization": "renormalized"},
        {"sequence_encoder": "bilstm", "normalization": "none"},
        {
            "interest_activation": "linear",
            "map_initialization": "identity",
            "routing_init": "learned",
            "squash_last": False,
        },
    ],
    ids=lambda arguments: "-".join(map(str, arguments.values())),
)
def test_scores_match_eq_1_to_14_by_level(batch, arguments):
    model = make_model(**arguments)
    found = model(batch, return_levels=True)
    expected = expected_levels(model, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_score_is_that_of_the_best_level_eq_15(batch):
    model = make_model()
    found = model(batch)
    expected = expected_levels(model, batch).max(axis=1)
    reference.assert_close(found, expected)


def test_sum_pooling_adds_the_levels(batch):
    model = make_model(level_pooling="sum")
    found = model(batch)
    expected = expected_levels(model, batch).sum(axis=1)
    reference.assert_close(found, expected)


@pytest.mark.parametrize("scope", ["batch", "all"])
def test_the_loss_is_eq_16_over_the_rows(batch, scope):
    theta_1, theta_2 = 0.01, 0.02
    model = make_model(l1=theta_1, l2=theta_2, l2_scope=scope)
    model(batch)
    # Training draws the first g: draw number 0 in place of the stored one.
    seed = seed_pair(model.capsule.seed, 0)
    draw = tf.random.stateless_truncated_normal([T, 3, K], seed)
    model.capsule.inference_draw.assign(draw)
    levels = expected_levels(model, batch)
    labels = np.zeros(levels.shape)
    labels[:, :, 0] = 1.0
    entropy = reference.cross_entropy(levels, labels).sum()
    items = model.item_embedding.embeddings.numpy()
    users = model.user_embedding.embeddings.numpy()
    sparsity = sum(
        reference.user_aware_graph(
            items[history][None], users[user][None], (history != 0)[None]
        ).sum()
        for history, user in zip(HISTORY, batch["user"].numpy())
    )
    tables = (model.item_embedding.embeddings, model.user_embedding.embeddings)
    refs = {table.ref() for table in tables}
    dense = sum(
        (w.numpy() ** 2).sum() / 2
        for w in model.trainable_variables
        if w.ref() not in refs
    )
    touched = np.unique(np.concatenate([HISTORY, CANDIDATES], axis=1))
    if scope == "all":
        rows = (items**2).sum() / 2 + (users**2).sum() / 2
    else:
        rows = (items[touched] ** 2).sum() / 2 + (users[[2, 4]] ** 2).sum() / 2
    expected = (entropy + theta_1 * sparsity + theta_2 * (dense + rows)) / 6
    model.compile(optimizer=keras.optimizers.legacy.SGD(0.0))
    logs = model.train_step(batch)
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-4)


def test_level_losses_are_logged_apart(batch):
    model = make_model()
    model.compile(optimizer=keras.optimizers.legacy.SGD(0.0))
    logs = model.train_step(batch)
    assert {f"level_{level}_loss" for level in range(3)} <= set(logs)
    assert "level_3_loss" not in logs


def test_a_step_leaves_untouched_rows_alone(batch):
    from mgnm_tf.lazy_adam import lazy_adam

    model = make_model()
    model.compile(optimizer=lazy_adam(0.1))
    model(batch)
    before = model.item_embedding.embeddings.numpy()
    model.train_step(batch)
    changed = np.abs(model.item_embedding.embeddings.numpy() - before).max(axis=1) > 0
    touched = np.zeros(M, bool)
    touched[np.concatenate([HISTORY, CANDIDATES], axis=1)] = True
    np.testing.assert_array_equal(changed[1:], touched[1:])


def test_the_bias_of_the_cell_candidate_stays_zero_through_training(batch):
    from mgnm_tf.lazy_adam import lazy_adam

    model = make_model(sequence_encoder="bilstm")
    model.compile(optimizer=lazy_adam(0.1))
    for _ in range(3):
        model.train_step(batch)
    bias = model.capsule.encoder.recurrent.forward_layer.cell.bias.numpy()
    assert not bias[2 * D : 3 * D].any()
    assert np.abs(bias[:D]).min() > 0


TIMES = np.array([[0, 0, 100, 160, 100_000], [5, 5, 5, 90, 10**12]])
REQUEST = np.array([100_000, 10**12 + 7])
IN_TIME = ("time_in_routing", "time_in_encoder", "time_in_graph")


@pytest.fixture
def timed(batch):
    times = {"history_times": TIMES, "target_time": REQUEST}
    return {**batch, **{key: tf.constant(value) for key, value in times.items()}}


def weighted(model):
    """As if trained: what times are worth is not zero."""
    for number, weight in enumerate(w for w in model.weights if "gap" in w.name):
        weight.assign(tf.random.stateless_normal(weight.shape, [7, number]))
    return model


@pytest.mark.parametrize("switch", IN_TIME)
def test_a_time_switch_starts_as_the_model_without_it(timed, switch):
    plain = make_model(sequence_encoder="bilstm")
    model = make_model(sequence_encoder="bilstm", **{switch: True})
    plain(timed), model(timed)
    own = [weight for weight in model.weights if "gap" not in weight.name]
    assert len(own) == len(model.weights) - 1
    for weight, other in zip(own, plain.weights):
        weight.assign(other)
    expected = plain(timed, return_levels=True)
    np.testing.assert_array_equal(model(timed, return_levels=True), expected)
    assert np.abs(weighted(model)(timed, return_levels=True) - expected).max() > 1e-4


@pytest.mark.parametrize("switch", IN_TIME)
def test_times_must_be_there_for_a_time_switch(batch, switch):
    model = make_model(sequence_encoder="bilstm", **{switch: True})
    assert model.needs_times
    with pytest.raises(ValueError, match="reads when events happened"):
        model(batch)


def test_no_time_switch_needs_no_times():
    assert not make_model().needs_times


@pytest.mark.parametrize("switch", IN_TIME)
@pytest.mark.parametrize("change", ["padding", "all later"])
def test_only_gaps_between_real_events_count(timed, switch, change):
    model = make_model(sequence_encoder="bilstm", **{switch: True})
    model(timed)
    weighted(model)
    expected = model(timed)
    other = {**timed}
    if change == "padding":  # One more column; and what stands there means nothing.
        other["history"] = tf.pad(timed["history"], [[0, 0], [1, 0]])[:, 1:]
        real = tf.not_equal(timed["history"], 0)
        other["history_times"] = tf.where(real, timed["history_times"], 77)
    else:
        real = tf.not_equal(timed["history"], 0)
        other["history_times"] = timed["history_times"] + 10**15
        other["target_time"] = timed["target_time"] + 10**15
    np.testing.assert_allclose(model(other), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("switch", IN_TIME)
def test_equal_and_millisecond_times_give_finite_scores(timed, switch):
    model = make_model(sequence_encoder="bilstm", **{switch: True})
    model(timed)
    weighted(model)
    for times, request in (
        (np.full((2, T), 10**9), np.full(2, 10**9)),  # All at once.
        (TIMES * 1_000, REQUEST * 1_000),
        (np.full((2, T), 2**62), np.full(2, 2**62)),
        (np.full((2, T), 9), np.full(2, 3)),  # A clock that went back.
    ):
        other = {
            **timed,
            "history_times": tf.constant(times, tf.int64),
            "target_time": tf.constant(request, tf.int64),
        }
        assert np.isfinite(model(other)).all()


def test_the_graph_in_time_is_symmetric_and_eq_1_with_a_bias(timed):
    model = make_model(time_in_graph=True)
    model(timed)
    weighted(model)
    found = model.explain(timed)["adjacency"]
    gaps = np.abs(TIMES[:, :, None] - TIMES[:, None])
    table = model.graph_gap.table.numpy()
    bias = table[np.floor(np.log2(1.0 + gaps)).astype(int)]
    x = model.item_embedding(timed["history"]).numpy()
    user = model.user_embedding(timed["user"]).numpy()
    expected = reference.user_aware_graph(x, user, HISTORY != 0, bias)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found, tf.transpose(found, [0, 2, 1]), rtol=1e-6)


def test_every_weight_of_the_model_in_time_has_a_gradient(timed):
    model = make_model(sequence_encoder="bilstm", **dict.fromkeys(IN_TIME, True))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sigmoid(model.training_logits(timed))[:, :, 0])
    tables = [gap.table for gap in (model.routing_gap, model.encoder_gap)]
    tables.append(model.graph_gap.table)
    for table, gradient in zip(tables, tape.gradient(loss, tables)):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, table.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"time_in_routing": True, "interest_extractor": "sum"},
            "`time_in_routing` needs",
        ),
        (
            {"time_in_encoder": True, "sequence_encoder": "none"},
            "`time_in_encoder` needs",
        ),
        ({"time_in_graph": True, "num_layers": 0}, "`time_in_graph` needs"),
    ],
)
def test_times_without_their_place_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


def test_dropout_changes_training_alone(batch):
    model = make_model(dropout=0.5)
    stored = model(batch)
    np.testing.assert_array_equal(model(batch), stored)
    one, other = (model(batch, training=True, return_levels=True) for _ in range(2))
    assert np.abs(one - other).max() > 1e-3
    assert int(model.dropout.draws) == 2


def test_l2_spares_learned_logits_of_positions_that_no_history_has(batch):
    model = make_model(routing_init="learned", max_history=2 * T, l2=1.0)
    model(batch)
    tables = {table.ref(): ids for table, ids in model.embedding_rows(batch)}
    ids = tables[model.capsule.first_logits.ref()]
    np.testing.assert_array_equal(ids, np.arange(T, 2 * T))


def test_an_unknown_user_relates_all_items_by_one_half(batch):
    model = make_model()
    batch["user"] = tf.constant([0, 0])
    scores = model(batch)
    model.user_embedding.embeddings.assign_add(tf.ones([N, D]))
    np.testing.assert_array_equal(scores, model(batch))


def test_two_tables_do_not_start_alike(batch):
    model = make_model()
    model(batch)
    items = model.item_embedding.embeddings.numpy()
    assert np.abs(items[:N] - model.user_embedding.embeddings.numpy()).max() > 0.1
    kernels = model.capsule.projection.numpy() - model.capsule.output_kernel.numpy()
    assert np.abs(kernels).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level_pooling": "mean"}, "`level_pooling` must be one of"),
        ({"l2": -1.0}, "`l2` must be non-negative"),
        ({"l2_scope": "x"}, "`l2_scope` must be one of"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(**arguments)


@pytest.mark.parametrize("extractor", INTEREST_EXTRACTORS)
def test_what_is_explained_is_what_scores(batch, extractor):
    model = make_model(interest_extractor=extractor)
    expected = model(batch, return_levels=True)
    found = model.explain(batch)
    np.testing.assert_allclose(found["level_logits"], expected, rtol=1e-5, atol=1e-6)
    x = model.item_embedding(batch["history"]).numpy()
    user = model.user_embedding(batch["user"]).numpy()
    adjacency = reference.user_aware_graph(x, user, HISTORY != 0)
    np.testing.assert_allclose(found["adjacency"], adjacency, rtol=1e-4)
    assert ("interests" in found) == ("couplings" in found) == (extractor == "capsule")


def test_without_a_graph_no_adjacency_is_explained(batch):
    found = make_model(num_layers=0).explain(batch)
    assert "adjacency" not in found
    assert found["interests"].shape == (2, 1, K, D)
