"""Keras's own `evaluate`, `fit` and `compile`: the objective, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mgnm_tf import MGNM, objectives
from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import LazyAdam
from tests import reference
from tests.slow import slow_but

N, M, T, B = 7, 23, 5, 6
SHARED = np.array([3, 9, 14, 22], np.int32)


def rows(shared=True):
    rng = np.random.default_rng(0)
    given = {
        "user": rng.integers(0, N, B).astype(np.int32),
        "history": rng.integers(1, M, (B, T)).astype(np.int32),
        # The first row's positive is among the shared negatives.
        "candidates": np.array([[9], [1], [2], [4], [5], [6]], np.int32),
    }
    if not shared:
        given["candidates"] = rng.integers(1, M, (B, 4)).astype(np.int32)
    return given


def batches(size, shared=True):
    found = tf.data.Dataset.from_tensor_slices(rows(shared)).batch(size)
    return found.map(lambda b: {**b, "shared_negatives": SHARED}) if shared else found


def made(objective="cross_entropy", **arguments):
    keras.utils.set_random_seed(3)
    given = {"num_layers": 1, "num_interests": 2, "embedding_dim": 4, "l2": 0.0}
    model = MGNM(N, M, T, **{**given, "l1": 0.0, **arguments})
    model.objective = objectives.make(objective, M, len(SHARED), 0.75)
    model.compile(optimizer=keras.optimizers.legacy.SGD(0.0))
    return model


def level_logits(model, candidates):
    given = {**rows(), "candidates": candidates}
    return model({k: tf.constant(v) for k, v in given.items()}, return_levels=True)


@pytest.mark.parametrize("size", slow_but([2, 4, 6], [4]))
def test_evaluate_is_the_mean_over_all_terms_whatever_the_batches(size):
    model = made()
    logits = level_logits(model, rows(shared=False)["candidates"]).numpy()
    labels = np.zeros_like(logits)
    labels[..., 0] = 1.0
    probability = 1 / (1 + np.exp(-logits))
    terms = np.log(np.where(labels == 1, probability, 1 - probability))
    expected = -terms.sum() / (B * 4)  # Each level has a sum of its own, Eq. 16.
    found = model.evaluate(batches(size, shared=False), verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)


def test_evaluate_leaves_out_shared_negatives_that_are_the_positive():
    model = made("sampled_softmax")
    candidates = np.concatenate(
        [rows()["candidates"], np.broadcast_to(SHARED, (B, len(SHARED)))], axis=1
    )
    logits = level_logits(model, candidates).numpy()
    hits = candidates[:, 1:] == candidates[:, :1]
    assert hits.sum() == 1
    expected = 0.0
    for row in range(B):
        kept = np.append(True, ~hits[row])
        expected += reference.sampled_softmax(logits[row][:, kept]).sum()
    found = model.evaluate(batches(4), verbose=0)
    assert found == pytest.approx(expected / B, rel=1e-5)


@pytest.mark.slow
def test_evaluate_holds_the_penalties_and_no_dropout():
    plain, penalised = made(), made(l2=0.5, l1=0.1, dropout=0.9)
    data = batches(B, shared=False)
    alone = plain.evaluate(data, verbose=0)
    batch = next(iter(data))
    penalised(batch)
    for weight, value in zip(penalised.trainable_variables, plain.trainable_variables):
        weight.assign(value)
    penalised(batch)
    penalty = 0.5 * penalised._l2_of_all(batch) + tf.add_n(penalised.losses)
    expected = alone + float(penalty) / (B * 4)
    assert penalised.evaluate(data, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert penalised.evaluate(data, verbose=0) == penalised.evaluate(data, verbose=0)


@pytest.mark.slow
def test_fit_tells_the_validation_loss():
    model = made("sampled_softmax")
    seen = model.fit(batches(4), validation_data=batches(4), epochs=1, verbose=0)
    expected = model.evaluate(batches(4), verbose=0)
    assert seen.history["val_loss"] == [pytest.approx(expected, rel=1e-6)]
    assert expected > 0.5


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"loss": "mse"}, "`loss`"),
        ({"metrics": ["accuracy"]}, "`metrics`"),
        ({"loss": "mse", "loss_weights": [1.0]}, "`loss`, `loss_weights`"),
    ],
)
def test_compile_refuses_what_would_not_be_read(given, named):
    with pytest.raises(ValueError, match=f"takes no {named} here, since the model"):
        made().compile(optimizer="sgd", **given)


def test_compile_refuses_an_optimizer_of_keras_3():
    base = type("Optimizer", (), {"__module__": "keras.src.optimizers.optimizer"})
    foreign = type("Adam", (base,), {})()
    with pytest.raises(ValueError, match="`optimizer` is of Keras 3, which cannot"):
        made().compile(optimizer=foreign)
    for ours in ("adam", keras.optimizers.Adam(), LazyAdam()):
        made().compile(optimizer=ours)
