from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.popularity import Popularity
from mgnm_tf.batch import TrainEvents


def make_events(items):
    return TrainEvents(np.ones(len(items), np.int32), np.array(items, np.int32), None)


def make_batch(history=((0, 3), (1, 2))):
    return {
        "user": tf.constant([1, 2]),
        "history": tf.constant(history),
        "candidates": tf.constant([[4, 2, 5], [5, 4, 2]]),
    }


def test_a_score_is_the_log_of_one_plus_the_events():
    model = Popularity(num_users=3, num_items=6)
    model.adapt(make_events([4, 2, 4, 4, 2]))
    four, two, none = np.log([4.0, 3.0, 1.0])
    expected = [[four, two, none], [none, four, two]]
    np.testing.assert_allclose(model(make_batch()), expected, rtol=1e-6)


def test_the_history_changes_nothing():
    model = Popularity(num_users=3, num_items=6)
    model.adapt(make_events([4, 2, 4]))
    other = model(make_batch(history=((0, 0), (5, 5))))
    np.testing.assert_array_equal(model(make_batch()), other)


def test_adapting_again_starts_over():
    model = Popularity(num_users=3, num_items=6)
    model.adapt(make_events([2, 2, 2]))
    model.adapt(make_events([4]))
    np.testing.assert_allclose(model.log_counts, [0, 0, 0, 0, np.log(2), 0], rtol=1e-6)


def test_with_a_half_life_what_was_popular_lately_counts_more():
    items = np.array([1, 1, 1, 2, 2, 3], np.int32)
    times = np.array([10, 20, 20, 90, 95, 99])
    events = TrainEvents(np.ones(6, np.int32), items, times)
    model = Popularity(num_users=3, num_items=6, half_life=0.5)  # Three events.
    model.adapt(events)
    # As many events are as new or newer: 6, then 5 twice at the same time, 3, 2, 1.
    sums = [2**-2 + 2 * 2 ** (-5 / 3), 2**-1 + 2 ** (-2 / 3), 2 ** (-1 / 3)]
    expected = np.log1p([0, *sums, 0, 0])
    np.testing.assert_allclose(model.log_counts, expected[:6], rtol=1e-6)


def test_without_times_a_half_life_changes_nothing():
    plain = Popularity(num_users=3, num_items=6)
    recent = Popularity(num_users=3, num_items=6, half_life=0.1)
    for model in (plain, recent):
        model.adapt(make_events([4, 2, 4]))
    np.testing.assert_array_equal(plain.log_counts, recent.log_counts)


@pytest.mark.parametrize("half_life", [0.0, -1.0])
def test_a_half_life_is_positive(half_life):
    with pytest.raises(ValueError, match="`half_life` must be positive"):
        Popularity(num_users=3, num_items=6, half_life=half_life)
