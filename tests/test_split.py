from __future__ import annotations

import numpy as np
import pytest

from data.split import RULES, split
from data.store import SequenceStore

HOUR, DAY = 3_600, 86_400
NOON = 12 * HOUR

# user, item, time: ten events, seven instances.
EVENTS = np.array(
    [
        (1, 1, 10),
        (1, 2, 20),
        (1, 3, 50),
        (1, 4, 70),
        (2, 1, 15),
        (2, 5, 30),
        (2, 2, 50),
        (2, 3, 60),
        (3, 4, 5),
        (3, 1, 80),
    ]
)


def make_store(events=EVENTS, times=True):
    users, items, stamps = np.array(events).T
    return SequenceStore.build(
        users, items, stamps if times else None, users.max() + 1, items.max() + 1
    )


def found(rule, store=None, **kwargs):
    parts, _ = split(store or make_store(), rule, **kwargs)
    return {name: [tuple(row) for row in rows] for name, rows in parts.items()}


def test_global_time_by_hand():
    # Times of the instances in order: 20 30 50 50 60 70 80; cuts at places 4 and 5.
    assert found("global_time") == {
        "train": [(1, 1), (1, 2), (2, 1), (2, 2)],
        "valid": [(2, 3)],
        "test": [(1, 3), (3, 1)],
    }


def test_the_cuts_are_dates_too():
    _, rule = split(make_store(), "global_time")
    assert rule.endswith(
        "(cuts at 1970-01-01 00:01:00 UTC = 60 s and 1970-01-01 00:01:10 UTC = 70 s)"
    )


def test_equal_times_are_never_on_both_sides_of_a_cut():
    # Five users who always act at the same time: cuts at 70% and 80% split no moment.
    events = [(u, i % 7 + 1, 10 * i) for u in range(1, 6) for i in range(1, 25)]
    store = make_store(events)
    parts, _ = split(store, "global_time")
    times = {
        name: store.times[store.offsets[rows[:, 0]] + rows[:, 1]]
        for name, rows in parts.items()
    }
    assert times["train"].max() < times["valid"].min()
    assert times["valid"].max() < times["test"].min()


def test_leave_one_out_by_hand():
    assert found("leave_one_out") == {
        "train": [(1, 1), (2, 1), (3, 1)],
        "valid": [(1, 2), (2, 2)],
        "test": [(1, 3), (2, 3)],
    }


def test_per_user_takes_shares_of_each_user():
    events = [(u, i, i) for u in (1, 2) for i in range(1, 12)]
    parts = found("per_user", make_store(events, times=False))
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [14, 2, 4]
    assert [end for user, end in parts["test"] if user == 1] == [9, 10]


def test_by_date_cuts_the_last_day_at_noon():
    start = 1_000 * DAY
    events = [
        (1, 1, start),
        (1, 2, start + NOON),
        (1, 3, start + DAY + NOON - 1),
        (1, 4, start + DAY + NOON),
        (2, 1, start),
        (2, 2, start + DAY - 1),
        (2, 3, start + DAY),
    ]
    assert found("by_date", make_store(events), utc_offset_hours=0.0) == {
        "train": [(1, 1), (2, 1)],
        "valid": [(1, 2), (2, 2)],
        "test": [(1, 3)],
    }


def test_the_clock_of_by_date_can_be_set():
    start = 1_000 * DAY - 8 * HOUR  # Midnight in China.
    events = [(1, i, start + (i - 4) * HOUR) for i in range(1, 20)]
    parts = found("by_date", make_store(events), utc_offset_hours=8.0)
    assert parts["train"] == [(1, 1), (1, 2)]
    assert len(parts["valid"]) == 12


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_instance_is_in_one_part(rule):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, 40)
    users = np.repeat(np.arange(1, 41), lengths)
    stamps = np.sort(rng.integers(-8 * HOUR, 9 * DAY - 8 * HOUR, len(users)))
    events = np.stack([users, rng.integers(1, 9, len(users)), stamps], axis=1)
    parts = found(rule, make_store(events))
    every = [row for rows in parts.values() for row in rows]
    expected = [(u, e) for u, n in enumerate(lengths, 1) for e in range(1, n)]
    assert sorted(every) == expected
    for rows in parts.values():
        assert rows == sorted(rows)


@pytest.mark.parametrize("rule", ["global_time", "by_date"])
def test_times_are_asked_for_where_there_are_none(rule):
    with pytest.raises(ValueError, match="--split=leave_one_out"):
        split(make_store(times=False), rule)


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="leaves nothing to valid and test"):
        split(make_store([(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2)]), "leave_one_out")


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="`split` must be one of"):
        split(make_store(), "random")


def test_what_was_seen_agrees_with_looking():
    store = make_store()
    for user in (1, 2, 3):
        events = store.items[store.offsets[user] : store.offsets[user + 1]]
        for end in range(len(events) + 1):
            before = store.seen_before(user, end)
            np.testing.assert_array_equal(before, np.unique(events[:end]))
            for item in range(1, 6):
                seen = store.was_seen(
                    np.array([user]), np.array([end]), np.array([item])
                )
                assert bool(seen[0]) == (item in events[:end].tolist())
