"""Ranks agree with counting by hand, under each protocol and whatever the batches."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from data.candidates import PROTOCOLS, candidate_negatives
from data.pipeline import gather_histories, targets
from harness import evaluation, run_folder, sampling
from harness import ranker as ranking
from harness.ranker import Ranker
from harness.scoring import like_lengths
from mgnm_tf.recommender import SequentialRecommender


class Lookup(SequentialRecommender):
    """Scores an item by a fixed table, whatever the history."""

    def __init__(self, scores):
        super().__init__()
        self.scores = tf.constant(scores, tf.float32)

    def encode(self, batch, training=None):
        return batch["user"]

    def score(self, state, candidates):
        return tf.gather(self.scores, candidates)


@pytest.fixture
def scores(tiny_data):
    # Few distinct values, so that ties occur.
    return np.random.default_rng(0).integers(0, 9, tiny_data.num_items).astype(float)


def make_ranker(scores, data, **kwargs):
    return Ranker(Lookup(scores), data, max_history=8, candidate_seed=5, **kwargs)


def test_sampled_ranks_count_the_negatives_above(scores, tiny_data):
    ranks = make_ranker(scores, tiny_data).rank("test", "uni1000").ranks
    instances = tiny_data.instances["test"]
    negatives = candidate_negatives(tiny_data, "test", "uni1000", 5)
    for row, positive in enumerate(targets(tiny_data, instances)):
        others = [scores[item] for item in negatives[row] if item != 0]
        assert ranks.negatives[row] == len(others)
        above = sum(other > scores[positive] for other in others)
        tied = sum(other == scores[positive] for other in others)
        assert ranks.optimistic[row] == above
        assert ranks.pessimistic[row] == above + tied


def test_full_ranks_count_the_catalogue_without_the_past(scores, tiny_data):
    ranks = make_ranker(scores, tiny_data).rank("test", "full").ranks
    store = tiny_data.store
    for row, (user, end) in enumerate(tiny_data.instances["test"]):
        events = store.items[store.offsets[user] : store.offsets[user + 1]]
        positive, past = events[end], {*events[:end].tolist()}
        others = {*range(1, tiny_data.num_items)} - past - {int(positive)}
        bar = scores[positive]
        assert ranks.negatives[row] == len(others)
        assert ranks.optimistic[row] == sum(scores[item] > bar for item in others)
        assert ranks.pessimistic[row] == sum(scores[item] >= bar for item in others)


def test_ranks_do_not_depend_on_the_batches(scores, tiny_data):
    one = make_ranker(scores, tiny_data, batch_size=3).rank("test", "uni1000", True)
    other = make_ranker(scores, tiny_data, batch_size=64).rank("test", "uni1000", True)
    np.testing.assert_array_equal(one.ranks.pessimistic, other.ranks.pessimistic)
    np.testing.assert_array_equal(one.users.pessimistic, other.users.pessimistic)


def test_batches_after_a_failure_are_not_begun(scores, tiny_data):
    begun = []

    def fails_at_once(data, instances, max_history):
        begun.append(instances)
        if len(begun) == 1:
            raise RuntimeError("of the first batch")
        time.sleep(0.2)
        return gather_histories(data, instances, max_history)

    ranker = make_ranker(scores, tiny_data, batch_size=1)
    with pytest.raises(RuntimeError, match="of the first batch"):
        ranker.altered(gather=fails_at_once).rank("test", "uni1000")
    assert len(tiny_data.instances["test"]) > 6
    # Those that other threads had begun by then, however busy the machine is.
    assert len(begun) < 6


def test_batches_hold_each_instance_once_and_little_padding():
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(0.1, 500), 100)
    batches = list(like_lengths(lengths, 64))
    rows = np.concatenate(batches)
    np.testing.assert_array_equal(np.sort(rows), np.arange(500))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.25 * lengths.sum()
    assert len(batches) < 16


def test_a_few_rows_rank_as_they_do_among_all(scores, tiny_data):
    ranker = make_ranker(scores, tiny_data)
    rows = np.array([1, 4, 5])
    some = ranker.rank("valid", "uni1000", rows=rows).ranks
    every = ranker.rank("valid", "uni1000").ranks
    np.testing.assert_array_equal(some.pessimistic, every.pessimistic[rows])


@pytest.mark.parametrize("small", [0, 2_000])
def test_all_protocols_together_rank_as_each_alone(
    scores, tiny_data, monkeypatch, small
):
    monkeypatch.setattr(ranking, "_SMALL_CATALOGUE", small)
    ranker = make_ranker(scores, tiny_data)
    found = ranker.rank_protocols("test")
    assert [*found] == [*PROTOCOLS]
    for protocol, together in found.items():
        alone = ranker.rank("test", protocol, group_users=protocol != "full")
        for field in ("pessimistic", "optimistic", "negatives"):
            np.testing.assert_array_equal(
                getattr(together.ranks, field), getattr(alone.ranks, field)
            )
        np.testing.assert_array_equal(together.instances, alone.instances)
        assert together.seconds > 0
    for protocol in ("uni1000", "pop1000"):
        alone = ranker.rank("test", protocol, group_users=True)
        np.testing.assert_array_equal(found[protocol].users.auc, alone.users.auc)


def test_a_catalogue_too_large_for_all_is_ranked_for_a_fixed_sample(
    scores, tiny_data, monkeypatch
):
    monkeypatch.setattr(ranking, "_SMALL_CATALOGUE", 0)
    monkeypatch.setattr(ranking, "_FULL_SCORES", 7 * tiny_data.num_items)
    ranker = make_ranker(scores, tiny_data)
    found, again = (ranker.rank_protocols("test") for _ in range(2))
    assert len(found["uni1000"].instances) == len(tiny_data.instances["test"])
    sample = found["full"].instances
    assert len({*map(tuple, sample)}) == 7
    np.testing.assert_array_equal(sample, again["full"].instances)


def test_evaluating_again_ranks_the_sample_that_the_run_ranked(
    mgnm_run, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(ranking, "_SMALL_CATALOGUE", 0)
    monkeypatch.setattr(ranking, "_FULL_SCORES", 7 * tiny_data.num_items)
    shutil.copytree(mgnm_run[0], tmp_path / "run")
    evaluation.evaluate(tmp_path / "run", tiny_data.folder.parent.parent, "full")
    table = run_folder.read_ranks(tmp_path / "run")
    rows = ranking.protocol_rows(tiny_data, "test", "full")
    ranked = table[table["protocol"] == "full"]["user"].tolist()
    assert ranked == tiny_data.instances["test"][rows, 0].tolist()
    assert len(ranked) == 7


@pytest.mark.parametrize("small", [0, 2_000])
def test_a_sample_of_the_instances_ranks_as_among_all(
    scores, tiny_data, monkeypatch, small
):
    monkeypatch.setattr(ranking, "_SMALL_CATALOGUE", small)
    ranker = make_ranker(scores, tiny_data)
    rows = sampling.sample_rows(len(tiny_data.instances["test"]), 9, sampling.TEST_SEED)
    assert len({*rows.tolist()}) == 9
    every = ranker.rank_protocols("test")
    for protocol, some in ranker.rank_protocols("test", most=9).items():
        np.testing.assert_array_equal(some.instances, tiny_data.instances["test"][rows])
        np.testing.assert_array_equal(
            some.ranks.pessimistic, every[protocol].ranks.pessimistic[rows]
        )


@pytest.mark.parametrize("protocol", ["uni1000", "full"])
def test_scores_that_are_not_numbers_are_refused(scores, tiny_data, protocol):
    scores[3:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        make_ranker(scores, tiny_data).rank("test", protocol)


def test_the_histories_of_a_batch_reach_the_model(tiny_data):
    instances = tiny_data.instances["test"][:3]
    batch = gather_histories(tiny_data, instances, 8)
    store = tiny_data.store
    for row, (user, end) in enumerate(instances):
        start = store.offsets[user]
        assert batch["history"][row, -1] == store.items[start + end - 1]
