from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from data.candidates import candidate_negatives, draw_from_slots
from data.negatives import sample_negatives
from data.store import SequenceStore

NUM_USERS, NUM_ITEMS, LENGTH = 400, 90, 6


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(1, NUM_USERS + 1), LENGTH)
    items = rng.integers(1, NUM_ITEMS + 1, len(users))
    return SequenceStore.build(users, items, None, NUM_USERS + 1, NUM_ITEMS + 1)


@pytest.fixture(scope="module")
def instances():
    users = np.arange(1, NUM_USERS + 1)
    return np.stack([users, np.full(NUM_USERS, LENGTH - 2)], axis=1).astype(np.int32)


SLOTS = np.arange(1, NUM_ITEMS + 1, dtype=np.int32)


def forbidden(store, user, end):
    events = store.items[store.offsets[user] : store.offsets[user] + end + 1]
    return {*events.tolist()}


def test_neither_the_positive_nor_the_past_nor_an_item_twice_is_drawn(store, instances):
    drawn = draw_from_slots(store, instances, SLOTS, seed=1, count=20)
    for (user, end), row in zip(instances, drawn):
        assert len({*row.tolist()}) == 20
        assert not {*row.tolist()} & {*forbidden(store, user, end), 0}


def test_every_item_is_drawn_alike(store, instances):
    drawn = draw_from_slots(store, instances, SLOTS, seed=1, count=20)
    allowed = np.zeros(NUM_ITEMS + 1)
    for user, end in instances:
        open_items = [*({*SLOTS.tolist()} - forbidden(store, user, end))]
        allowed[open_items] += 20 / len(open_items)
    counts = np.bincount(drawn.ravel(), minlength=NUM_ITEMS + 1)[1:]
    # Without replacement the spread is below a multinomial's: a far p-value is a bug.
    assert stats.chisquare(counts, allowed[1:], sum_check=False).pvalue > 1e-3


def test_a_heavier_item_is_drawn_first_in_proportion(store, instances):
    slots = np.array([1] * 6 + [2] * 3 + [3], np.int32)
    first = draw_from_slots(store, instances, slots, seed=2, count=1)[:, 0]
    clean = [
        item
        for (user, end), item in zip(instances, first)
        if not forbidden(store, user, end) & {1, 2, 3}
    ]
    counts = np.bincount(clean, minlength=4)[1:]
    expected = np.array([0.6, 0.3, 0.1]) * len(clean)
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_a_small_catalogue_gives_all_that_is_left_then_zeros(store, instances):
    drawn = draw_from_slots(store, instances, SLOTS, seed=3, count=1_000)
    for (user, end), row in zip(instances, drawn):
        left = {*SLOTS.tolist()} - forbidden(store, user, end)
        assert {*row[: len(left)].tolist()} == left
        assert not row[len(left) :].any()


def test_a_row_depends_on_no_other_row(store, instances):
    together = draw_from_slots(store, instances, SLOTS, seed=4, count=20)
    alone = draw_from_slots(store, instances[7:8], SLOTS, seed=4, count=20)
    np.testing.assert_array_equal(together[7:8], alone)


def test_another_seed_draws_others(store, instances):
    one, two = (draw_from_slots(store, instances, SLOTS, s, count=20) for s in (1, 2))
    assert (one != two).mean() > 0.9


def mix(value):
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def walked(store, user, end, slots, seed, count, keeps_past):
    """The definition, a step at a time, in Python's own integers."""
    half = 1
    while 4**half < len(slots):
        half += 1
    key = mix(mix(mix(seed) ^ user) ^ end)
    past = store.items[store.offsets[user] :][: 0 if keeps_past else end].tolist()
    wrong = {0, int(store.items[store.offsets[user] + end]), *past}
    found = []
    for step in range(4**half):
        left, right = step >> half, step % 2**half
        for number in range(4):
            left, right = right, left ^ mix(right ^ mix(key + number)) % 2**half
        place = (left << half) | right
        item = int(slots[place]) if place < len(slots) else 0
        if item not in wrong:
            wrong.add(item)
            found.append(item)
    return (found + [0] * count)[:count]


@pytest.mark.parametrize("keeps_past", [False, True])
@pytest.mark.parametrize("count", [3, 60, 200])
def test_the_draw_is_the_walk_s_definition(store, instances, count, keeps_past):
    slots = np.random.default_rng(1).permutation(np.repeat(SLOTS, SLOTS // 9 + 1))
    slots = slots.astype(np.int32)
    drawn = draw_from_slots(store, instances[:6], slots, 5, count, keeps_past)
    for (user, end), row in zip(instances[:6].tolist(), drawn):
        wanted = walked(store, user, end, slots, 5, count, keeps_past)
        assert row.tolist() == wanted


@pytest.mark.parametrize("protocol", ["uni1000", "pop1000"])
def test_a_set_is_drawn_once_and_kept(tiny_data, protocol, monkeypatch):
    first = candidate_negatives(tiny_data, "test", protocol, 11)
    monkeypatch.setattr("data.candidates._draw", None)
    np.testing.assert_array_equal(
        first, candidate_negatives(tiny_data, "test", protocol, 11)
    )


def test_popular_negatives_are_items_of_training(tiny_data):
    drawn = candidate_negatives(tiny_data, "test", "pop1000", 12)
    known = {*tiny_data.train_events().items.tolist(), 0}
    assert {*drawn.ravel().tolist()} <= known


def test_an_interrupted_drawing_leaves_nothing(tiny_data, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("data.candidates.np.save", broken)
    with pytest.raises(KeyboardInterrupt):
        candidate_negatives(tiny_data, "test", "uni1000", 13)
    assert not [path for path in tiny_data.folder.iterdir() if "13" in path.name]


def test_training_negatives_are_new_to_the_user_and_uniform(store, instances):
    users, ends = instances.T
    rng = np.random.default_rng(0)
    drawn = sample_negatives(store, users, ends, 200, rng)
    for (user, end), row in zip(instances, drawn):
        assert not {*row.tolist()} & {*forbidden(store, user, end), 0}
    counts = np.bincount(drawn.ravel(), minlength=NUM_ITEMS + 1)[1:]
    allowed = np.zeros(NUM_ITEMS + 1)
    for user, end in instances:
        open_items = [*({*SLOTS.tolist()} - forbidden(store, user, end))]
        allowed[open_items] += 200 / len(open_items)
    result = stats.chisquare(counts, allowed[1:], sum_check=False)
    assert result.pvalue > 1e-3


def test_a_user_who_has_had_everything_is_named():
    users, items = np.ones(4, int), np.array([1, 2, 3, 4])
    store = SequenceStore.build(users, items, None, 2, 5)
    with pytest.raises(ValueError, match="No negative is left for the user of id 1"):
        sample_negatives(
            store, np.array([1]), np.array([3]), 2, np.random.default_rng(0)
        )
