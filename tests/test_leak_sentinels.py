"""Nothing that a model must not see reaches its ranks, under the full protocol."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data import prepared
from data.candidates import candidate_negatives
from data.split import split
from data.store import SequenceStore
from experiments import configs, runner, training
from experiments.metrics import instance_metrics
from experiments.models import MODELS
from experiments.ranking import Ranker
from mgnm_tf.recommender import SequentialRecommender

NUM_USERS, NUM_ITEMS, LENGTH = 300, 60, 8
# A rank among noise is uniform: the mean of n has the deviation 1 / sqrt(12 n).
BOUND = 4 / np.sqrt(12 * NUM_USERS)
SMALL = {"batch_size": 64, "max_epochs": 2, "max_history": 8, "patience": 2}


def build(folder, items, name):
    """Users of eight events each, at times of their own."""
    users = np.repeat(np.arange(1, NUM_USERS + 1), LENGTH)
    times = np.tile(np.arange(LENGTH), NUM_USERS) * 1_000 + 10**9
    store = SequenceStore.build(users, items, times, NUM_USERS + 1, NUM_ITEMS + 1)
    parts, rule = split(store, "leave_one_out")
    meta = {
        "name": name,
        "split": "leave_one_out",
        "split_rule": rule,
        "statistics": {key: len(rows) for key, rows in parts.items()},
    }
    return prepared.write(folder / name / "leave_one_out", store, parts, meta, {})


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Items drawn uniformly, whoever the user: there is nothing to learn.

    No user has an item twice. Negatives never stand in the past; a positive that
    may would be known by that alone.
    """
    drawn = np.random.default_rng(0).random((NUM_USERS, NUM_ITEMS))
    items = np.argsort(drawn, axis=1)[:, :LENGTH].ravel() + 1
    return build(tmp_path_factory.mktemp("noise"), items, "noise")


@pytest.fixture(scope="module", params=sorted(MODELS))
def trained(request, noise, tmp_path_factory):
    config = configs.get_config(request.param, "noise", **SMALL)
    runner.set_up_tensorflow(config, seed=1)
    model = runner.build_model(config, noise, seed=1)
    ranker = runner.make_ranker(model, noise, config)
    if model.trainable_variables:
        folder = tmp_path_factory.mktemp(request.param)
        training.train(model, noise, config, ranker, folder, seed=1)
    return model, config


def rank(trained, data, **changes):
    model, config = trained
    ranker = runner.make_ranker(model, data, dataclasses.replace(config))
    if changes:
        ranker._batch_size = changes["batch_size"]
    return ranker.rank("test", "uni1000").ranks


def test_pure_noise_scores_chance(trained, noise):
    found = instance_metrics(rank(trained, noise))["gauc"]
    assert abs(found - 0.5) < BOUND


def test_the_batches_change_no_rank(trained, noise):
    together = rank(trained, noise)
    apart = rank(trained, noise, batch_size=7)
    np.testing.assert_array_equal(together.pessimistic, apart.pessimistic)
    np.testing.assert_array_equal(together.optimistic, apart.optimistic)


def test_the_order_of_the_rows_changes_no_rank(trained, noise):
    model, config = trained
    ranker = runner.make_ranker(model, noise, config)
    order = np.random.default_rng(1).permutation(NUM_USERS)
    found = ranker.rank("test", "uni1000", rows=order).ranks
    expected = rank(trained, noise)
    np.testing.assert_array_equal(found.pessimistic, expected.pessimistic[order])
    np.testing.assert_array_equal(found.optimistic, expected.optimistic[order])


def test_both_protocols_agree_where_all_items_are_candidates(trained, noise):
    model, config = trained
    ranker = runner.make_ranker(model, noise, config)
    sampled, full = (ranker.rank("test", name).ranks for name in ("uni1000", "full"))
    np.testing.assert_array_equal(sampled.negatives, full.negatives)
    # Products of other shapes round otherwise: neighbours may change places.
    assert np.abs(sampled.pessimistic - full.pessimistic).max() <= 1
    assert (sampled.pessimistic == full.pessimistic).mean() > 0.98


class Leaky(SequentialRecommender):
    """Noise, but for what a leak of each kind would add."""

    def __init__(self, leak):
        super().__init__()
        self.leak = leak

    def encode(self, batch, training=None):
        last = tf.cast(batch["history"][:, -1], tf.float32)
        other = tf.reduce_mean(last) if self.leak == "batch" else 1.0
        return last * other

    def score(self, state, candidates):
        logits = tf.sin(state[:, None] * tf.cast(candidates, tf.float32) * 1e3)
        if self.leak == "column":
            logits += tf.one_hot(0, tf.shape(candidates)[1])[None]
        return logits


def rank_leaky(leak, noise, batch_size=256):
    ranker = Ranker(Leaky(leak), noise, LENGTH, candidate_seed=5, batch_size=batch_size)
    return ranker.rank("test", "uni1000").ranks


def test_these_sentinels_see_a_planted_leak(noise):
    chance = instance_metrics(rank_leaky(None, noise))["gauc"]
    assert abs(chance - 0.5) < BOUND
    assert instance_metrics(rank_leaky("column", noise))["gauc"] > 0.5 + BOUND
    one, other = (rank_leaky("batch", noise, size) for size in (7, 256))
    assert (one.pessimistic != other.pessimistic).any()


def test_events_after_the_target_change_no_rank(trained, noise, tmp_path):
    # Validation targets stand one before the last event, which is rewritten here.
    items = noise.store.items.copy()
    items[LENGTH - 1 :: LENGTH] = items[LENGTH - 1 :: LENGTH] % NUM_ITEMS + 1
    changed = build(tmp_path, items, "changed")
    model, config = trained
    found = [
        runner.make_ranker(model, data, config).rank("valid", "uni1000").ranks
        for data in (noise, changed)
    ]
    np.testing.assert_array_equal(found[0].pessimistic, found[1].pessimistic)
    candidates = [
        candidate_negatives(data, "valid", "uni1000", config.candidate_seed)
        for data in (noise, changed)
    ]
    np.testing.assert_array_equal(*candidates)


def test_training_never_sees_what_is_tested(noise):
    events = noise.train_events()
    for user in (1, NUM_USERS):
        own = noise.store.items[(user - 1) * LENGTH : user * LENGTH]
        seen = events.items[events.users == user]
        np.testing.assert_array_equal(seen, own[: LENGTH - 2])
