"""The shuffle test tells sequences from sets."""

from __future__ import annotations

import numpy as np
import pytest

from data.sequential import Sequentiality, measure
from data.store import SequenceStore


def store_of(sequences, times=None):
    lengths = [len(items) for items in sequences]
    users = np.repeat(np.arange(1, len(sequences) + 1), lengths)
    items = np.concatenate(sequences)
    when = None if times is None else np.concatenate(times)
    return SequenceStore.build(users, items, when, len(sequences) + 1, items.max() + 1)


def test_frequent_neighbours_by_hand():
    # (1, 2) in five users, though six times; (2, 3) in five; (3, 1) in four.
    sequences = [[1, 2, 3, 1]] * 4 + [[1, 2, 1, 2, 3]] + [[2, 2, 2]]
    assert measure(store_of(sequences)).frequent == 2


def test_neighbours_at_one_time_do_not_count():
    sequences = [[1, 2, 3]] * 5
    times = [[10, 10, 20]] * 5
    assert measure(store_of(sequences)).frequent == 2
    assert measure(store_of(sequences, times)).frequent == 1


def test_events_of_two_users_are_no_neighbours():
    assert measure(store_of([[1], [2]] * 6)).frequent == 0
    assert Sequentiality(0, 0.0).lost is None


@pytest.mark.parametrize(
    ("ordered", "least", "most"), [(True, 0.8, 1.0), (False, -0.15, 0.15)]
)
def test_chains_lose_by_shuffling_and_sets_do_not(ordered, least, most):
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 300, 600)
    sequences = []
    for start in starts:
        items = 1 + (start + np.arange(8)) % (300 if ordered else 30)
        sequences.append(items if ordered else rng.permutation(items))
    found = measure(store_of(sequences))
    assert found.frequent > 100
    assert least <= found.lost <= most


def test_the_same_seed_gives_the_same_count():
    rng = np.random.default_rng(1)
    store = store_of([rng.integers(1, 9, 6) for _ in range(60)])
    assert measure(store, seed=3) == measure(store, seed=3)
