"""MGNM+: each of its parts, and that it is MGNM on the same layers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.mgnm_plus import MGNMPlus
from mgnm_tf.batch import TrainEvents
from mgnm_tf.model import MGNM
from tests import seeds
from tests.slow import slow_but

N, M, D, T = 9, 12, 6, 5
PARTS = (
    "encode_once",
    "newest_item",
    "normalize",
    "cooccurrence_start",
    "item_bias",
)
READINGS = {
    "sequence_encoder": "none",
    "interest_activation": "linear",
    "map_initialization": "identity",
    "routing_init": "recency",
    "squash_last": False,
}


@pytest.fixture
def batch():
    return {
        "user": tf.constant([2, 4]),
        "history": tf.constant([[0, 0, 3, 7, 3], [1, 2, 4, 5, 9]]),
        "candidates": tf.constant([[5, 1, 8], [6, 10, 3]]),
    }


def make(**arguments):
    return MGNMPlus(N, M, max_history=T, embedding_dim=D, **arguments)


def bare(**arguments):
    return make(**{**dict.fromkeys(PARTS, False), "dropout": 0.0, **arguments})


def copied(source, target):
    """Gives the target, weight by weight, what the source has before its own."""
    for weight, other in zip(target.weights, source.weights):
        assert weight.shape == other.shape
        weight.assign(other)


def test_without_its_parts_it_is_a_reading_of_mgnm(batch):
    model = bare()
    plain = MGNM(N, M, max_history=T, embedding_dim=D, num_layers=1, **READINGS)
    model(batch), plain(batch)
    copied(model, plain)
    np.testing.assert_array_equal(model(batch), plain(batch))


def test_the_newest_item_of_a_level_is_added_to_its_interests(batch):
    model = bare(newest_item=True)
    model(batch)
    kernel = tf.random.stateless_normal(model.newest_kernel.shape, [1, 2])
    model.newest_kernel.assign(kernel)
    found = model.encode(batch).vectors
    levels = model._read(batch).levels
    model.newest_kernel.assign(tf.zeros_like(kernel))
    without = model.encode(batch).vectors
    for level in range(2):
        expected = levels[:, level, -1].numpy() @ kernel[level].numpy()
        added = found[:, level] - without[:, level]
        for interest in range(4):
            np.testing.assert_allclose(
                added[:, interest], expected, rtol=1e-4, atol=1e-5
            )


def test_the_bias_of_an_item_is_added_to_its_logits_of_every_level(batch):
    model = bare(item_bias=True)
    before = model(batch, return_levels=True)
    model.item_bias.embeddings.assign(np.arange(M)[:, None])
    added = model(batch, return_levels=True) - before
    expected = np.repeat(batch["candidates"].numpy()[:, None], 2, axis=1)
    np.testing.assert_allclose(added, expected, rtol=1e-5)


def test_the_encoder_knows_the_order(batch):
    backwards = {**batch, "history": tf.reverse(batch["history"], [1])}
    backwards = {key: value[1:] for key, value in backwards.items()}  # No padding.
    forwards = {key: value[1:] for key, value in batch.items()}
    model = bare(encode_once=True)
    model(forwards)
    for scale in model.encoder.scales:
        scale.assign(tf.ones_like(scale))
    model.capsule.first_logits.assign(tf.zeros_like(model.capsule.first_logits))
    assert np.abs(model(forwards) - model(backwards)).max() > 1e-4
    model = bare()
    model(forwards)
    model.capsule.first_logits.assign(tf.zeros_like(model.capsule.first_logits))
    np.testing.assert_allclose(model(forwards), model(backwards), rtol=1e-4)


def test_the_encoder_adds_little_at_first(batch):
    model, without = bare(encode_once=True), bare()
    model(batch), without(batch)
    table = without.item_embedding.embeddings
    table.assign(model.item_embedding.embeddings)
    found = model._embed(batch, training=False) - without._embed(batch, training=False)
    size = np.abs(without._embed(batch, training=False)).mean()
    assert 0 < np.abs(found).mean() < 0.5 * size


def test_interests_are_normalised_and_nothing_is_left_nothing(batch):
    model = bare(normalize=True)
    batch["history"] = tf.constant([[0] * T, [1, 2, 4, 5, 9]])
    model(batch)
    model.norm.beta.assign(tf.ones(D))
    found = model.encode(batch).vectors.numpy()
    assert not found[0].any()
    np.testing.assert_allclose(found[1].mean(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found[1].std(axis=-1), 1.0, rtol=1e-3)


def events(pairs):
    users, items = np.array(pairs, np.int32).T
    return TrainEvents(users, items, None)


def test_items_start_near_those_that_the_same_users_had(batch):
    # Two groups of users, each with items of its own.
    pairs = [(u, i) for u in (1, 2, 3, 4) for i in (1, 2, 3)]
    pairs += [(u, i) for u in (5, 6, 7) for i in (6, 7, 8)]
    model = make()
    model.adapt(events(pairs))
    table = model.item_embedding.embeddings.numpy()
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    assert unit[1] @ unit[2] > 0.9
    assert unit[6] @ unit[7] > 0.9
    assert unit[1] @ unit[6] < 0.1


def test_the_start_has_the_size_of_the_drawn_one_and_comes_again():
    rng = np.random.default_rng(0)
    pairs = sorted({(int(u), int(i)) for u, i in rng.integers(1, (N, M), (60, 2))})
    tables = []
    for _ in range(2):
        seeds.seed(3)
        model = make(embedding_stddev=0.2)
        model.adapt(events(pairs))
        tables.append(model.item_embedding.embeddings.numpy())
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-6)
    assert np.sqrt(np.square(tables[0][1:]).mean()) == pytest.approx(0.2, rel=0.3)


def test_an_item_without_an_event_starts_as_drawn():
    seeds.seed(3)
    plain = make(cooccurrence_start=False)
    plain.adapt(events([(1, 1), (1, 2), (2, 1), (2, 3)]))
    plain.item_embedding(tf.constant([0]))
    seeds.seed(3)
    model = make()
    model.adapt(events([(1, 1), (1, 2), (2, 1), (2, 3)]))
    drawn, found = (m.item_embedding.embeddings.numpy() for m in (plain, model))
    np.testing.assert_array_equal(found[4:], drawn[4:])
    assert np.abs(found[1:4] - drawn[1:4]).max() > 1e-3


@pytest.mark.parametrize("part", slow_but(PARTS, ("normalize", "newest_item")))
def test_a_part_can_be_taken_out(batch, part):
    with_it, without = make(), make(**{part: False})
    with_it(batch), without(batch)
    smaller = without.count_params() < with_it.count_params()
    assert smaller == (part != "cooccurrence_start")
