"""Buckets of the time between two events."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mgnm_tf.layers.gap_embedding import NUM_BUCKETS, GapEmbedding


@pytest.fixture(scope="module")
def layer():
    """Its value for a gap is the number of the gap's bucket."""
    made = GapEmbedding()
    made(tf.constant([0], tf.int64))
    made.table.assign(np.arange(NUM_BUCKETS))
    return made


def bucket(layer, gap):
    return int(layer(tf.constant([gap], tf.int64))[0])


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (2**40 - 2, 39), (2**40 - 1, 40)],
)
def test_a_bucket_is_the_floor_of_log2_of_one_more(layer, gap, expected):
    assert bucket(layer, gap) == expected == int(np.floor(np.log2(1 + gap)))


def test_the_largest_time_has_the_last_bucket(layer):
    assert bucket(layer, 2**63 - 1) == NUM_BUCKETS - 1


def test_an_event_after_the_request_counts_as_at_the_request(layer):
    assert bucket(layer, -5) == bucket(layer, -(2**62)) == bucket(layer, 0)


def test_milliseconds_have_ten_buckets_more_than_seconds(layer):
    # A day, a week, a year: each far enough from a bucket's end.
    for seconds in (86_400, 604_800, 31_536_000):
        further = bucket(layer, 1_000 * seconds) - bucket(layer, seconds)
        assert further in (9, 10)


def test_all_values_start_at_zero():
    found = GapEmbedding((2, 3))(tf.constant([[0, 9], [10**9, 10**15]], tf.int64))
    assert found.shape == (2, 2, 2, 3)
    assert not found.numpy().any()
