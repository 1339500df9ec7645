from __future__ import annotations

import numpy as np
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
