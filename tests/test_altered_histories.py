"""Other orders: only simultaneous events move, only a history's items, nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.altered_histories import (
    gather_of_others,
    gather_shuffled,
    has_simultaneous,
    reorder_simultaneous,
)
from data.candidates import candidate_negatives
from data.pipeline import gather_histories, targets
from data.store import SequenceStore
from tests.datasets import NUM_ITEMS, make_days

SEED = 5


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    return make_days(tmp_path_factory.mktemp("days"))


def two_users():
    """The second user's first event has the time of the first user's last one."""
    items, times = np.array([1, 2, 3, 4, 5, 6]), np.array([0, 7, 7, 9, 9, 11])
    return SequenceStore.build(np.array([1, 1, 1, 1, 2, 2]), items, times, 3, 7)


def test_a_group_of_two_swaps_in_some_draws_and_nothing_else_moves(days):
    data = dataclasses.replace(days, store=two_users())
    found = {
        tuple(reorder_simultaneous(data, seed).store.items.tolist())
        for seed in range(20)
    }
    assert found == {(1, 2, 3, 4, 5, 6), (1, 3, 2, 4, 5, 6)}


def test_times_users_and_the_items_of_each_group_stay(days):
    stored, changed = days.store, reorder_simultaneous(days, SEED)
    np.testing.assert_array_equal(changed.store.times, stored.times)
    np.testing.assert_array_equal(changed.store.offsets, stored.offsets)
    np.testing.assert_array_equal(changed.store.items, stored.items[changed.rows])
    owners = np.repeat(np.arange(stored.num_users), np.diff(stored.offsets))
    before, after = (
        sorted(zip(owners, stored.times, items))
        for items in (stored.items, changed.store.items)
    )
    assert before == after
    moved = changed.rows != np.arange(len(owners))
    # Four in five are in a pair, of which half are swapped.
    assert 0.3 < moved.mean() < 0.6


def test_one_seed_gives_one_order(days):
    one, same, other = (reorder_simultaneous(days, s).rows for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_only_targets_with_simultaneous_events_can_change(days):
    data = dataclasses.replace(days, store=two_users())
    instances = np.array([[1, 1], [1, 2], [1, 3], [2, 1]])
    found = has_simultaneous(data.store, instances)
    assert found.tolist() == [True, True, False, False]


def test_what_training_saw_is_the_stored_order(days):
    ours, theirs = reorder_simultaneous(days, SEED).train_events(), days.train_events()
    np.testing.assert_array_equal(ours.items, theirs.items)


def test_without_times_nothing_is_known_to_be_simultaneous(days):
    store = dataclasses.replace(days.store, times=None)
    with pytest.raises(ValueError, match="unknown for data without times"):
        reorder_simultaneous(dataclasses.replace(days, store=store), SEED)


@pytest.mark.parametrize("protocol", ["uni1000", "pop1000"])
def test_candidates_of_another_order_are_drawn_in_memory(tmp_path, protocol):
    days = make_days(tmp_path, num_items=2_000)
    stored = candidate_negatives(days, "test", protocol, SEED)
    files = {path: path.read_bytes() for path in days.folder.iterdir()}
    changed = reorder_simultaneous(days, SEED)
    found = candidate_negatives(changed, "test", protocol, SEED)
    assert {path: path.read_bytes() for path in days.folder.iterdir()} == files
    instances = days.instances["test"]
    same = targets(changed, instances) == targets(days, instances)
    # Where no event moved, not one negative is another.
    past = [
        {*gather_histories(data, instances[row : row + 1], 99)["history"][0].tolist()}
        for data in (changed, days)
        for row in range(len(instances))
    ]
    same &= [a == b for a, b in zip(past[: len(instances)], past[len(instances) :])]
    assert 0 < same.sum() < len(same)
    np.testing.assert_array_equal(found[same], stored[same])
    for row, target, known in zip(found, targets(changed, instances), past):
        real = row[row != 0]
        assert target not in real
        assert not known & {*real.tolist()}
        assert len({*real.tolist()}) == len(real)


def test_shuffling_moves_the_items_of_a_history_and_nothing_else(tiny_data):
    instances = tiny_data.instances["test"]
    stored = gather_histories(tiny_data, instances, 6)
    found = gather_shuffled(tiny_data, instances, 6, SEED)
    assert found.keys() == stored.keys()
    for key in stored.keys() - {"history"}:
        np.testing.assert_array_equal(found[key], stored[key])
    np.testing.assert_array_equal(found["history"] == 0, stored["history"] == 0)
    np.testing.assert_array_equal(
        np.sort(found["history"], axis=1), np.sort(stored["history"], axis=1)
    )
    moved = (found["history"] != stored["history"]).any(axis=1)
    assert moved.mean() > 0.9
    assert found["history"].max() <= NUM_ITEMS


def test_the_drawn_order_of_a_history_does_not_depend_on_its_batch(tiny_data):
    instances = tiny_data.instances["test"]
    together = gather_shuffled(tiny_data, instances, 6, SEED)["history"]
    for row, instance in enumerate(instances):
        alone = gather_shuffled(tiny_data, instance[None], 6, SEED)["history"][0]
        np.testing.assert_array_equal(together[row, 6 - len(alone) :], alone)


def test_the_query_of_another_user_is_a_whole_test_instance(tiny_data):
    instances = tiny_data.instances["test"]
    stored = gather_histories(tiny_data, instances, 6)
    found = gather_of_others(tiny_data, instances, 6, SEED)
    assert found.keys() == stored.keys()
    for row, (user, _) in enumerate(instances):
        same = [
            np.all(
                stored[key] == found[key][row], axis=tuple(range(1, stored[key].ndim))
            )
            for key in stored
        ]
        (whose,) = np.flatnonzero(np.all(same, axis=0))
        assert instances[whose, 0] != user


def test_whose_query_it_is_does_not_depend_on_the_batch(tiny_data):
    instances = tiny_data.instances["test"]
    together = gather_of_others(tiny_data, instances, 6, SEED)["user"]
    for user, instance in zip(together, instances):
        assert gather_of_others(tiny_data, instance[None], 6, SEED)["user"] == [user]


def test_the_instance_of_every_other_user_is_as_likely(tiny_data):
    pool = np.array([[1, 4], [1, 5], [2, 4], [2, 5], [2, 6], [4, 4]], np.int32)
    data = dataclasses.replace(tiny_data, instances={"test": pool})
    for user, others in ((1, [2, 2, 2, 4]), (2, [1, 1, 4]), (4, [1, 1, 2, 2, 2])):
        asked = np.array([[user, 5]], np.int32)
        found = [
            gather_of_others(data, asked, 6, seed)["user"][0] for seed in range(400)
        ]
        shares = np.bincount(found, minlength=5) / 400
        expected = np.bincount(others, minlength=5) / len(others)
        np.testing.assert_allclose(shares, expected, atol=0.08)


def test_one_user_alone_has_no_other(tiny_data):
    pool = np.array([[1, 4], [1, 5]], np.int32)
    data = dataclasses.replace(tiny_data, instances={"test": pool})
    with pytest.raises(ValueError, match="are of one user"):
        gather_of_others(data, pool, 6, SEED)
