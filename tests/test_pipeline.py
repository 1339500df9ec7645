from __future__ import annotations

import numpy as np
import pytest

from data import pipeline
from tests.datasets import make_prepared

ARGUMENTS = {"batch_size": 16, "num_negatives": 3, "max_history": 6, "seed": 4}


def batches(data, epoch=0, **changes):
    return list(pipeline.training_batches(data, epoch, **{**ARGUMENTS, **changes}))


def rows_of(batch):
    return [
        (user, tuple(history[history > 0]), positive)
        for user, history, positive in zip(
            batch["user"], batch["history"], batch["candidates"][:, 0]
        )
    ]


def test_a_history_is_the_newest_events_left_padded(tiny_data):
    instances = tiny_data.instances["test"]
    batch = pipeline.gather_histories(tiny_data, instances, 6)
    store = tiny_data.store
    for row, (user, end) in enumerate(instances):
        start = store.offsets[user]
        newest = slice(start + max(0, end - 6), start + end)
        size = min(end, 6)
        assert batch["history"][row, -size:].tolist() == store.items[newest].tolist()
        assert not batch["history"][row, : 6 - size].any()
        assert batch["history_times"][row, -size:].tolist() == [*store.times[newest]]
        assert batch["target_time"][row] == store.times[start + end]


def test_a_batch_is_cut_to_its_longest_history(tiny_data):
    instances = tiny_data.instances["train"]
    short = instances[instances[:, 1] <= 2]
    assert pipeline.gather_histories(tiny_data, short, 6)["history"].shape[1] == 2


def test_an_epoch_holds_every_instance_once(tiny_data):
    found = [row for batch in batches(tiny_data) for row in rows_of(batch)]
    store = tiny_data.store
    expected = [
        (
            user,
            tuple(store.items[store.offsets[user] + max(0, end - 6) :][: min(end, 6)]),
            store.items[store.offsets[user] + end],
        )
        for user, end in tiny_data.instances["train"]
    ]
    assert sorted(found) == sorted(expected)


def test_epochs_differ_and_a_seed_repeats_itself(tiny_data):
    first, again = batches(tiny_data), batches(tiny_data)
    for one, other in zip(first, again):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    later = batches(tiny_data, epoch=1)
    assert rows_of(first[0]) != rows_of(later[0])


def test_an_epoch_goes_on_at_any_step(tiny_data):
    whole, rest = batches(tiny_data), batches(tiny_data, first_step=3)
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_batches_hold_histories_of_like_length():
    lengths = np.random.default_rng(0).geometric(0.1, 10_000)
    order = pipeline.epoch_order(lengths, 100, np.random.default_rng(1))
    assert sorted(np.concatenate(order).tolist()) == list(range(10_000))
    longest = np.array([lengths[rows].max() for rows in order])
    assert longest.mean() < 1.5 * lengths.mean()
    # Short and long ones alternate: the order is still random over an epoch.
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_a_pool_of_one_batch_is_a_random_order():
    lengths = np.random.default_rng(0).geometric(0.1, 10_000)
    rng = np.random.default_rng(1)
    order = pipeline.epoch_order(lengths, 100, rng, pool_batches=1)
    assert sorted(np.concatenate(order).tolist()) == list(range(10_000))
    means = np.array([lengths[rows].mean() for rows in order])
    # As means of 100 independent draws spread.
    assert means.std() == pytest.approx(lengths.std() / 10, rel=0.3)


def test_shared_negatives_are_of_the_step_and_no_item_twice(tiny_data):
    first = batches(tiny_data, share_negatives=True, num_negatives=12)
    again = batches(tiny_data, share_negatives=True, num_negatives=12, first_step=1)
    drawn = [tuple(batch["shared_negatives"]) for batch in first]
    assert drawn[1:] == [tuple(batch["shared_negatives"]) for batch in again]
    assert len(set(drawn)) == len(drawn)
    for batch in first:
        assert len(set(batch["shared_negatives"])) == 12
        assert batch["shared_negatives"].dtype == np.int32
        assert batch["candidates"].shape == (len(batch["user"]), 1)
    everything = range(1, tiny_data.num_items)
    assert {item for items in drawn for item in items} == set(everything)


def test_a_small_catalogue_is_shared_whole(tiny_data):
    batch = batches(tiny_data, share_negatives=True, num_negatives=256)[0]
    assert sorted(batch["shared_negatives"]) == [*range(1, tiny_data.num_items)]


def test_replicas_share_the_rows_and_each_has_all_shared_negatives(tiny_data):
    arguments = {**ARGUMENTS, "epoch": 0, "share_negatives": True}
    whole = next(iter(pipeline.training_dataset(tiny_data, **arguments)))
    dataset = pipeline.training_dataset(tiny_data, 2, range(2), **arguments)
    shares = list(dataset.take(2))
    for name, value in whole.items():
        parts = [share[name].numpy() for share in shares]
        if name == "shared_negatives":
            assert all((part == value.numpy()).all() for part in parts)
        else:
            np.testing.assert_array_equal(np.concatenate(parts), value)


def test_no_replica_gets_an_empty_share(tiny_data):
    count = len(tiny_data.instances["train"])
    replicas = 4
    size = next(size for size in range(5, count) if count % size == 2)
    arguments = {**ARGUMENTS, "batch_size": size, "epoch": 0}
    every = [
        [share["user"].numpy() for share in dataset]
        for dataset in (
            pipeline.training_dataset(tiny_data, **arguments),
            pipeline.training_dataset(
                tiny_data, replicas, range(replicas), **arguments
            ),
        )
    ]
    whole, shares = every
    assert min(map(len, whole)) == 2
    assert len(shares) == replicas * len(whole)
    assert min(map(len, shares)) == 1
    for number, users in enumerate(whole):
        own = np.concatenate(shares[replicas * number : replicas * (number + 1)])
        assert {*own.tolist()} == {*users.tolist()}


@pytest.mark.parametrize("share_negatives", [True, False])
@pytest.mark.parametrize("times", [True, False])
def test_the_dataset_has_the_signature_of_its_batches(tmp_path, times, share_negatives):
    data = make_prepared(tmp_path, times=times)
    arguments = {**ARGUMENTS, "share_negatives": share_negatives}
    dataset = pipeline.training_dataset(data, epoch=0, **arguments)
    batch = next(iter(dataset))
    assert set(batch) == set(pipeline.batch_signature(data, share_negatives))
    assert ("target_time" in batch) == times
