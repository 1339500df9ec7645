"""The checks find every planted leak, and none in the registered models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from baselines.popularity import Popularity
from data import planted
from data.candidates import candidate_negatives
from data.pipeline import gather_histories
from data.prepared import PreparedData
from experiments.studies.audit import checks, runs, subjects
from experiments.studies.audit.findings import LEAK, NOT_APPLICABLE, OK
from experiments.studies.audit.lists import lists_of_a_kind, shuffled
from harness import build, metrics, scoring
from harness.config import CANDIDATE_SEED
from harness.models import MODELS
from mgnm_tf.batch import TrainEvents
from mgnm_tf.keras2 import keras
from mgnm_tf.recommender import SequentialRecommender
from tests.slow import slow_but

SEED = 1
ROWS = np.arange(0, 600, 4)


@pytest.fixture(scope="module")
def ground():
    with runs.grounds(SEED) as made:
        yield made


def subject_of(name, **changes):
    subject = subjects.find(name, None, [])
    return dataclasses.replace(
        subject, config=dataclasses.replace(subject.config, **changes)
    )


# Each training takes some seconds: the others' are tested with the slow ones.
QUICK = ("item_knn", "mean_pooling", "popularity")
SMALL = {
    "mgnm": {"embedding_dim": 8, "num_interests": 2, "num_layers": 1},
    "mgnm_plus": {"embedding_dim": 8, "num_interests": 2, "num_layers": 1},
    "mimn": {"embedding_dim": 8},
    "sli_rec": {"embedding_dim": 8},
    "surge": {"embedding_dim": 8},
    "tgsrec": {"embedding_dim": 8},
}


@pytest.fixture(
    scope="module",
    params=slow_but(sorted(MODELS), QUICK),
)
def scorer(request, ground):
    subject = subject_of(request.param, max_epochs=2)
    arguments = {**subject.config.arguments, **SMALL.get(request.param, {})}
    config = dataclasses.replace(subject.config, arguments=arguments)
    subject = dataclasses.replace(subject, config=config)
    return runs.trained(subject, ground, ground.world.data, SEED)


def test_pure_noise_scores_chance(scorer, ground):
    tests = ground.world.data.instances["test"]
    noise = ground.world.is_noise(tests)
    lists = lists_of_a_kind(ground.world, "test")
    found = checks.chance(scorer, tests[noise], lists[noise])
    assert (found.verdict, found.expected) == (OK, 0.5)


def test_other_batches_change_no_rank(scorer):
    assert checks.ranks(scorer, "test", ROWS).value == 0


def test_the_target_and_later_events_change_no_score(scorer, ground):
    data, later = ground.world.data, ground.later
    found = checks.later_events(scorer, data, later, "valid", ROWS)
    assert found.value == 0


def test_both_protocols_agree_where_all_items_are_candidates(scorer):
    sampled, full = (
        scorer.ranker.rank("test", name, rows=ROWS).ranks
        for name in ("uni1000", "full")
    )
    np.testing.assert_array_equal(sampled.negatives, full.negatives)
    # Products of other shapes round otherwise: neighbours may change places.
    assert np.abs(sampled.pessimistic - full.pessimistic).max() <= 1
    assert (sampled.pessimistic == full.pessimistic).mean() > 0.98


class Leaky(SequentialRecommender):
    """Scores that know nothing, but for what a leak of each kind would add."""

    def __init__(self, leak=None):
        super().__init__()
        self.leak = leak
        self.calls = self.add_weight("calls", (), initializer="zeros", trainable=False)

    def encode(self, batch, training=None):
        history = tf.cast(batch["history"], tf.float32)
        size, length = tf.unstack(tf.cast(tf.shape(history), tf.float32))
        state = history[:, -1]
        if self.leak == "batch":
            state *= tf.reduce_mean(state)
        elif self.leak == "row":
            state += tf.range(size)
        elif self.leak == "padding":
            state += length
        elif self.leak == "candidates":
            state += tf.cast(
                batch.get("candidates", tf.zeros([1, 1]))[:, 0], tf.float32
            )
        elif self.leak == "randomness":
            state += tf.random.uniform(tf.shape(state))
        elif self.leak == "calls":
            state += self.calls.assign_add(1.0)
        return state

    def score(self, state, candidates):
        logits = tf.sin(state[:, None] * tf.cast(candidates, tf.float32) * 1e2)
        if self.leak == "column":
            logits += tf.one_hot(0, tf.shape(candidates)[1])[None]
        elif self.leak == "set":
            logits -= tf.reduce_max(logits, axis=1, keepdims=True)
        return logits


def untrained(ground, model):
    config = subject_of("popularity").config
    return checks.Scorer(model, build.make_ranker(model, ground.world.data, config))


def findings(ground, leak):
    return runs.findings(untrained(ground, Leaky(leak)), ground, 12, SEED)


@pytest.mark.parametrize(
    ("leak", "seen"),
    [
        (None, set()),
        ("column", {"noise", "random targets", "candidate order", "one by one"}),
        ("set", {"one by one"}),
        ("candidates", {"candidate order", "one by one", "encode"}),
        ("batch", {"batch size", "other users", "ranks"}),
        ("row", {"row order", "batch size", "ranks"}),
        ("padding", {"padding", "ranks"}),
        ("calls", {"repeated call", "ranks"}),
        ("randomness", {"repeated call"}),
    ],
)
def test_a_planted_leak_is_seen_by_the_checks_of_its_kind(ground, leak, seen):
    found = findings(ground, leak)
    assert {name for name, one in found.items() if one.verdict == LEAK} == seen


def test_where_scores_are_random_nothing_is_compared(ground):
    found = findings(ground, "randomness")
    for name in (*checks.COMPARISONS, "encode", "ranks", "later events"):
        assert found[name].verdict == NOT_APPLICABLE
        assert "never has the same scores" in found[name].reason


def test_a_history_that_holds_its_target_is_seen(ground, monkeypatch):
    def one_too_many(data, instances, max_history):
        ends = instances[:, 1] + 1
        shifted = np.stack([instances[:, 0], ends], axis=1)
        return gather_histories(data, shifted, max_history)

    monkeypatch.setattr(scoring, "gather_histories", one_too_many)
    data, later = ground.world.data, ground.later
    scorer = untrained(ground, Leaky())
    found = checks.later_events(scorer, data, later, "valid", ROWS)
    assert found.verdict == LEAK


@pytest.mark.slow
def test_test_events_change_no_training(ground):
    for name in ("popularity", "mean_pooling"):
        subject = subject_of(name, max_epochs=1)
        scorer = runs.trained(subject, ground, ground.world.data, SEED)
        assert runs.trained_again(subject, scorer, ground, SEED).verdict == OK


def test_a_model_adapted_to_test_events_is_seen(ground, monkeypatch):
    def all_events(data):
        owners = np.repeat(np.arange(data.num_users), np.diff(data.store.offsets))
        return TrainEvents(owners.astype(np.int32), data.store.items, data.store.times)

    monkeypatch.setattr(PreparedData, "train_events", all_events)
    subject = subject_of("popularity")
    scorer = runs.trained(subject, ground, ground.world.data, SEED)
    found = runs.trained_again(subject, scorer, ground, SEED)
    assert found.verdict == LEAK


class Unrepeatable(Popularity):
    def adapt(self, train):
        drawn = np.random.default_rng().integers(1, 100, 50).astype(np.int32)
        super().adapt(TrainEvents(train.users[:50], drawn, None))


def test_a_training_that_cannot_be_repeated_accuses_nobody(ground):
    subject = dataclasses.replace(subject_of("popularity"), kind=Unrepeatable)
    scorer = runs.trained(subject, ground, ground.world.data, SEED)
    found = runs.trained_again(subject, scorer, ground, SEED)
    assert found.verdict == NOT_APPLICABLE
    assert "two trainings" in found.reason


@pytest.mark.slow
def test_chance_is_as_wide_as_the_lists_are_few(ground):
    # Scores of nothing: what stands first ranks uniformly among 20, list by list.
    keras.utils.set_random_seed(0)
    scorer = untrained(ground, Leaky("randomness"))
    tests = ground.world.data.instances["test"][:100]
    lists = np.tile(np.arange(1, 22, dtype=np.int32), (100, 1))
    found = [checks.gauc_of(scorer, tests, lists) for _ in range(200)]
    gaucs, bounds = np.array(found).T
    assert bounds[0] == pytest.approx(4 * np.sqrt(22 / 240 / 100))
    assert gaucs.std() == pytest.approx(bounds[0] / 4, rel=0.2)


def test_shuffled_lists_hold_what_they_held_and_any_of_it_first():
    lists = np.tile(np.array([5, 6, 7, 8, 0, 0]), (4_000, 1))
    found = shuffled(lists, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(found[:, :4], axis=1), lists[:, :4])
    assert not found[:, 4:].any()
    assert np.bincount(found[:, 0])[5:] == pytest.approx(1_000, abs=120)


def test_lists_of_a_kind_hold_no_item_of_the_other(ground):
    world = ground.world
    tests = world.data.instances["test"]
    lists = lists_of_a_kind(world, "test")
    for row in (0, 299, 300, 599):
        real = {*lists[row].tolist()} - {0}
        user, end = tests[row]
        start = world.data.store.offsets[user]
        past = {*world.data.store.items[start : start + end].tolist()}
        kind = range(1, 51) if user <= 300 else range(51, 101)
        assert real == {*kind} - past | {lists[row, 0]}
        assert lists[row, 0] == world.data.store.items[start + end]


def test_rewriting_spares_what_comes_before(ground):
    data = ground.world.data
    for part, changed, kept_time in (
        ("valid", ground.later, True),
        ("test", ground.tested, False),
    ):
        for user, end in data.instances[part][::50]:
            first = data.store.offsets[user]
            last = data.store.offsets[user + 1]
            same = data.store.items[first:last] == changed.store.items[first:last]
            assert same.tolist() == [True] * end + [False] * (last - first - end)
            same = data.store.times[first:last] == changed.store.times[first:last]
            end += kept_time
            assert same.tolist() == [True] * end + [False] * (last - first - end)
            assert (np.diff(changed.store.times[first:last]) > 0).all()


def test_candidates_depend_on_nothing_later(ground):
    # Of the validation targets, the test events are all that is later.
    drawn = [
        candidate_negatives(data, "valid", "uni1000", CANDIDATE_SEED)
        for data in (ground.world.data, ground.tested)
    ]
    np.testing.assert_array_equal(*drawn)


def test_training_never_sees_what_is_tested(ground):
    data = ground.world.data
    events = data.train_events()
    for user in (1, 600):
        own = data.store.items[data.store.offsets[user] : data.store.offsets[user + 1]]
        np.testing.assert_array_equal(events.items[events.users == user], own[:-2])


def test_a_noise_user_has_no_item_twice():
    items = planted.noise_items(np.random.default_rng(0), np.array([5, 9]), 9)
    assert len({*items[:5].tolist()}) == 5
    assert {*items[5:].tolist()} == {*range(1, 10)}


@pytest.mark.slow
def test_over_many_worlds_the_noise_ranks_what_is_frequent_by_chance(tmp_path):
    gaucs = []
    for seed in range(20):
        world = planted.world(tmp_path, seed)
        frequency = np.bincount(world.data.train_events().items, minlength=101)
        noise = world.is_noise(world.data.instances["test"])
        lists = lists_of_a_kind(world, "test")[noise]
        scores = frequency[lists]
        found = metrics.rank_scores(scores[:, 0], scores[:, 1:], lists[:, 1:] > 0)
        gaucs.append(metrics.instance_metrics(found)["gauc"])
    # The mean of 20 worlds of 300 lists.
    assert abs(np.mean(gaucs) - 0.5) < 4 / np.sqrt(12 * 300 * 20)
