"""ItemKNN against sets of users, item by item."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines import item_knn
from baselines.item_knn import ItemKNN
from mgnm_tf.batch import TrainEvents

N, M, SHRINKAGE = 13, 9, 2.0


@pytest.fixture
def events():
    """Users who have had some items more than once."""
    rng = np.random.default_rng(0)
    users = np.sort(rng.integers(1, N, 70)).astype(np.int32)
    return TrainEvents(users, rng.integers(1, M, 70).astype(np.int32), None)


def make_model(events, **changes):
    arguments = {"num_neighbors": M, "shrinkage": SHRINKAGE, **changes}
    model = ItemKNN(num_users=N, num_items=M, **arguments)
    model.adapt(events)
    return model


def cosines(events):
    """[M, M], from the sets of users; none with itself."""
    owners = [set() for _ in range(M)]
    for user, item in zip(events.users, events.items):
        owners[item].add(int(user))
    found = np.zeros((M, M))
    for one in range(M):
        for other in range(M):
            if one != other and owners[one] & owners[other]:
                norm = np.sqrt(len(owners[one]) * len(owners[other]))
                found[one, other] = len(owners[one] & owners[other])
                found[one, other] /= norm + SHRINKAGE
    return found, np.array([len(users) for users in owners])


def score(model, history):
    candidates = tf.range(1, M)[None]
    history = tf.constant([history])
    batch = {"user": tf.constant([1]), "history": history, "candidates": candidates}
    return model(batch).numpy()[0]


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_score_is_the_weighted_sum_over_the_history(events, decay):
    # Item 3 stands in the history twice, and counts twice.
    similar, counts = cosines(events)
    smallest = similar[similar > 0].min()
    expected = np.zeros(M)
    for age, item in enumerate([6, 3, 1, 3]):
        for other in range(M):
            expected[other] += decay**age * similar[item, other]
    expected += smallest / 2 * counts / counts.max()
    found = score(make_model(events, decay=decay), [0, 0, 3, 1, 3, 6])
    np.testing.assert_allclose(found, expected[1:], rtol=1e-5)


def test_each_item_keeps_its_most_similar(events):
    model = make_model(events, num_neighbors=3)
    similar, _ = cosines(events)
    for item in range(M):
        kept = model.similarities.numpy()[item]
        best = np.sort(similar[item])[::-1][:3]
        np.testing.assert_allclose(np.sort(kept)[::-1], best, rtol=1e-5)
        named = similar[item, model.neighbors.numpy()[item]]
        np.testing.assert_allclose(named * (kept > 0), kept, rtol=1e-5)


def test_the_blocks_change_nothing(events, monkeypatch):
    whole = score(make_model(events), [3, 1, 6])
    monkeypatch.setattr(item_knn, "_BLOCK", 4)
    np.testing.assert_array_equal(score(make_model(events), [3, 1, 6]), whole)


def test_the_candidates_of_a_stranger_are_ordered_by_popularity(events):
    _, counts = cosines(events)
    found = score(make_model(events), [0, 0])
    np.testing.assert_allclose(found / found.max(), (counts / counts.max())[1:], 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_neighbors": 0}, "`num_neighbors` must be positive"),
        ({"shrinkage": -1.0}, "`shrinkage` non-negative"),
        ({"decay": 0.0}, "`decay` must be in"),
        ({"decay": 1.5}, "`decay` must be in"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ItemKNN(N, M, **arguments)
