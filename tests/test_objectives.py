"""The objectives against loops, and what a batch's shared negatives do to them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from harness.models import MODELS
from mgnm_tf import objectives
from mgnm_tf.batch import TrainEvents
from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import lazy_adam
from mgnm_tf.objectives import GeneralizedCrossEntropy, SampledSoftmax
from tests import reference, seeds
from tests.slow import slow_but

N, M, T, D, B = 9, 31, 6, 4, 5
TRAINABLE = [name for name in MODELS if name not in ("popularity", "item_knn")]
# A recurrent net, MGNM itself, and one that reads the history for each candidate.
QUICK = ("gru4rec", "mgnm", "mimn", "mean_pooling")
SHARED = np.array([7, 3, 30, 11, 12, 1, 2, 5], np.int32)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    history = rng.integers(1, M, (B, T)).astype(np.int32)
    for row, length in enumerate([3, T, 1, 4, 0]):
        history[row, : T - length] = 0
    times = np.where(history > 0, 1_000_000 + 5_000 * np.arange(T), 0)
    return {
        "user": np.array([1, 8, 3, 0, 5], np.int32),
        "history": history,
        # Rows 0 and 3 hit a shared negative.
        "candidates": np.array([[11], [4], [29], [7], [6]], np.int32),
        "shared_negatives": SHARED,
        "history_times": times.astype(np.int64),
        "target_time": np.full(B, 2_000_000, np.int64),
    }


def tensors(batch):
    return {key: tf.constant(value) for key, value in batch.items()}


def make(name, objective="sampled_softmax", **arguments):
    seeds.seed(1)
    model = MODELS[name](N, M, 20, embedding_dim=D, **arguments)
    model.objective = objectives.make(objective, M, len(SHARED), calibration=0.75)
    rng = np.random.default_rng(2)
    users = np.sort(rng.integers(1, N, 60)).astype(np.int32)
    items = rng.integers(1, M, 60).astype(np.int32)
    model.adapt(TrainEvents(users, items, np.arange(60, dtype=np.int64) * 5_000))
    model.compile(optimizer=lazy_adam(0.05))
    return model


@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 7)])
def test_sampled_softmax_is_that_of_loops(shape):
    logits = np.random.default_rng(0).normal(size=shape).astype("float32") * 3
    expected = reference.sampled_softmax(logits)
    np.testing.assert_allclose(SampledSoftmax()(logits), expected, rtol=1e-5)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_that_of_loops(calibration):
    logits = np.random.default_rng(0).normal(size=(3, 2, 7)).astype("float32") * 3
    found = GeneralizedCrossEntropy(calibration, sampling_rate=0.02)(logits)
    expected = reference.gbce(logits, calibration, sampling_rate=0.02)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gbce_without_calibration_is_cross_entropy():
    logits = tf.constant(np.random.default_rng(0).normal(size=(3, 7)), tf.float32)
    found = GeneralizedCrossEntropy(0.0, sampling_rate=0.02)(logits)[:, 0]
    plain = tf.reduce_sum(objectives.CrossEntropy()(logits), axis=1)
    np.testing.assert_allclose(found, plain, rtol=1e-5)


def test_gbce_of_the_whole_catalogue_needs_no_calibration():
    full = objectives.make("gbce", num_items=12, num_negatives=10, calibration=0.9)
    assert full.beta == pytest.approx(1.0)
    assert objectives.make("gbce", 12, 256, 0.9) == full


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("mean_pooling", "sampled_softmax"),
        ("mean_pooling", "gbce"),
        ("mgnm", "sampled_softmax"),
        ("mgnm", "gbce"),
        pytest.param(  # Reads the history for each candidate.
            *("sli_rec", "sampled_softmax"), marks=pytest.mark.slow
        ),
    ],
)
def test_the_loss_of_a_step_is_that_of_loops_over_rows(batch, name, objective):
    arguments = {"num_layers": 1, "l1": 0.0} if name == "mgnm" else {}
    model = make(name, objective, l2=0.0, **arguments)
    given = tensors(batch)
    alone = {key: given[key] for key in given if key != "shared_negatives"}
    model(alone)
    expected = []
    for row, positive in enumerate(batch["candidates"][:, 0]):
        ids = [positive, *(item for item in SHARED if item != positive)]
        own = {key: value[row : row + 1] for key, value in alone.items()}
        own["candidates"] = tf.constant([ids], tf.int32)
        if name == "mgnm":
            # The first step's draw of routing logits, not the kept one of inference.
            model.capsule.draws.assign(0)
            logits = model.training_logits(own)[0].numpy()
        else:
            logits = model(own).numpy()
        for level in np.atleast_2d(logits):
            if objective == "gbce":
                rate = len(SHARED) / (M - 2)
                expected.append(reference.gbce(level[None], 0.75, rate).sum())
            else:
                expected.append(reference.sampled_softmax(level[None]).sum())
    if name == "mgnm":
        model.capsule.draws.assign(0)
    loss = float(model.train_step(given)["loss"])
    assert loss == pytest.approx(np.sum(expected) / B, rel=1e-4)


@pytest.mark.parametrize("name", slow_but(sorted(MODELS), QUICK))
def test_shared_items_have_the_scores_of_own_ones(batch, name):
    model = make(name)
    given = tensors({k: v for k, v in batch.items() if k != "shared_negatives"})
    state = model.encode(given, training=False)
    wide = np.broadcast_to(SHARED, (B, len(SHARED)))
    expected = model.score(state, tf.constant(wide))
    found = model.score_items(state, tf.constant(SHARED))
    assert found.shape == (B, len(SHARED))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", slow_but(TRAINABLE, QUICK))
def test_a_step_of_every_model_reaches_the_shared_items(name, batch):
    model = make(name, l2=0.0)
    given = tensors(batch)
    model({key: given[key] for key in given if key != "shared_negatives"})
    tables = [w for w in model.trainable_variables if w.shape[0] == M]
    before = [table.numpy() for table in tables]
    assert np.isfinite(float(model.train_step(given)["loss"]))
    named = {*batch["history"].ravel(), *batch["candidates"].ravel()}
    only_shared = [item for item in SHARED if item not in named]
    assert only_shared
    moved = [table.numpy() != old for table, old in zip(tables, before)]
    assert any(rows[only_shared].any(axis=1).all() for rows in moved)


@pytest.mark.parametrize("name", ["caser", "gru4rec", "mean_pooling"])
def test_the_l2_penalty_counts_shared_rows_once(batch, name):
    arguments = {"gru4rec": {"item_bias": True}}.get(name, {})
    model = make(name, l2=1.0, **arguments)
    given = tensors(batch)
    model.training_logits(given)
    for weight in model.trainable_variables:
        weight.assign(tf.random.stateless_normal(weight.shape, [3, 4]))
    expected = 0.0
    rows = {table.ref(): ids.numpy() for table, ids in model.embedding_rows(given)}
    for weight in model.trainable_variables:
        values = weight.numpy()
        if weight.ref() in rows:
            values = values[np.unique(rows[weight.ref()])]
        expected += (values**2).sum() / 2
    items = next(
        ids
        for table, ids in model.embedding_rows(given)
        if table.shape[0] == M and 0 not in SHARED and set(SHARED) <= set(ids.numpy())
    )
    assert set(batch["candidates"][:, 0]) <= set(items.numpy())
    assert float(model._l2_of_all(given)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("jit_compile", slow_but([False, True], [False]))
def test_only_rows_that_a_batch_names_move(batch, jit_compile):
    model = make("mean_pooling", l2=0.1)
    model.compile(optimizer=lazy_adam(0.05), jit_compile=jit_compile)
    table = model.item_embedding
    given = tensors(batch)
    model(given)
    before = table.embeddings.numpy()
    tf.function(model.train_step, jit_compile=jit_compile)(given)
    moved = np.flatnonzero((table.embeddings.numpy() != before).any(axis=1))
    named = {0, *batch["history"].ravel(), *batch["candidates"].ravel(), *SHARED}
    assert set(moved) <= named
    assert set(SHARED) <= set(moved)


def test_a_negative_that_is_every_rows_positive_is_not_pushed_away(batch):
    model = make("mean_pooling", l2=0.0)
    given = {**batch, "candidates": np.full((B, 1), 9, np.int32)}
    given["shared_negatives"] = np.array([9], np.int32)
    assert float(model.train_step(tensors(given))["loss"]) == 0.0


@pytest.mark.slow
def test_xla_trains_as_well_as_without_on_shared_negatives(batch):
    losses = []
    for jit_compile in (False, True):
        model = make("mean_pooling", l2=0.5)
        model.compile(optimizer=lazy_adam(0.05), jit_compile=jit_compile)
        step = tf.function(model.train_step, jit_compile=jit_compile)
        for _ in range(3):
            model.reset_metrics()
            loss = step(tensors(batch))["loss"]
        losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_float16_compute_trains_on_shared_negatives(batch):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = make("mean_pooling", l2=0.0)
        losses = [float(model.train_step(tensors(batch))["loss"])]
        for _ in range(30):
            model.reset_metrics()
            losses.append(float(model.train_step(tensors(batch))["loss"]))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("name", "calibration", "match"),
    [("softmax", 0.5, "objective"), ("gbce", 1.5, "calibration")],
)
def test_what_no_objective_is_is_refused(name, calibration, match):
    with pytest.raises(ValueError, match=match):
        objectives.make(name, 10, 3, calibration)
