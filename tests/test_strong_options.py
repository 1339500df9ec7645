"""What the strong recipe asks of baselines: dropout, and the positive's interest."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.layers import read_positives_interest
from harness.models import MODELS
from tests import seeds

M, D, T, B = 31, 4, 6, 5
SHARED = np.array([7, 3, 30, 11], np.int32)
MULTI_INTEREST = ("mind", "comirec_dr", "comirec_sa")


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "user": tf.range(1, B + 1),
        "history": tf.constant(rng.integers(1, M, (B, T)), tf.int32),
        "candidates": tf.constant(rng.integers(12, 29, (B, 1)), tf.int32),
        "shared_negatives": tf.constant(SHARED),
    }


def make(name, batch, **arguments):
    seeds.seed(1)
    model = MODELS[name](
        B + 1, M, T, embedding_dim=D, embedding_stddev=1.0, **arguments
    )
    model(batch)
    return model


def chosen_by_loops(interests, active, positive, others):
    """Scores of one row: [K, D], [K], [D], [N, D] -> 1 + N numbers."""
    best, own = -np.inf, None
    for interest, is_active in zip(interests, active):
        if is_active and interest @ positive > best:
            best, own = interest @ positive, interest
    return [own @ positive, *(own @ other for other in others)]


@pytest.mark.parametrize("some_inactive", [False, True])
def test_all_candidates_meet_the_interest_nearest_to_the_positive(some_inactive):
    rng = np.random.default_rng(0)
    interests = rng.normal(size=(B, 3, D)).astype("float32")
    positives, others = rng.normal(size=(B, 1, D)), rng.normal(size=(4, D))
    active = np.ones((B, 3, 1), bool)
    if some_inactive:
        active[:, 1:] = rng.random((B, 2, 1)) < 0.5
    found = read_positives_interest(
        tf.constant(interests),
        tf.constant(positives, tf.float32),
        shared=tf.constant(others, tf.float32),
        active=tf.constant(active) if some_inactive else None,
    )
    expected = [
        chosen_by_loops(interests[b], active[b, :, 0], positives[b, 0], others)
        for b in range(B)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MULTI_INTEREST)
def test_the_interest_of_the_positive_is_for_training_alone(name, batch):
    model = make(name, batch, readout="positive")
    hard = make(name, batch, readout="hard")
    np.testing.assert_array_equal(model(batch), hard(batch))
    if name == "mind":  # The draw of the first step, in both.
        model.draws.assign(0)
        hard.draws.assign(0)
    trained, free = (m.training_logits(batch).numpy() for m in (model, hard))
    assert trained.shape == (B, 1 + len(SHARED))
    # The positive has its nearest interest in both; a negative may not choose better.
    np.testing.assert_allclose(trained[:, 0], free[:, 0], rtol=1e-5)
    assert (trained <= free + 1e-5).all()
    assert (trained < free - 1e-3).any()


@pytest.mark.parametrize("name", ["mean_pooling", "a2svd", *MULTI_INTEREST])
def test_dropout_is_of_training_alone_and_drawn_anew(name, batch):
    plain, dropped = make(name, batch), make(name, batch, dropout=0.5)
    np.testing.assert_array_equal(plain(batch), dropped(batch))
    first, second = (dropped(batch, training=True).numpy() for _ in range(2))
    assert np.abs(first - plain(batch)).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("name", ["mean_pooling", "a2svd", *MULTI_INTEREST])
def test_a_model_without_dropout_has_the_weights_it_always_had(name, batch):
    names = [weight.name for weight in make(name, batch).weights]
    assert not [name for name in names if "counted_dropout" in name]
